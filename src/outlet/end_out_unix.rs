//! Hot path. A descriptor that a program writes at its other end: a connected socket, or an anonymous pipe.
//!
//! An empty SEQPACKET message and the end of the connection both read as 0 bytes. They are told apart by the sender's
//! credentials, which the kernel puts beside every message and beside nothing else: unix(7), SO_PASSCRED.

use std::io::{self, IoSliceMut};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::task::{Context, Poll, ready};

use nix::sys::socket::{MsgFlags, recvmsg, setsockopt, sockopt};
use nix::unistd::read;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::fifo_in::enlarge;
use super::socket::{FdKind, bytes_waiting, kind_of, set_nonblocking};
use super::{Message, Source};
use crate::reactor::ShortReads;

/// The daemon's end of a descriptor that one program writes.
#[derive(Debug)]
pub struct OutEnd {
    fd: AsyncFd<OwnedFd>,
    kind: FdKind,
    reads: ShortReads,
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
        if kind == FdKind::Pipe {
            enlarge(&fd);
        }
        let mut beside = Vec::new();
        if kind == FdKind::Messages {
            setsockopt(&fd, sockopt::PassCred, &true)?;
            beside = nix::cmsg_space!(nix::sys::socket::UnixCredentials);
        }
        // SAFETY: an `OwnedFd` owns its descriptor, and gives the same number for as long as it lives.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?;
        Ok(Self { fd, kind, reads: ShortReads::default(), beside })
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match ready!(self.reads.poll_read(cx, &self.fd, buffer, |fd, buffer| Ok(read(fd, buffer)?))) {
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => Poll::Ready(Ok(0)),
            result => Poll::Ready(result),
        }
    }

    /// The next message of a SEQPACKET socket.
    fn poll_receive(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<Message>> {
        loop {
            let mut guard = ready!(self.fd.poll_read_ready(cx))?;
            let beside = &mut self.beside;
            match guard.try_io(|fd| receive(fd.get_ref(), buffer, beside)) {
                Ok(Err(e)) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(e)) if e.kind() == io::ErrorKind::ConnectionReset => return Poll::Ready(Ok(Message::End)),
                Ok(result) => return Poll::Ready(result),
                Err(_would_block) => {}
            }
        }
    }
}

#[allow(clippy::ptr_arg, reason = "recvmsg takes a vector")]
fn receive(fd: &OwnedFd, buffer: &mut [u8], beside: &mut Vec<u8>) -> io::Result<Message> {
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
        if !self.keeps_messages() {
            return self.poll_bytes(cx, buffer);
        }
        loop {
            match ready!(self.poll_receive(cx, buffer))? {
                Message::Of(0) | Message::TooLong => {}
                Message::Of(n) => return Poll::Ready(Ok(n)),
                Message::End => return Poll::Ready(Ok(0)),
            }
        }
    }

    fn poll_message(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<Message>> {
        if self.keeps_messages() {
            return self.poll_receive(cx, buffer);
        }
        self.poll_bytes(cx, buffer).map_ok(|n| if n == 0 { Message::End } else { Message::Of(n) })
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::IoSlice;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;
    use std::sync::atomic::Ordering::Relaxed;
    use std::task::{Wake, Waker};

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    use super::*;
    use crate::outlet::{InEnd, Sink};

    fn pair(kind: SockType) -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC).unwrap()
    }

    async fn write(sink: &mut InEnd, bytes: &[u8]) -> io::Result<usize> {
        poll_fn(|cx| sink.poll_write(cx, &[IoSlice::new(bytes)])).await
    }

    async fn next(source: &mut OutEnd, room: usize) -> (Message, Vec<u8>) {
        let mut buffer = vec![0; room];
        let message = poll_fn(|cx| source.poll_message(cx, &mut buffer)).await.unwrap();
        (message, buffer)
    }

    #[tokio::test]
    async fn messages_cross_whole_and_an_empty_one_is_not_the_end() {
        let (ours, theirs) = pair(SockType::SeqPacket);
        let (mut sink, mut source) = (InEnd::new(ours, false).unwrap(), OutEnd::new(theirs).unwrap());
        for message in [&b"one"[..], b"", b"longer than room", b"two"] {
            assert_eq!(write(&mut sink, message).await.unwrap(), message.len());
        }
        drop(sink);
        let mut got = Vec::new();
        for _ in 0..5 {
            got.push(next(&mut source, 8).await.0);
        }
        assert_eq!(got, [Message::Of(3), Message::Of(0), Message::TooLong, Message::Of(3), Message::End]);
    }

    #[tokio::test]
    async fn a_pipe_and_a_stream_give_their_bytes_and_then_the_end() {
        let (read, write_end) = nix::unistd::pipe().unwrap();
        let (theirs, ours) = pair(SockType::Stream);
        for (source, sink) in [(read, write_end), (theirs, ours)] {
            let (mut sink, mut source) = (InEnd::new(sink, false).unwrap(), OutEnd::new(source).unwrap());
            write(&mut sink, b"bytes").await.unwrap();
            assert_eq!(source.waiting(), 5);
            let (message, bytes) = next(&mut source, 5).await;
            assert_eq!((message, &bytes[..]), (Message::Of(5), &b"bytes"[..]));
            drop(sink);
            assert_eq!(next(&mut source, 5).await.0, Message::End);
        }
    }

    #[tokio::test]
    async fn the_sink_sees_its_reader_go_full_or_not() {
        let (read, write_end) = nix::unistd::pipe().unwrap();
        let (theirs, ours) = pair(SockType::Stream);
        for (source, sink) in [(read, write_end), (theirs, ours)] {
            let mut sink = InEnd::new(sink, false).unwrap();
            let full = |cx: &mut Context<'_>| loop {
                if sink.poll_write(cx, &[IoSlice::new(&[0; 4096])]).is_pending() {
                    return Poll::Ready(());
                }
            };
            poll_fn(full).await;
            drop(source);
            poll_fn(|cx| sink.poll_closed(cx)).await;
            assert_eq!(write(&mut sink, b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        }
    }

    #[tokio::test]
    async fn a_reader_that_takes_something_wakes_nobody_until_it_is_waited_for() {
        let (theirs, ours) = pair(SockType::Stream);
        let (mut sink, news) = (InEnd::new(ours, false).unwrap(), Arc::new(News::default()));
        let waker = Waker::from(news.clone());
        assert!(sink.poll_closed(&mut Context::from_waker(&waker)).is_pending());
        for _ in 0..10 {
            write(&mut sink, &[7; 4096]).await.unwrap();
            assert_eq!(nix::unistd::read(&theirs, &mut [0; 8192]).unwrap(), 4096);
            look_at_the_reactor().await;
            assert!(sink.poll_closed(&mut Context::from_waker(&waker)).is_pending());
        }
        assert_eq!(news.0.load(Relaxed), 0);
        drop(theirs);
        poll_fn(|cx| sink.poll_closed(cx)).await;
    }

    /// Has the reactor report all that has happened by now.
    async fn look_at_the_reactor() {
        let (read, write_end) = nix::unistd::pipe().unwrap();
        let (mut source, mut sink) = (OutEnd::new(read).unwrap(), InEnd::new(write_end, false).unwrap());
        let written = async {
            tokio::task::yield_now().await;
            write(&mut sink, b"x").await.unwrap();
        };
        tokio::join!(next(&mut source, 8), written);
    }

    /// Counts.
    #[derive(Default)]
    struct News(AtomicU32);

    impl Wake for News {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[tokio::test]
    async fn what_is_neither_a_pipe_nor_a_socket_is_refused() {
        let file = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        assert_eq!(OutEnd::new(file()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(InEnd::new(file(), false).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
