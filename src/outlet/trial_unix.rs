//! What tests of this folder want of the system: a pipe whose other end is at hand. For tests alone.

use std::io::Read;

use super::Connection;

/// The end of a program that reads, and the daemon's.
pub(super) fn read_by_program() -> (impl Read, Connection) {
    let (read, write) = std::io::pipe().unwrap();
    (read, write.into())
}
