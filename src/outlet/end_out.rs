//! Hot path. A descriptor that a program writes at its other end: a connected socket, or an anonymous pipe.
//!
//! An empty SEQPACKET message and the end of the connection both read as 0 bytes. They are told apart by the sender's
//! credentials, which the kernel puts beside every message and beside nothing else: unix(7), SO_PASSCRED.

use std::io::{self, IoSliceMut};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::task::{Context, Poll, ready};

use nix::sys::socket::{MsgFlags, recvmsg, setsockopt, sockopt};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::socket::{FdKind, bytes_waiting, kind_of, set_nonblocking};
use super::{Message, Source};

/// The daemon's end of a descriptor that one program writes.
#[derive(Debug)]
pub struct OutEnd {
    fd: AsyncFd<OwnedFd>,
    kind: FdKind,
    /// Room for what comes beside a message.
    beside: Vec<u8>,
}

impl OutEnd {
    /// Takes over a connected socket (stream or SEQPACKET) or the read end of a pipe.
    ///
    /// # Errors
    /// Those of fcntl(2), setsockopt(2) and epoll_ctl(2); `InvalidInput` for anything that is neither.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let kind = kind_of(&fd)?;
        set_nonblocking(&fd)?;
        let mut beside = Vec::new();
        if kind == FdKind::Messages {
            setsockopt(&fd, sockopt::PassCred, &true)?;
            beside = nix::cmsg_space!(nix::sys::socket::UnixCredentials);
        }
        // SAFETY: an `OwnedFd` owns its descriptor, and gives the same number for as long as it lives.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?;
        Ok(Self { fd, kind, beside })
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<Message>> {
        loop {
            let mut guard = ready!(self.fd.poll_read_ready(cx))?;
            let (kind, beside) = (self.kind, &mut self.beside);
            match guard.try_io(|fd| receive(fd.get_ref(), kind, buffer, beside)) {
                Ok(Err(e)) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(e)) if e.kind() == io::ErrorKind::ConnectionReset => return Poll::Ready(Ok(Message::End)),
                Ok(result) => return Poll::Ready(result),
                Err(_would_block) => {}
            }
        }
    }
}

#[allow(clippy::ptr_arg, reason = "recvmsg takes a vector")]
fn receive(fd: &OwnedFd, kind: FdKind, buffer: &mut [u8], beside: &mut Vec<u8>) -> io::Result<Message> {
    if kind != FdKind::Messages {
        let n = nix::unistd::read(fd, buffer)?;
        return Ok(if n == 0 { Message::End } else { Message::Of(n) });
    }
    let mut slices = [IoSliceMut::new(buffer)];
    let received = recvmsg::<()>(fd.as_raw_fd(), &mut slices, Some(beside), MsgFlags::MSG_CMSG_CLOEXEC)?;
    if received.flags.contains(MsgFlags::MSG_TRUNC) {
        return Ok(Message::TooLong);
    }
    let is_message = received.bytes > 0 || received.cmsgs().is_ok_and(|mut beside| beside.next().is_some());
    Ok(if is_message { Message::Of(received.bytes) } else { Message::End })
}

impl Source for OutEnd {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            match ready!(self.poll_receive(cx, buffer))? {
                Message::Of(0) | Message::TooLong => {}
                Message::Of(n) => return Poll::Ready(Ok(n)),
                Message::End => return Poll::Ready(Ok(0)),
            }
        }
    }

    fn poll_message(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<Message>> {
        self.poll_receive(cx, buffer)
    }

    fn keeps_messages(&self) -> bool {
        self.kind == FdKind::Messages
    }

    fn waiting(&self) -> usize {
        bytes_waiting(self.fd.get_ref())
    }
}

impl Drop for OutEnd {
    /// Of a connection that goes both ways the other direction may live on elsewhere.
    fn drop(&mut self) {
        if self.kind != FdKind::Pipe {
            let _ = SockRef::from(self.fd.get_ref()).shutdown(Shutdown::Read);
        }
    }
}
