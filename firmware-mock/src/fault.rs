//! Faults as people write them: one command a line.
//!
//! One job: read a command and write it back. It refuses to know which devices and endpoints exist.
//!
//! ```text
//! unplug DEVICE MS    stall DEVICE EP    delay DEVICE EP MS    short DEVICE EP BYTES    cut DEVICE MS
//! babble DEVICE EP COUNT    lie DEVICE length|seqnum|silence|garbage    delay link MS
//! ```

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A fault and where it happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// At one device, or on the way to it.
    Device {
        /// The device's name, such as `zero` or `zero-2`.
        device: String,
        /// What happens to it.
        fault: Fault,
    },
    /// Every byte of every connection arrives this much later, in each direction; zero ends it.
    DelayLink(Duration),
}

/// What can go wrong with a device or with the way to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The device is pulled out for this time.
    Unplug(Duration),
    /// The endpoint halts until CLEAR_FEATURE(ENDPOINT_HALT); endpoint 0 refuses one request.
    Stall(u8),
    /// Completions on the endpoint come this much later; zero ends it.
    Delay(u8, Duration),
    /// IN transfers on the endpoint end after so many bytes; 0 ends it.
    Short(u8, u32),
    /// So many IN transfers on the endpoint end as if the device had sent more than was asked for; 0 ends it.
    Babble(u8, u32),
    /// The TCP link is dropped and imports are refused for this time; the device keeps its power.
    Cut(Duration),
    /// A reply breaks the protocol.
    Lie(Lie),
}

/// How a reply breaks the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// The next IN reply claims 0x7fffffff bytes.
    Length,
    /// A reply with a sequence number that nobody used precedes the next one.
    Seqnum,
    /// Nothing more is answered on this connection.
    Silence,
    /// Bytes without meaning take the place of the next reply.
    Garbage,
}

/// Why a line is no command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultError {
    /// The first word is none of the commands.
    Unknown(String),
    /// The command has other words after it.
    Usage(&'static str),
    /// A word that should be a number is none, or is too large.
    Number(String),
    /// No endpoint is written like this.
    Endpoint(String),
    /// The kind of lie is none of the kinds.
    Lie(String),
}

impl FromStr for Command {
    type Err = FaultError;

    fn from_str(line: &str) -> Result<Self, FaultError> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let usage = |name: &str| {
            let found = USAGE.iter().find(|usage| usage.split(' ').next() == Some(name)).copied();
            found.map_or_else(|| FaultError::Unknown(name.to_owned()), FaultError::Usage)
        };
        let (device, fault) = match words[..] {
            ["unplug", device, ms] => (device, Fault::Unplug(millis(ms)?)),
            ["delay", "link", ms] => return Ok(Self::DelayLink(millis(ms)?)),
            ["stall", device, endpoint] => (device, Fault::Stall(parse_endpoint(endpoint)?)),
            ["delay", device, endpoint, ms] => (device, Fault::Delay(parse_endpoint(endpoint)?, millis(ms)?)),
            ["short", device, endpoint, bytes] => (device, Fault::Short(parse_endpoint(endpoint)?, number(bytes)?)),
            ["babble", device, endpoint, count] => (device, Fault::Babble(parse_endpoint(endpoint)?, number(count)?)),
            ["cut", device, ms] => (device, Fault::Cut(millis(ms)?)),
            ["lie", device, kind] => (device, Fault::Lie(kind.parse()?)),
            _ => return Err(usage(words.first().unwrap_or(&""))),
        };
        Ok(Self::Device { device: device.to_owned(), fault })
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (device, fault) = match self {
            Self::Device { device, fault } => (device, *fault),
            Self::DelayLink(time) => return write!(f, "delay link {}", time.as_millis()),
        };
        match fault {
            Fault::Unplug(time) => write!(f, "unplug {device} {}", time.as_millis()),
            Fault::Stall(endpoint) => write!(f, "stall {device} {endpoint:#04x}"),
            Fault::Delay(endpoint, time) => write!(f, "delay {device} {endpoint:#04x} {}", time.as_millis()),
            Fault::Short(endpoint, bytes) => write!(f, "short {device} {endpoint:#04x} {bytes}"),
            Fault::Babble(endpoint, count) => write!(f, "babble {device} {endpoint:#04x} {count}"),
            Fault::Cut(time) => write!(f, "cut {device} {}", time.as_millis()),
            Fault::Lie(lie) => write!(f, "lie {device} {}", lie.name()),
        }
    }
}

impl Lie {
    const ALL: [Self; 4] = [Self::Length, Self::Seqnum, Self::Silence, Self::Garbage];

    fn name(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Seqnum => "seqnum",
            Self::Silence => "silence",
            Self::Garbage => "garbage",
        }
    }
}

impl FromStr for Lie {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        Self::ALL.into_iter().find(|lie| lie.name() == text).ok_or_else(|| FaultError::Lie(text.to_owned()))
    }
}

impl fmt::Display for FaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(word) => {
                write!(f, "unknown command {word:?}; there are unplug, stall, delay, short, babble, cut, lie")
            }
            Self::Usage(usage) => write!(f, "usage: {usage}"),
            Self::Number(word) => write!(f, "{word:?} is not a number below 2^32"),
            Self::Endpoint(word) => write!(f, "{word:?} is not an endpoint; write 0x81, ep_81 or 129"),
            Self::Lie(word) => write!(f, "unknown lie {word:?}; there are length, seqnum, silence, garbage"),
        }
    }
}

impl std::error::Error for FaultError {}

fn number(word: &str) -> Result<u32, FaultError> {
    word.parse().map_err(|_| FaultError::Number(word.to_owned()))
}

fn millis(word: &str) -> Result<Duration, FaultError> {
    Ok(Duration::from_millis(number(word)?.into()))
}

fn parse_endpoint(word: &str) -> Result<u8, FaultError> {
    let hex = word.strip_prefix("0x").or_else(|| word.strip_prefix("ep_"));
    let parsed = hex.map_or_else(|| word.parse(), |digits| u8::from_str_radix(digits, 16));
    parsed.map_err(|_| FaultError::Endpoint(word.to_owned()))
}

const USAGE: [&str; 7] = [
    "unplug DEVICE MS",
    "stall DEVICE EP",
    "delay DEVICE EP MS, or delay link MS",
    "short DEVICE EP BYTES",
    "babble DEVICE EP COUNT",
    "cut DEVICE MS",
    "lie DEVICE length|seqnum|silence|garbage",
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn faults() -> impl Strategy<Value = Fault> {
        let time = any::<u32>().prop_map(|ms| Duration::from_millis(ms.into()));
        prop_oneof![
            time.clone().prop_map(Fault::Unplug),
            any::<u8>().prop_map(Fault::Stall),
            (any::<u8>(), time.clone()).prop_map(|(endpoint, time)| Fault::Delay(endpoint, time)),
            (any::<u8>(), any::<u32>()).prop_map(|(endpoint, bytes)| Fault::Short(endpoint, bytes)),
            (any::<u8>(), any::<u32>()).prop_map(|(endpoint, count)| Fault::Babble(endpoint, count)),
            time.prop_map(Fault::Cut),
            prop::sample::select(&Lie::ALL[..]).prop_map(Fault::Lie),
        ]
    }

    proptest! {
        #[test]
        fn every_command_reads_back_as_it_is_written(device in "[a-z]{1,8}(-[0-9])?", fault in faults(), ms: u32) {
            for command in [Command::Device { device, fault }, Command::DelayLink(Duration::from_millis(ms.into()))] {
                prop_assert_eq!(command.to_string().parse(), Ok(command));
            }
        }

        #[test]
        fn any_line_is_a_command_or_an_error(line in ".*") {
            let _ = line.parse::<Command>();
        }
    }

    #[test]
    fn endpoints_may_be_written_three_ways() {
        for word in ["0x81", "ep_81", "129"] {
            assert_eq!(parse_endpoint(word), Ok(0x81));
        }
        assert!(parse_endpoint("0x1ff").is_err());
    }

    #[test]
    fn errors_name_what_there_is() {
        let error = |line: &str| line.parse::<Command>().unwrap_err().to_string();
        assert!(error("explode zero").contains("unplug, stall"));
        assert!(error("delay zero 0x81").contains("delay DEVICE EP MS"));
        assert!(error("lie zero colour").contains("length, seqnum"));
        assert!(error("cut zero soon").contains("soon"));
        assert!(error("").contains("unknown command"));
    }
}
