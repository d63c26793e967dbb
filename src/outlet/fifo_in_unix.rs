//! Hot path. The FIFO of an IN endpoint: the daemon writes, programs read.
//!
//! ```text
//!             ┌────── end() ──────┐        held:  a write end is open; programs open at once and wait for bytes
//!   begin() ► held                ▼        ended: no write end; readers see end of file, open() blocks
//!             ▲                 ended             (a read end of our own keeps unread bytes)
//!             └───── begin() ─────┘
//! ```
//!
//! It refuses to buffer: what the FIFO does not take stays with the caller.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::net::unix::pipe::Sender;
use tokio::time::{Sleep, sleep};

use super::descriptor::reopen;
use super::fifo_out::read_out;
use super::socket::bytes_waiting;
use super::{Changes, CompetingReaders, Node, Sink, StandingSink, Watcher};

/// The daemon's end of a FIFO that programs read.
pub struct InFifo {
    node: Node,
    end: Option<OwnedFd>,
    /// A second descriptor of `end` in the reactor, while somebody waits for room.
    active: Option<Sender>,
    /// A read end of our own while there is no write end.
    anchor: Option<OwnedFd>,
    changes: Changes,
    /// Runs after a change that left a reader, and how many more looks follow it.
    second_look: Option<(Pin<Box<Sleep>>, usize)>,
    packet_mode: bool,
}

impl InFifo {
    /// Takes charge of this FIFO. With `packet_mode` each write is one read for the program (pipe(2),
    /// O_DIRECT), as long as it has at most 4096 bytes.
    ///
    /// # Errors
    /// Those of open(2), inotify(7) and fcntl(2).
    pub fn new(mut node: Node, watcher: &Watcher, packet_mode: bool) -> io::Result<Self> {
        let end = Some(open_write_end(&mut node, packet_mode)?);
        let changes = watcher.watch_each(&node.inner_path())?;
        let fifo = Self { node, end, active: None, anchor: None, changes, second_look: None, packet_mode };
        fifo.changes.competing().start(usize::from(fifo.has_reader()));
        Ok(fifo)
    }

    /// Where it is, for people.
    pub fn path(&self) -> &Path {
        self.node.path()
    }

    /// Where it is, for the kernel.
    pub fn inner_path(&self) -> PathBuf {
        self.node.inner_path()
    }

    /// Whether any program has it open for reading.
    pub fn has_reader(&self) -> bool {
        self.end.as_ref().is_some_and(|fd| !has_error(fd))
    }

    /// Told when somebody opens or closes it while others read: there may be a second one now, or another one.
    pub fn competing(&self) -> CompetingReaders {
        self.changes.competing().clone()
    }

    /// How often the last reader has left, as far as is known.
    pub fn departures(&self) -> u64 {
        self.changes.competing().departures()
    }

    /// Whether programs have opened or closed a FIFO, and nothing is known of that yet.
    pub fn is_behind(&self) -> bool {
        self.changes.is_behind()
    }

    /// Whether it holds bytes that nobody has read.
    pub fn has_bytes(&self) -> bool {
        self.end.as_ref().is_some_and(|end| bytes_waiting(end) > 0)
    }

    /// Ready when a program has it open for reading.
    pub fn poll_opened(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.has_reader() {
            ready!(self.changes.poll_changed(cx));
            self.miss();
        }
        Poll::Ready(())
    }

    /// Nobody reads. Programs may have come and gone, and shared what the FIFO still had.
    fn miss(&self) {
        let competing = self.changes.competing();
        competing.nobody();
        if competing.is_any() {
            competing.notify();
        }
    }

    /// The FIFO as it is open here, in whichever direction.
    fn held(&self) -> Option<&OwnedFd> {
        self.end.as_ref().or(self.anchor.as_ref())
    }

    /// A read end of the same FIFO, whatever its name leads to by now.
    fn reader(&self) -> Option<OwnedFd> {
        let held = self.held()?;
        self.changes.leaving().expect_own();
        reopen(held, READ_FLAGS).ok()
    }

    /// Readers get what the FIFO holds and then end of file; whoever opens it now waits.
    ///
    /// # Errors
    /// Those of open(2); it then stays as it was.
    pub fn end(&mut self) -> io::Result<()> {
        if let Some(end) = &self.end {
            self.changes.competing().mute();
            self.changes.end(self.has_reader());
            self.anchor = Some(reopen(end, READ_FLAGS)?);
            self.active = None;
            self.end = None;
        }
        Ok(())
    }

    /// Undoes [`InFifo::end`]. Readers from before it get this long to see the end of file that they were promised. A FIFO
    /// that was removed is made anew.
    ///
    /// # Errors
    /// Those of open(2); what was put in the place of the FIFO. It stays ended then.
    pub async fn begin(&mut self, patience: Duration) -> io::Result<()> {
        if self.node.is_removed()? || self.end.is_none() {
            if self.end.is_none() {
                self.changes.left(patience).await;
            }
            self.end = Some(open_write_end(&mut self.node, self.packet_mode)?);
            (self.anchor, self.active) = (None, None);
            // What this process did to the FIFO is no news.
            self.changes.renew(&self.node.inner_path())?;
            self.changes.competing().start(usize::from(self.has_reader()));
        }
        Ok(())
    }
}

impl StandingSink for InFifo {
    fn is_open(&self) -> bool {
        self.has_reader()
    }

    fn poll_came(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.changes.poll_changed(cx));
            if self.has_reader() {
                self.changes.competing().notify();
                return Poll::Ready(());
            }
            self.miss();
        }
    }

    fn discard(&mut self) -> usize {
        self.reader().and_then(|end| read_out(&end).ok()).unwrap_or(0)
    }

    fn take_back(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; self.held().map_or(0, bytes_waiting)];
        if bytes.is_empty() {
            return bytes;
        }
        // One read takes all of it at once: pipe(7), and nobody can come in between.
        let n = self.reader().and_then(|end| nix::unistd::read(end, &mut bytes).ok()).unwrap_or(0);
        bytes.truncate(n);
        bytes
    }

    fn rest(&mut self) {
        self.active = None;
        self.second_look = None;
    }
}

impl Sink for InFifo {
    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let Some(end) = &self.end else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        let mut woken_in_vain = false;
        loop {
            let result = match &self.active {
                None => nix::sys::uio::writev(end, slices).map_err(io::Error::from),
                Some(active) => active.try_write_vectored(slices),
            };
            match result {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
            if self.active.is_none() || woken_in_vain {
                // The reactor never forgets that readers were once gone, and would wake us forever; start afresh.
                let copy = end.try_clone()?;
                enlarge(&copy);
                self.active = Some(Sender::from_owned_fd_unchecked(copy)?);
            }
            let Some(active) = &self.active else { continue };
            ready!(active.poll_write_ready(cx))?;
            woken_in_vain = true;
        }
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let is_news = self.changes.poll_changed(cx).is_ready();
            if is_news {
                self.second_look = Some((Box::pin(sleep(SECOND_LOOKS[0])), 1));
            } else {
                let Some((timer, looks)) = &mut self.second_look else { return Poll::Pending };
                ready!(timer.as_mut().poll(cx));
                let next = SECOND_LOOKS.get(*looks).map(|&pause| (Box::pin(sleep(pause)), *looks + 1));
                self.second_look = next;
            }
            if !self.has_reader() {
                self.changes.competing().nobody();
                self.second_look = None;
                return Poll::Ready(());
            }
            if is_news {
                self.changes.competing().notify();
            }
        }
    }
}

/// A larger FIFO means fewer wakeups on both sides. The system may refuse; it works with the default size as well.
pub(super) fn enlarge(fd: &OwnedFd) {
    let _ = fcntl(fd, FcntlArg::F_SETPIPE_SZ(FIFO_CAPACITY));
}

/// Opens a write end although no program reads: for a moment a descriptor of both directions plays the reader.
fn open_write_end(node: &mut Node, packet_mode: bool) -> io::Result<OwnedFd> {
    let both = node.open(OFlag::O_RDWR)?;
    let fd = reopen(&both, WRITE_FLAGS)?;
    if packet_mode {
        let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
        fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_DIRECT))?;
    }
    Ok(fd)
}

fn has_error(fd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::empty())];
    match poll(&mut fds, PollTimeout::ZERO) {
        Ok(_) => fds[0].revents().is_some_and(|r| r.contains(PollFlags::POLLERR)),
        Err(_) => false,
    }
}

const READ_FLAGS: OFlag = OFlag::O_RDONLY.union(OFlag::O_NONBLOCK);
pub(super) const WRITE_FLAGS: OFlag = OFlag::O_WRONLY.union(OFlag::O_NONBLOCK);
/// Linux tells of a close just before it takes effect, so a closer that is interrupted there still looks like a reader.
const SECOND_LOOKS: [Duration; 3] = [Duration::from_millis(2), Duration::from_millis(50), Duration::from_secs(1)];
/// Bytes; four transfers of the default size.
const FIFO_CAPACITY: i32 = 256 * 1024;
