//! Hot path. Room to write in a descriptor: asked of the reactor only where there was none of late.
//!
//! A terminal tells of room whenever its reader has taken something, so that who is registered for it sleeps worse than
//! who writes and sees. It refuses to buffer: what does not fit stays with the caller.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits for room in one descriptor.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// A copy of the descriptor, in the reactor for nothing else.
    registered: Option<AsyncFd<OwnedFd>>,
    /// Whether the last write took all the room there was.
    is_full: bool,
    /// How many writes have found room since one did not.
    in_a_row: u32,
}

impl Room {
    /// Lets `write` write `offered` bytes to the non-blocking `fd`, or as many as there is room for.
    ///
    /// # Errors
    /// Those of `write` and of epoll_ctl(2); `BrokenPipe` when there will be no more room.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        fd: BorrowedFd<'_>,
        offered: usize,
        mut write: impl FnMut() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if std::mem::take(&mut self.is_full) {
                ready!(self.poll_news(cx, fd))?;
            }
            match write() {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.is_full = true,
                result => {
                    self.is_full = result.as_ref().is_ok_and(|&written| written < offered);
                    self.found();
                    return Poll::Ready(result);
                }
            }
        }
    }

    fn found(&mut self) {
        self.in_a_row = self.in_a_row.saturating_add(1);
        if self.in_a_row == LONG {
            self.registered = None;
        }
    }

    fn poll_news(&mut self, cx: &mut Context<'_>, fd: BorrowedFd<'_>) -> Poll<io::Result<()>> {
        self.in_a_row = 0;
        let registered = match &mut self.registered {
            Some(registered) => registered,
            none => none.insert(register(fd)?),
        };
        let mut ready = ready!(registered.poll_write_ready(cx))?;
        if ready.ready().is_write_closed() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready.clear_ready();
        Poll::Ready(Ok(()))
    }
}

fn register(fd: BorrowedFd<'_>) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` owns its descriptor, and gives the same number for as long as it lives.
    unsafe { AsyncFd::register_with_interest(fd.try_clone_to_owned()?, Interest::WRITABLE) }.map_err(io::Error::from)
}

/// So many writes in a row that find room mean that the next one will, too.
const LONG: u32 = 64;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::os::fd::AsFd;

    use nix::fcntl::OFlag;

    use super::*;

    async fn write(room: &mut Room, fd: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
        let mut write = || nix::unistd::write(fd, bytes).map_err(io::Error::from);
        poll_fn(|cx| room.poll_write(cx, fd.as_fd(), bytes.len(), &mut write)).await
    }

    #[tokio::test]
    async fn who_finds_no_room_waits_for_it_and_forgets_the_reactor_after_a_while() {
        let (read, write_end) = nix::unistd::pipe2(OFlag::O_NONBLOCK).unwrap();
        let mut room = Room::default();
        let mut sent = 0;
        let filled = async {
            loop {
                sent += write(&mut room, &write_end, &[0; 4096]).await.unwrap();
            }
        };
        tokio::select! {
            biased;
            () = filled => {}
            () = tokio::task::yield_now() => {}
        }
        assert!(room.registered.is_some() && sent >= 4096);
        let mut buffer = vec![0; sent];
        let (written, read_back) = tokio::join!(write(&mut room, &write_end, b"more"), async {
            nix::unistd::read(&read, &mut buffer).unwrap()
        });
        assert_eq!((written.unwrap(), read_back), (4, sent));
        for _ in 1..LONG {
            assert!(room.registered.is_some());
            write(&mut room, &write_end, b"x").await.unwrap();
        }
        assert!(room.registered.is_none());
    }

    #[tokio::test]
    async fn who_waits_for_room_where_there_will_be_none_is_told() {
        let nix::pty::OpenptyResult { master, slave } = nix::pty::openpty(None, None).unwrap();
        drop(slave);
        let mut room = Room::default();
        let mut full = || Err(io::ErrorKind::WouldBlock.into());
        let error = poll_fn(|cx| room.poll_write(cx, master.as_fd(), 1, &mut full)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
