//! Which handles a command is born with on Windows: stdin, stdout and stderr, and nothing else.

use std::ffi::OsString;
use std::io;
use std::process::Command;

use crate::session::PassedEnd;

/// Refuses every number: handles have none of their own.
///
/// # Errors
/// `Unsupported` where something was asked for.
pub(super) fn give(_command: &mut Command, given: Vec<(i32, PassedEnd)>) -> io::Result<()> {
    match given.is_empty() {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "Windows commands inherit stdin and stdout alone; let it open the pipe that `usbpipe status` names",
        )),
    }
}

/// Nothing is inherited that is not asked for.
pub(super) fn keep_others_from(_command: &[OsString]) {}
