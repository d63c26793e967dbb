//! The kinds of device that can be simulated, and what people call them.
//!
//! One job: turn a kind into its name and bus id and back. It refuses to know how a device behaves.

use std::fmt;
use std::str::FromStr;

use crate::odd::Odd;

/// A simulated device, by the name it has on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// 2341:0043: CDC ACM, answers lines, resets when DTR goes on.
    Uno,
    /// 2341:8036: as [`DeviceKind::Uno`] without the reset; the 1200-baud touch starts its bootloader.
    Leonardo,
    /// 0525:a4a0, high speed: bulk source, sink and loopback.
    Zero,
    /// 1209:0002: interrupt IN reports every 10 ms.
    Knob,
    /// 1209:0003, high speed: isochronous IN and OUT.
    Tone,
    /// 1209:0005: CDC ACM that sends back what it gets.
    Echo,
    /// 1209:0004: registers behind vendor requests.
    Regs,
    /// One of `odd.toml`.
    Odd(Odd),
}

impl DeviceKind {
    /// Every kind with a bus id of its own, in the order of these.
    pub const ALL: [Self; 7] = [Self::Uno, Self::Leonardo, Self::Zero, Self::Knob, Self::Tone, Self::Echo, Self::Regs];

    /// The name of the first device of this kind.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uno => "uno",
            Self::Leonardo => "leonardo",
            Self::Zero => "zero",
            Self::Knob => "knob",
            Self::Tone => "tone",
            Self::Echo => "echo",
            Self::Regs => "regs",
            Self::Odd(odd) => &odd.device().name,
        }
    }

    /// The port on bus 1 that the first device of this kind always has. Twins and odd devices come after the last of
    /// these.
    pub(crate) fn port(self) -> Option<u32> {
        Self::ALL.iter().zip(1..).find_map(|(&kind, port)| (kind == self).then_some(port))
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Odd(_) => write!(f, "{ODD}{}", self.name()),
            _ => f.write_str(self.name()),
        }
    }
}

impl FromStr for DeviceKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        if let Some(name) = text.strip_prefix(ODD) {
            return Odd::find(name).map(Self::Odd).ok_or_else(|| UnknownKind(text.to_owned()));
        }
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// A name that no simulated device has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownKind(String);

impl fmt::Display for UnknownKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no simulated device is called {:?}; there are", self.0)?;
        DeviceKind::ALL.iter().try_for_each(|kind| write!(f, " {kind}"))?;
        match self.0.starts_with(ODD) {
            true => Odd::all().try_for_each(|odd| write!(f, " {}", DeviceKind::Odd(odd))),
            false => f.write_str(" odd:NAME"),
        }
    }
}

impl std::error::Error for UnknownKind {}

/// Before the name of a device of the table.
const ODD: &str = "odd:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_and_ports_count_from_one() {
        for (kind, port) in DeviceKind::ALL.into_iter().zip(1..) {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            assert_eq!(kind.port(), Some(port));
        }
    }

    #[test]
    fn odd_devices_read_back_and_an_unknown_one_is_answered_with_those_of_the_table() {
        let first = DeviceKind::Odd(Odd::all().next().unwrap());
        assert_eq!(first.to_string().parse(), Ok(first));
        let error = "odd:nothing".parse::<DeviceKind>().unwrap_err().to_string();
        assert!(error.contains(&first.to_string()), "{error}");
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = "due".parse::<DeviceKind>().unwrap_err().to_string();
        assert!(error.contains("due") && error.contains("uno leonardo zero"), "{error}");
    }
}
