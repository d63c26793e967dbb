//! Hot path. A descriptor that a program reads at its other end: a connected socket, or an anonymous pipe.
//!
//! It refuses to buffer: what the descriptor does not take stays with the caller.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Sink;
use super::fifo_in::enlarge;
use super::socket::{FdKind, kind_of, set_nonblocking};

/// The daemon's end of a descriptor that one program reads.
#[derive(Debug)]
pub struct InEnd {
    fd: AsyncFd<OwnedFd>,
    kind: FdKind,
    /// Its last write found no room, and there has been no news since.
    full: bool,
}

impl InEnd {
    /// Takes over a connected socket (stream or SEQPACKET) or the write end of a pipe. With `packet_mode` each write
    /// into a pipe is one read for the program, as long as it has at most 4096 bytes.
    ///
    /// # Errors
    /// Those of fcntl(2) and epoll_ctl(2); `InvalidInput` for anything that is neither.
    pub fn new(fd: OwnedFd, packet_mode: bool) -> io::Result<Self> {
        let kind = kind_of(&fd)?;
        set_nonblocking(&fd)?;
        if kind == FdKind::Pipe {
            enlarge(&fd);
        }
        if packet_mode && kind == FdKind::Pipe {
            let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
            fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_DIRECT))?;
        }
        // SAFETY: an `OwnedFd` owns its descriptor, and gives the same number for as long as it lives.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::WRITABLE) }?;
        Ok(Self { fd, kind, full: false })
    }

    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.kind {
            FdKind::Pipe => nix::sys::uio::writev(self.fd.get_ref(), slices).map_err(io::Error::from),
            FdKind::Stream | FdKind::Messages => SockRef::from(self.fd.get_ref()).send_vectored(slices),
        }
    }

    /// Ready with true when there may be room, with false when nobody reads any more.
    fn poll_news(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let Ok(mut guard) = ready!(self.fd.poll_write_ready(cx)) else { return Poll::Ready(false) };
        if guard.ready().is_write_closed() {
            return Poll::Ready(false);
        }
        guard.clear_ready();
        self.full = false;
        Poll::Ready(true)
    }
}

impl Sink for InEnd {
    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            if self.full && !ready!(self.poll_news(cx)) {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            match self.write(slices) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.full = true,
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => {
                    return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                }
                result => return Poll::Ready(result),
            }
        }
    }

    /// A program that shut down its own direction only still reads.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while ready!(self.poll_news(cx)) {}
        Poll::Ready(())
    }

    fn keeps_messages(&self) -> bool {
        self.kind == FdKind::Messages
    }
}

impl Drop for InEnd {
    /// Of a connection that goes both ways the other direction may live on elsewhere.
    fn drop(&mut self) {
        if self.kind != FdKind::Pipe {
            let _ = SockRef::from(self.fd.get_ref()).shutdown(Shutdown::Write);
        }
    }
}
