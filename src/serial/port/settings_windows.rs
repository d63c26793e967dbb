//! Speed, format and lines of a COM port. None is opened yet, so that there are none to be set.

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::PortInfo;
use crate::serial::LineCoding;
use crate::usb::{ModemLines, TransferError};

/// The serial ports of this machine that can be bridged.
pub fn list() -> Vec<PortInfo> {
    Vec::new()
}

/// An open port's settings.
pub(super) enum Settings {}

impl Settings {
    /// Refuses.
    ///
    /// # Errors
    /// `Unsupported`, always.
    pub(super) fn of(_port: Arc<File>, _lock: bool) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn coding(&self) -> Result<LineCoding, TransferError> {
        match *self {}
    }

    pub(super) fn set_coding(&mut self, _wanted: LineCoding) -> Result<(), TransferError> {
        match *self {}
    }

    pub(super) fn modem_lines(&self) -> Result<ModemLines, TransferError> {
        match *self {}
    }

    pub(super) fn set_modem_lines(&self, _dtr: bool, _rts: bool) -> Result<(), TransferError> {
        match *self {}
    }

    pub(super) fn begin_break(&self) -> Result<(), TransferError> {
        match *self {}
    }

    pub(super) fn end_break(&self) -> Result<(), TransferError> {
        match *self {}
    }
}
