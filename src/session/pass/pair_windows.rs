//! Pipes for programs that are started here. Windows gives no handles away over a pipe, so that whoever asks for that is
//! told what there is instead.

use std::fs::File;

use crate::outlet::{Connection, Direction, Shape, pair};

/// What a program is given.
pub type End = File;

/// The daemon's end and the program's.
pub(super) type Pair = (Connection, End);

/// A pipe that the program reads, or writes.
pub(in crate::session) fn pipe(program_reads: bool, packets: bool) -> Result<Pair, String> {
    let direction = if program_reads { Direction::In } else { Direction::Out };
    pair(Shape { direction, messages: packets }).map_err(|e| format!("no pipe can be made for the program: {e}"))
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
