//! Outlets: the local objects that unmodified programs open.
//!
//! Each kind is a file of its own; none knows of devices, transfers or configuration.

use std::io::{self, IoSlice};
use std::task::{Context, Poll};

mod dir;
mod fifo_in;
mod fifo_out;
mod holders_linux;
pub mod tty;
mod watch_linux;

pub use dir::{Access, Dir, DirError};
pub use fifo_in::InFifo;
pub use fifo_out::OutFifo;
pub use holders_linux::openers;
pub use watch_linux::{Changes, Watcher};

/// Where the bytes of an IN pipe go.
pub trait Sink: Send {
    /// Writes as much of `slices` as there is room for, at least one byte.
    ///
    /// # Errors
    /// `BrokenPipe` when no program reads; anything else is an error of the outlet itself.
    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;

    /// Ready when the last reader has gone. Costs no system call while nothing changes.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// Where the bytes of an OUT pipe come from.
pub trait Source: Send {
    /// Reads what is there into `buffer`, which must not be empty. 0 means that the last writer has gone.
    ///
    /// # Errors
    /// Those of the outlet itself.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;
}
