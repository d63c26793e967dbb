//! Windows gives no handles away over a pipe: a program opens a named pipe itself. So the daemon makes no pair, and who
//! asks for one is told that.

use std::fs::File;

use crate::outlet::Connection;

/// What a program is given: a connection of its own.
pub type End = File;

/// The daemon's end and the program's.
pub(super) type Pair = (Connection, End);

/// Refuses.
pub(super) fn pipe(_program_reads: bool, _packets: bool) -> Result<Pair, String> {
    Err(INSTEAD.to_owned())
}

/// Refuses.
pub(super) fn stream() -> Result<Pair, String> {
    Err(INSTEAD.to_owned())
}

/// Refuses.
pub(super) fn packets() -> Result<Pair, String> {
    Err(INSTEAD.to_owned())
}

const INSTEAD: &str = "Windows passes no handles over a pipe; open the outlet's own pipe, which `usbpipe status` names";
