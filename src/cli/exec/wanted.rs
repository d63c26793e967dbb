//! What a user writes for a pipe of a device: `ep_81`, `serial`, `3=ep_81:packet`. Knows no device that could have it.

use std::fmt;
use std::str::FromStr;

use crate::name::endpoint_file;
use crate::session::Pass;

/// A pipe of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Name {
    /// An endpoint, by its address.
    Endpoint(u8),
    /// What a serial line receives.
    Receive,
    /// What is sent over it.
    Send,
    /// Both together.
    Serial,
}

/// A descriptor of the command: its number, the pipe that it is, and what kind of descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) struct Descriptor {
    pub(super) number: i32,
    pub(super) name: Name,
    pub(super) pass: Pass,
}

/// A pipe that the command reads; `serial` is short for `serial.rx`.
pub(in crate::cli) fn input(text: &str) -> Result<Name, String> {
    match text.parse()? {
        Name::Serial => Ok(Name::Receive),
        name if name.is_in() => Ok(name),
        name => Err(format!("{name} is for writing; it can be --out")),
    }
}

/// A pipe that the command writes; `serial` is short for `serial.tx`.
pub(in crate::cli) fn output(text: &str) -> Result<Name, String> {
    match text.parse()? {
        Name::Serial => Ok(Name::Send),
        name if name.is_in() => Err(format!("{name} is for reading; it can be --in")),
        name => Ok(name),
    }
}

impl Name {
    /// Whether it is read.
    pub(super) fn is_in(self) -> bool {
        match self {
            Self::Endpoint(address) => address & 0x80 != 0,
            Self::Receive => true,
            Self::Send | Self::Serial => false,
        }
    }

    /// Whether it belongs to a serial line.
    pub(super) fn is_serial(self) -> bool {
        !matches!(self, Self::Endpoint(_))
    }
}

/// The outlet's name.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(address) => f.write_str(&endpoint_file(*address)),
            Self::Receive => f.write_str("serial.rx"),
            Self::Send => f.write_str("serial.tx"),
            Self::Serial => f.write_str("serial"),
        }
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "serial" => return Ok(Self::Serial),
            "serial.rx" => return Ok(Self::Receive),
            "serial.tx" => return Ok(Self::Send),
            _ => {}
        }
        let digits = ["ep_", "0x", "0X", ""].into_iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text);
        let is_hex = (1..=2).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let address = u8::from_str_radix(digits, 16).ok().filter(|a| is_hex && a & 0x70 == 0 && a & 0x0f != 0);
        address.map(Self::Endpoint).ok_or_else(|| NO_PIPE.to_owned())
    }
}

impl FromStr for Descriptor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, pipe) = text.split_once('=').ok_or("write N=EP, such as 3=ep_81")?;
        let number = number.parse().ok().filter(|n| (FIRST..=LAST).contains(n)).ok_or(NO_NUMBER)?;
        let (name, kind) = pipe.split_once(':').map_or((pipe, None), |(name, kind)| (name, Some(kind)));
        let name: Name = name.parse()?;
        let pass = match kind {
            None if name == Name::Serial => Pass::Socket,
            None | Some("pipe") => Pass::Pipe,
            Some("socket") => Pass::Socket,
            Some("packet") => Pass::Packet,
            Some(other) => return Err(format!("there is no kind {other:?}; there are pipe, socket and packet")),
        };
        match (name, pass) {
            (Name::Serial, Pass::Pipe) => {
                Err("a pipe goes one way; write serial.rx, serial.tx or serial:socket".into())
            }
            _ => Ok(Self { number, name, pass }),
        }
    }
}

/// Below are stdin, stdout and stderr.
pub(super) const FIRST: i32 = 3;
/// What a process may have open by default; also what a shell can name.
const LAST: i32 = 1023;
const NO_NUMBER: &str = "N is a descriptor's number, 3 to 1023; stdin and stdout are given by --in and --out";
const NO_PIPE: &str = "no endpoint; write ep_81, 0x81 or 81, or serial, serial.rx, serial.tx";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_endpoint_is_written_as_everywhere() {
        for text in ["ep_81", "0x81", "81", "0X81"] {
            assert_eq!(text.parse(), Ok(Name::Endpoint(0x81)), "{text}");
        }
        for text in ["ep_2", "0x2", "2", "02"] {
            assert_eq!(text.parse(), Ok(Name::Endpoint(0x02)), "{text}");
        }
        for text in ["", "ep_", "ep_00", "0x80", "129", "91", "+1", "ep_0x81", "serial.ctl", "é"] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_direction_must_fit() {
        assert_eq!((input("serial"), output("serial")), (Ok(Name::Receive), Ok(Name::Send)));
        assert_eq!((input("81"), output("2")), (Ok(Name::Endpoint(0x81)), Ok(Name::Endpoint(2))));
        assert!(input("ep_02").unwrap_err().contains("--out") && output("ep_81").unwrap_err().contains("--in"));
        assert!(input("serial.tx").is_err() && output("serial.rx").is_err());
    }

    #[test]
    fn a_descriptor_is_a_pipe_unless_it_goes_both_ways_or_is_asked_to_be_something_else() {
        let kind = |text: &str| text.parse::<Descriptor>().map(|d| (d.number, d.pass));
        assert_eq!(kind("3=ep_81"), Ok((3, Pass::Pipe)));
        assert_eq!(kind("4=serial"), Ok((4, Pass::Socket)));
        assert_eq!(kind("5=serial:packet"), Ok((5, Pass::Packet)));
        assert_eq!(kind("1023=ep_02:socket"), Ok((1023, Pass::Socket)));
        for wrong in ["ep_81", "2=ep_81", "1024=ep_81", "x=ep_81", "3=ep_81:fifo", "3=serial:pipe", "3=", "=ep_81"] {
            assert!(wrong.parse::<Descriptor>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_it_prints_parses_back(address in (0u8..2, 1u8..16)) {
            let name = Name::Endpoint(address.0 << 7 | address.1);
            prop_assert_eq!(name.to_string().parse(), Ok(name));
        }

        #[test]
        fn any_text_is_a_pipe_or_a_refusal(text in "\\PC{0,12}") {
            let _ = text.parse::<Descriptor>();
        }
    }
}
