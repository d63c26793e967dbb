//! Hot path. A port that is open: its bytes in the reactor, its settings on helper threads.
//!
//! It notices that the port goes, also while nobody reads, and remembers it.

use std::fs::File;
use std::future::Future;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, PoisonError, mpsc};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::errno::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Mutex, watch};

use crate::reactor::Room;
use crate::usb::TransferError;

use super::settings::{Settings, transfer_error};
use super::{ioctl_linux, node, work};

/// An open port. The last one to drop it closes it.
pub(super) struct Opened {
    io: AsyncFd<Arc<File>>,
    room: std::sync::Mutex<Room>,
    settings: Arc<Mutex<Settings>>,
    /// Whether a transfer found that the port has gone.
    lost: watch::Sender<bool>,
    /// The last field, so that it is dropped when the others have closed their descriptors.
    closer: Option<mpsc::Sender<()>>,
}

impl Opened {
    /// Brings an open, locked, raw, non-blocking port into the reactor.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub(super) fn new(port: Arc<File>, settings: Settings) -> std::io::Result<Self> {
        // Nothing but a hang-up makes a port ready for PRIORITY, so that waiting for it wakes nobody in vain.
        let interest = Interest::READABLE | Interest::PRIORITY;
        // SAFETY: the file is shared and never replaced, so its descriptor stays open and the same as long as `io` lives.
        let io = unsafe { AsyncFd::register_with_interest(port, interest) }?;
        Ok(Self {
            io,
            room: std::sync::Mutex::default(),
            settings: Arc::new(Mutex::new(settings)),
            lost: watch::Sender::new(false),
            closer: None,
        })
    }

    /// Reads what is there, at least one byte, into `buffer`, which must not be empty.
    pub(super) fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, TransferError>> {
        loop {
            let Ok(mut ready) = ready!(self.io.poll_read_ready(cx)) else { return Poll::Ready(Err(self.lose())) };
            match ready.try_io(|io| (&**io.get_ref()).read(buffer)) {
                Err(_would_block) => {}
                Ok(Ok(0)) => return Poll::Ready(Err(self.lose())),
                Ok(Ok(n)) => {
                    // The kernel gives all that it has, and tells anew of what comes later.
                    if n < buffer.len().min(MOST_AT_ONCE) {
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(n));
                }
                Ok(Err(e)) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(Err(e)) => return Poll::Ready(Err(self.failure(&e))),
            }
        }
    }

    /// Writes as much of `bytes`, which must not be empty, as the driver takes, at least one byte.
    pub(super) fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, TransferError>> {
        let port = self.io.get_ref();
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        room.poll_write(cx, port.as_fd(), bytes.len(), || (&**port).write(bytes)).map_err(|e| self.failure(&e))
    }

    /// Carries out `work` on the settings, one at a time and on a helper thread, because it may wait for the device.
    ///
    /// # Errors
    /// Those of `work`; [`TransferError::Timeout`] when it takes longer, in which case it may still be done later.
    pub(super) async fn on_settings<T: Send + 'static>(
        &self,
        timeout: Duration,
        work: impl FnOnce(&mut Settings) -> Result<T, TransferError> + Send + 'static,
    ) -> Result<T, TransferError> {
        match work::on_settings(self.settings.clone(), timeout, work).await {
            Err(TransferError::Io(HANG_UP) | TransferError::Disconnected) if self.is_hung_up().await => {
                Err(self.lose())
            }
            result => result,
        }
    }

    /// Resolves when the port has gone.
    pub(super) fn gone(&self) -> impl Future<Output = ()> + '_ {
        let mut lost = self.lost.subscribe();
        async move {
            tokio::select! {
                () = self.hung_up() => {}
                _ = lost.wait_for(|lost| *lost) => {}
            }
        }
    }

    /// Ends a break at once. It may wait for the device, so it is for those who cannot wait in another way.
    pub(super) fn end_break_now(&self) {
        let _ = ioctl_linux::end_break(self.io.get_ref());
    }

    /// Waits until nothing works on the settings and what was written is sent, at most `patience` for each, and says
    /// how many bytes were not.
    pub(super) async fn finish(&self, patience: Duration) -> usize {
        let _ = tokio::time::timeout(patience, self.settings.lock()).await;
        tokio::select! {
            biased;
            () = self.gone() => 0,
            unsent = node::finish(self.io.get_ref(), patience) => unsent,
        }
    }

    async fn hung_up(&self) {
        loop {
            match self.io.ready(Interest::PRIORITY).await {
                Ok(ready) if ready.ready().is_read_closed() => return,
                Ok(mut ready) => ready.clear_ready(),
                // The reactor ends, and everything with it.
                Err(_) => return,
            }
        }
    }

    /// Whether it is known by now.
    async fn is_hung_up(&self) -> bool {
        tokio::time::timeout(Duration::ZERO, self.gone()).await.is_ok()
    }

    fn failure(&self, error: &std::io::Error) -> TransferError {
        match error.raw_os_error() {
            None | Some(HANG_UP) => self.lose(),
            Some(errno) => match transfer_error(Errno::from_raw(errno)) {
                TransferError::Disconnected => self.lose(),
                other => other,
            },
        }
    }

    fn lose(&self) -> TransferError {
        self.lost.send_replace(true);
        TransferError::Disconnected
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.closer = node::close_without_waiting(self.io.get_ref());
    }
}

/// Bytes of one read, at most: the kernel's buffer of a terminal holds one more.
const MOST_AT_ONCE: usize = 4095;
/// EIO: what a terminal answers once it was hung up.
const HANG_UP: i32 = Errno::EIO as i32;
