//! Outlets: the local objects that unmodified programs open.
//!
//! Each kind is a file of its own; none knows of devices, transfers or configuration.

use std::io::{self, IoSlice};
use std::task::{Context, Poll};

mod access;
#[cfg_attr(windows, allow(dead_code, reason = "Windows has no FIFOs"))]
mod competing;
#[cfg(target_os = "linux")]
#[path = "credentials_linux.rs"]
mod credentials;
#[cfg(windows)]
#[path = "credentials_windows.rs"]
mod credentials;
#[cfg(unix)]
#[path = "departure_unix.rs"]
mod departure;
#[cfg(windows)]
#[path = "departure_windows.rs"]
mod departure;
#[cfg(unix)]
#[path = "descriptor_unix.rs"]
mod descriptor;
#[cfg(unix)]
#[path = "descriptors_unix.rs"]
mod descriptors;
#[cfg(windows)]
#[path = "descriptors_windows.rs"]
mod descriptors;
#[cfg(unix)]
#[path = "dir_unix.rs"]
mod dir;
#[cfg(windows)]
#[path = "dir_windows.rs"]
mod dir;
#[cfg(unix)]
#[path = "end_in_unix.rs"]
mod end_in;
#[cfg(windows)]
#[path = "end_in_windows.rs"]
mod end_in;
#[cfg(unix)]
#[path = "end_out_unix.rs"]
mod end_out;
#[cfg(windows)]
#[path = "end_out_windows.rs"]
mod end_out;
#[cfg(unix)]
#[path = "fifo_in_unix.rs"]
mod fifo_in;
#[cfg(unix)]
#[path = "fifo_out_unix.rs"]
mod fifo_out;
#[cfg(windows)]
mod fifo_windows;
#[cfg_attr(windows, allow(dead_code, reason = "Windows has no FIFOs"))]
mod leaving;
#[cfg(unix)]
#[path = "node_unix.rs"]
mod node;
#[cfg(windows)]
#[path = "overlapped_windows.rs"]
mod overlapped;
mod peer;
#[cfg(target_os = "linux")]
mod peer_linux;
#[cfg(windows)]
mod peer_windows;
#[cfg(windows)]
#[path = "pipe_windows.rs"]
mod pipe;
mod revocable;
#[cfg(windows)]
#[path = "security_windows.rs"]
mod security;
#[cfg(unix)]
#[path = "socket_unix.rs"]
mod socket;
#[cfg(windows)]
#[path = "socket_windows.rs"]
mod socket;
#[cfg(windows)]
#[path = "stream_windows.rs"]
mod stream;
#[cfg(test)]
#[cfg(windows)]
mod tests_windows;
mod tokio_io;
#[cfg(test)]
#[cfg(unix)]
#[path = "trial_unix.rs"]
mod trial;
#[cfg(test)]
#[cfg(windows)]
#[path = "trial_windows.rs"]
mod trial;
pub mod tty;
#[cfg(target_os = "linux")]
#[path = "watch_linux.rs"]
mod watch;
#[cfg(windows)]
#[path = "watch_windows.rs"]
mod watch;

pub use access::{Access, DirError};
pub use competing::CompetingReaders;
pub use credentials::{Credentials, Want};
pub use departure::Departure;
#[cfg(unix)]
pub use descriptors::restore_limit;
pub use descriptors::{check_descriptors, raise_limit};
pub use dir::Dir;
pub use end_in::InEnd;
pub use end_out::OutEnd;
#[cfg(unix)]
pub use fifo_in::InFifo;
#[cfg(unix)]
pub use fifo_out::OutFifo;
#[cfg(windows)]
pub use fifo_windows::{InFifo, Node, OutFifo};
#[cfg(unix)]
pub use node::Node;
#[cfg(windows)]
pub use overlapped::written;
pub use peer::Peer;
#[cfg(windows)]
pub use pipe::{Connection, Direction, Shape, pair};
pub use revocable::{Revocable, Revocation};
#[cfg(windows)]
pub use security::Security;
#[cfg(unix)]
pub use socket::{Connection, SocketKind, written};
pub use socket::{Listener, is_exhausted};
#[cfg(windows)]
pub use stream::Stream;
pub use tokio_io::{IoSink, IoSource};
pub use watch::{Changes, Watcher, openers};

/// Where the bytes of an IN pipe go.
pub trait Sink: Send {
    /// Writes as much of `slices` as there is room for, at least one byte; all of it where messages are kept.
    ///
    /// # Errors
    /// `BrokenPipe` when no program reads; anything else is an error of the outlet itself.
    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;

    /// Ready when the last reader has gone. Costs no system call while nothing changes.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Whether each write is a message of its own for the program, an empty one too (SEQPACKET).
    fn keeps_messages(&self) -> bool {
        false
    }
}

/// Where the bytes of an OUT pipe come from.
pub trait Source: Send {
    /// Reads what is there into `buffer`, which must not be empty. 0 means that the last writer has gone.
    ///
    /// # Errors
    /// Those of the outlet itself.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;

    /// The next message, where programs write messages (SEQPACKET); elsewhere what a read gives.
    ///
    /// # Errors
    /// As of [`Source::poll_read`].
    fn poll_message(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<Message>> {
        let read = self.poll_read(cx, buffer);
        read.map_ok(|n| if n == 0 { Message::End } else { Message::Of(n) })
    }

    /// While nobody reads this: ready when the last writer has gone and has left nothing to read, as far as an outlet knows
    /// that.
    fn poll_left(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    /// Whether [`Source::poll_message`] gives what a program wrote at once, an empty message too.
    fn keeps_messages(&self) -> bool {
        false
    }

    /// Bytes that wait. Who reads just these has split no write of at most PIPE_BUF bytes: pipe(7).
    fn waiting(&self) -> usize {
        0
    }
}

/// What [`Source::poll_message`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// One of this many bytes.
    Of(usize),
    /// One that does not fit the buffer and is lost.
    TooLong,
    /// The last writer has gone.
    End,
}

/// A sink that stands whether a program has it open or not: a FIFO.
pub trait StandingSink: Sink {
    /// Whether any program has it open.
    fn is_open(&self) -> bool;

    /// While nobody has it open: ready when somebody does. Costs no system call while nothing changes.
    fn poll_came(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Throws away what no program has taken, and says how many bytes that were.
    fn discard(&mut self) -> usize;

    /// Takes back what no program has taken. To be called while nobody has it open; of a program that opens it meanwhile
    /// and reads, the result is what comes after that.
    fn take_back(&mut self) -> Vec<u8>;

    /// Takes it out of the reactor until it is needed again.
    fn rest(&mut self);
}

/// A source that stands whether a program has it open or not: a FIFO.
pub trait StandingSource: Source {
    /// Whether any program has it open, or bytes of one that has gone are left.
    fn is_open(&self) -> bool;

    /// While nobody has it open: ready when somebody does. Costs no system call while nothing changes.
    fn poll_came(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}
