//! Hot path. A named pipe that a program reads at its other end.
//!
//! What is written is Windows' until the program or the pipe has taken it; then there is room for more. Windows does not
//! tell of a program's going where nothing is written, so that it is asked once in a while, for as long as there is a
//! program. Nothing could be left pending instead: a read needs a pipe that programs may write to, which an IN endpoint is
//! not; a write of nothing ends at once, as a flush does when all is read; and the event that FSCTL_PIPE_ASSIGN_EVENT sets
//! is documented nowhere, and Wine has none.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

use super::Sink;
use super::overlapped::Operation;
use super::pipe::Connection;

/// The daemon's end of a pipe that one program reads.
pub struct InEnd {
    connection: Connection,
    writing: Operation,
    look: Interval,
    /// Writing has failed.
    broken: bool,
}

impl InEnd {
    /// Takes over a connected pipe. Whether it keeps messages was said when it was made.
    ///
    /// # Errors
    /// None; elsewhere not every end is fit for this.
    pub fn new(connection: Connection, _packets: bool) -> io::Result<Self> {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        look.reset();
        Ok(Self { writing: Operation::new(&connection.handle), connection, look, broken: false })
    }

    /// Ready when what was written last is out, with false when nobody reads any more.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if !self.broken && !self.writing.is_idle() {
            self.broken = ready!(self.writing.poll(cx, |_, _| ())).is_err();
        }
        Poll::Ready(!self.broken)
    }
}

impl Sink for InEnd {
    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if !ready!(self.poll_room(cx)) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let mut room = if self.connection.messages { usize::MAX } else { MOST_AT_ONCE };
        let mut taken = 0;
        self.writing.write(slices.iter().map(|slice| {
            let part = &slice[..slice.len().min(room)];
            room -= part.len();
            taken += part.len();
            part
        }));
        Poll::Ready(Ok(taken))
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Poll::Ready(false) = self.poll_room(cx) {
            return Poll::Ready(());
        }
        while self.look.poll_tick(cx).is_ready() {
            if self.connection.is_closed() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    fn keeps_messages(&self) -> bool {
        self.connection.messages
    }
}

/// Bytes.
const MOST_AT_ONCE: usize = 64 * 1024;
const LOOK: Duration = Duration::from_millis(500);
