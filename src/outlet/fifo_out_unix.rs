//! Hot path. The FIFO of an OUT endpoint: programs write, the daemon reads.
//!
//! ```text
//!             ┌────── end() ──────┐        held:  a read end is open; programs open at once, what they write waits
//!   begin() ► held                ▼        ended: no read end; writers get EPIPE, open() blocks, and with
//!             ▲                 ended             O_NONBLOCK fails with ENXIO
//!             └───── begin() ─────┘
//! ```
//!
//! It refuses to know what the bytes mean.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::read;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::descriptor::reopen;
use super::fifo_in::{WRITE_FLAGS, enlarge};
use super::socket::bytes_waiting;
use super::{Changes, Node, Source, StandingSource, Watcher};
use crate::reactor::ShortReads;

/// The daemon's end of a FIFO that programs write.
pub struct OutFifo {
    node: Node,
    end: Option<OwnedFd>,
    /// A second descriptor of `end` in the reactor, while a writer is there.
    active: Option<AsyncFd<OwnedFd>>,
    reads: ShortReads,
    changes: Changes,
}

impl OutFifo {
    /// Takes charge of this FIFO.
    ///
    /// # Errors
    /// Those of open(2) and inotify(7).
    pub fn new(mut node: Node, watcher: &Watcher) -> io::Result<Self> {
        let end = open_read_end(&mut node)?;
        let changes = watcher.watch(&node.inner_path())?;
        Ok(Self { node, end: Some(end), active: None, reads: ShortReads::default(), changes })
    }

    /// Where it is, for people.
    pub fn path(&self) -> &Path {
        self.node.path()
    }

    /// Whether a program has it open for writing, or bytes of one that has gone are left.
    pub fn has_writer(&self) -> bool {
        self.revents().is_some_and(|r| r.contains(PollFlags::POLLIN) || !r.contains(PollFlags::POLLHUP))
    }

    /// Whether unread bytes are left.
    pub fn has_bytes(&self) -> bool {
        self.revents().is_some_and(|r| r.contains(PollFlags::POLLIN))
    }

    fn revents(&self) -> Option<PollFlags> {
        let mut fds = [PollFd::new(self.end.as_ref()?.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).ok()?;
        fds[0].revents()
    }

    /// Ready when [`OutFifo::has_writer`] holds.
    pub fn poll_opened(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.has_writer() {
            ready!(self.changes.poll_changed(cx));
        }
        Poll::Ready(())
    }

    /// Writers get EPIPE; whoever opens it now waits. Unread bytes are thrown away and counted in the result.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn end(&mut self) -> io::Result<usize> {
        let had_writer = self.revents().is_some_and(|r| !r.contains(PollFlags::POLLHUP));
        self.active = None;
        let Some(end) = self.end.take() else { return Ok(0) };
        self.changes.end(had_writer);
        read_out(&end)
    }

    /// Undoes [`OutFifo::end`]. Writers from before it get this long to see the EPIPE that they were promised. A FIFO that was
    /// removed is made anew.
    ///
    /// # Errors
    /// Those of open(2); what was put in the place of the FIFO. It stays ended then.
    pub async fn begin(&mut self, patience: Duration) -> io::Result<()> {
        if self.node.is_removed()? || self.end.is_none() {
            if self.end.is_none() {
                self.changes.left(patience).await;
            }
            self.end = Some(open_read_end(&mut self.node)?);
            self.active = None;
            self.changes.renew(&self.node.inner_path())?;
        }
        Ok(())
    }
}

impl StandingSource for OutFifo {
    fn is_open(&self) -> bool {
        self.has_writer()
    }

    fn poll_came(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.changes.poll_changed(cx));
            if self.has_writer() {
                return Poll::Ready(());
            }
        }
    }
}

impl Source for OutFifo {
    fn waiting(&self) -> usize {
        self.end.as_ref().map_or(0, bytes_waiting)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let Some(end) = &self.end else { return Poll::Ready(Ok(0)) };
        loop {
            let result = match &self.active {
                None => read(end, buffer).map_err(io::Error::from),
                Some(active) => ready!(self.reads.poll_read(cx, active, buffer, |fd, buffer| Ok(read(fd, buffer)?))),
            };
            match result {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // The reactor never forgets a hang-up, and would wake us forever; start afresh.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.active = Some(register(end)?),
                Ok(0) => {
                    (self.active, self.reads) = (None, ShortReads::default());
                    return Poll::Ready(Ok(0));
                }
                result => return Poll::Ready(result),
            }
        }
    }
}

/// A second descriptor of this read end, in the reactor.
fn register(end: &OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    let copy = end.try_clone()?;
    enlarge(&copy);
    // SAFETY: an `OwnedFd` owns its descriptor, and gives the same number for as long as it lives.
    Ok(unsafe { AsyncFd::register_with_interest(copy, Interest::READABLE) }?)
}

/// Opens a read end that reports a hang-up while nobody writes: Linux does so only after a first writer has been.
fn open_read_end(node: &mut Node) -> io::Result<OwnedFd> {
    let end = node.open(OFlag::O_RDONLY)?;
    let _first_writer = reopen(&end, WRITE_FLAGS)?;
    Ok(end)
}

/// Reads until nothing is left and says how many bytes that were.
pub(super) fn read_out(fd: &OwnedFd) -> io::Result<usize> {
    let mut buffer = [0; 4096];
    let mut total = 0;
    loop {
        match read(fd, &mut buffer) {
            Ok(0) | Err(Errno::EAGAIN) => return Ok(total),
            Ok(n) => total += n,
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}
