//! What can go wrong on a bus, as kinds that a caller can act on.

use std::fmt;
use std::path::PathBuf;

use super::errno::{ENOMEM, EPROTO, describe};

/// Why a transfer ended without success. USB 2.0, 5.3.2 and 8.4.5; the numbers behind them are the backend's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferError {
    /// The endpoint is halted, or the device refused a control request.
    Stall,
    /// Cancelled on request.
    Cancelled,
    /// The device or the link to it is gone.
    Disconnected,
    /// Babble: the device sent more than was asked for.
    Overflow,
    /// A control transfer was not answered in time.
    Timeout,
    /// The backend or the device found the request itself impossible.
    Invalid,
    /// Anything else, with the errno of Linux that describes it best.
    Io(i32),
}

impl TransferError {
    /// The word that stands for this error in text answers, JSON lines and counters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stall => "stall",
            Self::Cancelled => "cancelled",
            Self::Disconnected => "disconnected",
            Self::Overflow => "overflow",
            Self::Timeout => "timeout",
            Self::Invalid => "invalid",
            Self::Io(_) => "io",
        }
    }
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stall => f.write_str("the endpoint answered with a stall"),
            Self::Cancelled => f.write_str("the transfer was cancelled"),
            Self::Disconnected => f.write_str("the device is not connected"),
            Self::Overflow => f.write_str("the device sent more than was asked for (babble)"),
            Self::Timeout => f.write_str("the device did not answer in time"),
            Self::Invalid => f.write_str("the request is not valid for this device"),
            // Some backends tell babble, bit errors and silence as one.
            Self::Io(EPROTO) => f.write_str("the device broke the bus protocol (babble, a bit error, or no answer)"),
            Self::Io(ENOMEM) => f.write_str("the system has no memory for the transfer"),
            Self::Io(errno) => write!(f, "transfer error: {}", describe(*errno)),
        }
    }
}

impl std::error::Error for TransferError {}

/// Why a device could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// Nothing with this name or these ids is there now; trying again later may help.
    NotFound(String),
    /// Somebody else uses it.
    Busy(String),
    /// Another program has its serial port; this is the node that it will close.
    Held(String, PathBuf),
    /// This user may not use it.
    Denied(String),
    /// The way to the device failed.
    Unreachable(String, std::io::Error),
    /// The peer or the device answered with something that makes no sense.
    Protocol(String),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound(text)
            | Self::Busy(text)
            | Self::Held(text, _)
            | Self::Denied(text)
            | Self::Protocol(text) => f.write_str(text),
            Self::Unreachable(text, cause) => write!(f, "{text}: {cause}"),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable(_, cause) => Some(cause),
            _ => None,
        }
    }
}
