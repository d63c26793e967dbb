//! The text that programs send to the control pipe and to `serial.ctl`, and the answers they get. Touches no device.
//!
//! ```text
//! line -> control::ControlRequest -+
//!                                  +-> (session) -> Answer -> line
//! line -> serial::SerialRequest  --+
//! ```

pub mod control;
pub mod hex;
pub mod serial;
mod words;

use std::fmt;
use std::str::FromStr;

use crate::printable::is_printable;

pub use control::{ControlRequest, DescriptorKind};
pub use serial::{Line, SerialRequest};

/// Why a request failed, by the name that stands in the answer. The order gives the status byte of the binary form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorName {
    /// The request is not in the grammar, or contradicts itself.
    Invalid,
    /// The request is well formed, but the daemon does not let it through.
    Denied,
    /// The device refused it with a stall.
    Stall,
    /// The device did not answer in time.
    Timeout,
    /// The device is not there, or went while the request was under way.
    Disconnected,
    /// The device sent more than was asked for.
    Overflow,
    /// Anything else that went wrong on the bus.
    Io,
}

/// A request that is not carried out, with the reason for the person who wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestError {
    /// The name in the answer: [`ErrorName::Invalid`] or [`ErrorName::Denied`] for requests that do not parse.
    pub name: ErrorName,
    /// What is wrong and what to write instead.
    pub text: String,
}

/// The answer to one request. It prints as exactly one line without its line end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// `ok`, or `ok <payload>` where the payload (hex or key=value) is not empty.
    Ok(String),
    /// `error <name> <text>`.
    Error {
        /// The kind, for scripts.
        name: ErrorName,
        /// The reason, for people.
        text: String,
    },
}

impl ErrorName {
    /// Every name, in the order of the contract.
    pub const ALL: [Self; 7] =
        [Self::Invalid, Self::Denied, Self::Stall, Self::Timeout, Self::Disconnected, Self::Overflow, Self::Io];

    /// The status byte of a binary answer, 1 to 7; 0 is success.
    pub fn status_byte(self) -> u8 {
        self as u8 + 1
    }

    /// The name behind a status byte; `None` for 0 and for numbers that no name has.
    pub fn from_status_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.status_byte() == byte)
    }
}

impl fmt::Display for ErrorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "invalid",
            Self::Denied => "denied",
            Self::Stall => "stall",
            Self::Timeout => "timeout",
            Self::Disconnected => "disconnected",
            Self::Overflow => "overflow",
            Self::Io => "io",
        })
    }
}

impl RequestError {
    /// A request that is not in the grammar.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self { name: ErrorName::Invalid, text: text.into() }
    }

    /// A request that the daemon does not let through.
    pub fn denied(text: impl Into<String>) -> Self {
        Self { name: ErrorName::Denied, text: text.into() }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.text)
    }
}

impl std::error::Error for RequestError {}

impl From<RequestError> for Answer {
    fn from(error: RequestError) -> Self {
        Self::Error { name: error.name, text: error.text }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (head, tail) = match self {
            Self::Ok(payload) => ("ok".to_owned(), payload),
            Self::Error { name, text } => (format!("error {name}"), text),
        };
        match tail.is_empty() {
            true => f.write_str(&head),
            false => write!(f, "{head} {}", one_line(tail)),
        }
    }
}

impl FromStr for Answer {
    type Err = RequestError;

    /// Reads an answer line, as the `control` and `serial` commands get it.
    fn from_str(line: &str) -> Result<Self, RequestError> {
        let line = line.trim_end_matches(['\r', '\n']);
        let (head, tail) = line.split_once(' ').unwrap_or((line, ""));
        let (name, text) = tail.split_once(' ').unwrap_or((tail, ""));
        let name = ErrorName::ALL.into_iter().find(|known| known.to_string() == name);
        match (head, name) {
            ("ok", _) => Ok(Self::Ok(tail.to_owned())),
            ("error", Some(name)) => Ok(Self::Error { name, text: text.to_owned() }),
            _ => Err(RequestError::invalid(format!("`{}` is no answer", line.escape_debug()))),
        }
    }
}

/// Texts may quote what a device or a program sent, and one request gets one line.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if is_printable(c) { c } else { ' ' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_have_the_status_bytes_of_their_positions() {
        let bytes: Vec<u8> = ErrorName::ALL.iter().map(|name| name.status_byte()).collect();
        assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(ErrorName::from_status_byte(3), Some(ErrorName::Stall));
        assert_eq!(ErrorName::from_status_byte(0), None);
        assert_eq!(ErrorName::from_status_byte(8), None);
    }

    #[test]
    fn answers_print_as_the_contract_says() {
        assert_eq!(Answer::Ok(String::new()).to_string(), "ok");
        assert_eq!(Answer::Ok("1201".into()).to_string(), "ok 1201");
        assert_eq!(Answer::from(RequestError::denied("no")).to_string(), "error denied no");
    }

    #[test]
    fn a_text_with_line_breaks_is_still_one_line() {
        let answer = Answer::Error { name: ErrorName::Io, text: "a\r\nok 00\u{2028}b".into() };
        assert_eq!(answer.to_string(), "error io a  ok 00 b");
    }

    proptest! {
        #[test]
        fn any_answer_is_one_line_that_reads_back(text in any::<String>(), at in 0usize..8) {
            let answer = match ErrorName::ALL.get(at) {
                Some(&name) => Answer::Error { name, text },
                None => Answer::Ok(text),
            };
            let line = answer.to_string();
            prop_assert_eq!(line.lines().count(), 1);
            prop_assert_eq!(line.parse::<Answer>().unwrap().to_string(), line);
        }

        #[test]
        fn any_text_is_an_answer_or_not(line in any::<String>()) {
            let _ = line.parse::<Answer>();
        }
    }
}
