//! Hot path. A descriptor that a program reads at its other end: a connected socket, or an anonymous pipe.
//!
//! It refuses to buffer: what the descriptor does not take stays with the caller.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll, ready};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Sink;
use super::fifo_in::enlarge;
use super::socket::{FdKind, kind_of, set_nonblocking};
use crate::reactor::Room;

/// The daemon's end of a descriptor that one program reads.
#[derive(Debug)]
pub struct InEnd {
    /// Reports that the other end was closed, and nothing else: a socket has news of room each time its reader takes
    /// something.
    fd: AsyncFd<OwnedFd>,
    kind: FdKind,
    room: Room,
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
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::PRIORITY) }?;
        Ok(Self { fd, kind, room: Room::default() })
    }
}

fn write(fd: &OwnedFd, kind: FdKind, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    match kind {
        FdKind::Pipe => nix::sys::uio::writev(fd, slices).map_err(io::Error::from),
        FdKind::Stream | FdKind::Messages => SockRef::from(fd).send_vectored(slices),
    }
}

impl Sink for InEnd {
    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let (fd, kind) = (self.fd.get_ref(), self.kind);
        let offered = slices.iter().map(|slice| slice.len()).sum();
        match ready!(self.room.poll_write(cx, fd.as_fd(), offered, || write(fd, kind, slices))) {
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            result => Poll::Ready(result),
        }
    }

    /// A program that shut down its own direction only still reads.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Ok(mut ready) = ready!(self.fd.poll_write_ready(cx)) else { return Poll::Ready(()) };
            if ready.ready().is_write_closed() {
                return Poll::Ready(());
            }
            ready.clear_ready();
        }
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
