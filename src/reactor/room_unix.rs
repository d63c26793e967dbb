//! Hot path. Room to write in a descriptor: asked of the reactor only where there was none of late.
//!
//! A terminal tells of room whenever its reader has taken something, so that who is registered for it sleeps worse than
//! who writes and sees. It refuses to buffer: what does not fit stays with the caller.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

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
            let mut report = ready!(self.poll_report(cx, fd))?;
            let result = write();
            let is_full = match &result {
                Ok(written) => *written < offered,
                Err(e) => e.kind() == io::ErrorKind::WouldBlock,
            };
            // Room that was reported before this write is what it took. A report that came meanwhile stays.
            if let Some(report) = report.as_mut().filter(|_| is_full) {
                report.clear_ready();
            }
            self.is_full = is_full;
            match result {
                Err(e) if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
                result => {
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

    /// The reactor's report of room, awaited where the last write left none; `None` where there is no report.
    fn poll_report(&mut self, cx: &mut Context<'_>, fd: BorrowedFd<'_>) -> Poll<io::Result<Option<Report<'_>>>> {
        if !self.is_full {
            let seen = self.registered.as_ref().map(|it| it.poll_write_ready(&mut Context::from_waker(Waker::noop())));
            return Poll::Ready(match seen {
                Some(Poll::Ready(report)) => report.map(Some),
                Some(Poll::Pending) | None => Ok(None),
            });
        }
        self.in_a_row = 0;
        let registered = match &mut self.registered {
            Some(registered) => registered,
            none => none.insert(register(fd)?),
        };
        let report = ready!(registered.poll_write_ready(cx))?;
        if report.ready().is_write_closed() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Poll::Ready(Ok(Some(report)))
    }
}

/// What the reactor last reported of a descriptor.
type Report<'a> = AsyncFdReadyGuard<'a, OwnedFd>;

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

    use nix::fcntl::{FcntlArg, OFlag, fcntl};

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
    async fn after_a_part_nothing_is_written_on_a_report_of_room_from_before() {
        let (read, write_end) = nix::unistd::pipe2(OFlag::O_NONBLOCK).unwrap();
        let capacity = fcntl(&write_end, FcntlArg::F_GETPIPE_SZ).unwrap() as usize;
        let mut room = Room::default();
        // What is offered beyond the capacity has the room registered with the reactor.
        assert_eq!(write(&mut room, &write_end, &vec![0; capacity + 1]).await.unwrap(), capacity);
        assert_eq!(nix::unistd::read(&read, &mut vec![0; capacity]).unwrap(), capacity);
        assert_eq!(write(&mut room, &write_end, &[0; 4096]).await.unwrap(), 4096);
        assert_eq!(nix::unistd::read(&read, &mut [0; 4096]).unwrap(), 4096);
        // The reactor runs often enough to see the room that this read made.
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(write(&mut room, &write_end, &vec![0; capacity + 1]).await.unwrap(), capacity);
        let mut calls = 0;
        let more = poll_fn(|cx| {
            room.poll_write(cx, write_end.as_fd(), 1, || {
                calls += 1;
                nix::unistd::write(&write_end, b"x").map_err(io::Error::from)
            })
        });
        let (more, _) = tokio::join!(more, async { nix::unistd::read(&read, &mut [0; 4096]).unwrap() });
        assert_eq!((more.unwrap(), calls), (1, 1));
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
