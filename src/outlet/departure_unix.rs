//! Notices that the program at the other end of a socket has gone, while nothing is read from it or written to it. It takes
//! no byte from it.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Watches one connection.
#[derive(Debug)]
pub struct Departure(Option<AsyncFd<OwnedFd>>);

impl Departure {
    /// Of whoever is at the other end of this socket.
    ///
    /// # Errors
    /// Those of dup(2) and epoll_ctl(2).
    pub fn of(socket: BorrowedFd<'_>) -> io::Result<Self> {
        // With this interest alone nothing is reported but the end of both directions.
        // SAFETY: an `OwnedFd` owns its descriptor, and gives the same number for as long as it lives.
        let fd = unsafe { AsyncFd::register_with_interest(socket.try_clone_to_owned()?, Interest::PRIORITY) }?;
        Ok(Self(Some(fd)))
    }

    /// Of nobody in particular, who never goes.
    pub fn never() -> Self {
        Self(None)
    }

    /// Resolves when it has gone. A program that has shut down its own direction only still waits for answers. Cancel safe.
    pub async fn gone(&self) {
        let Some(fd) = &self.0 else { return std::future::pending().await };
        while let Ok(mut ready) = fd.writable().await {
            if ready.ready().is_write_closed() {
                return;
            }
            ready.clear_ready();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn only_a_program_that_has_closed_its_socket_has_gone() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let departure = Departure::of(ours.as_fd()).unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        theirs.set_nonblocking(true).unwrap();
        tokio::task::yield_now().await;
        assert!(departure.gone().now_or_never().is_none());
        drop(theirs);
        departure.gone().await;
    }
}
