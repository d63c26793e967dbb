//! Hot path. A COM port that is open: its bytes by overlapped reads and writes, its settings on helper threads.
//!
//! One read is always under way, so that a port that goes is noticed by the error with which that ends. A read ends when it
//! has all that it asked for, so it asks for what is there already, or for one byte to come and then for those behind it.

use std::fs::File;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::pin;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, watch};

use super::overlapped_windows::Operation;
use super::settings::{Settings, end_break, queues, transfer_error};
use super::work;
use crate::usb::TransferError;

/// An open port. The last one to drop it closes it.
pub(super) struct Opened {
    port: Arc<File>,
    /// Behind locks that nobody ever waits for: they are polled from one thread.
    reading: std::sync::Mutex<Reading>,
    writing: std::sync::Mutex<Operation>,
    settings: Arc<Mutex<Settings>>,
    /// Whether a transfer found that the port has gone.
    lost: watch::Sender<bool>,
}

/// The read that is under way, or what it has brought.
struct Reading {
    operation: Operation,
    /// What of its buffer has come and is not taken.
    come: Range<usize>,
    /// Whether `come` is all that was there.
    is_whole: bool,
}

impl Opened {
    /// Begins to read from an open port.
    ///
    /// # Errors
    /// Those of CreateEvent and ReadFile.
    pub(super) fn new(port: Arc<File>, settings: Settings) -> io::Result<Self> {
        let operation = Operation::new(port.clone())?;
        let mut reading = Reading { operation, come: 0..0, is_whole: false };
        reading.begin(&port)?;
        let writing = Operation::new(port.clone())?.into();
        let settings = Arc::new(Mutex::new(settings));
        Ok(Self { port, reading: reading.into(), writing, settings, lost: watch::Sender::new(false) })
    }

    /// Reads what is there, at least one byte, into `buffer`, which must not be empty.
    pub(super) fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, TransferError>> {
        let mut reading = lock(&self.reading);
        let read = ready!(reading.poll_come(cx, &self.port)).map(|()| reading.take(buffer));
        if reading.come.is_empty() && read.is_ok() {
            // An error is met again by the next one who asks.
            let _ = reading.begin(&self.port);
        }
        Poll::Ready(read.map_err(|e| self.failure(&e)))
    }

    /// Takes as much of `bytes`, which must not be empty, as one write has room for, when the one before has ended.
    pub(super) fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, TransferError>> {
        let mut writing = lock(&self.writing);
        let written = ready!(writing.poll_end(cx)).and_then(|_| writing.write(bytes));
        Poll::Ready(written.map_err(|e| self.failure(&e)))
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
            Err(TransferError::Disconnected) => Err(self.lose()),
            result => result,
        }
    }

    /// Resolves when the port has gone.
    pub(super) fn gone(&self) -> impl Future<Output = ()> + '_ {
        let mut lost = self.lost.subscribe();
        async move {
            tokio::select! {
                () = self.read_failed() => {}
                _ = lost.wait_for(|lost| *lost) => {}
            }
        }
    }

    /// Ends a break at once. It may wait for the device, so it is for those who cannot wait in another way.
    pub(super) fn end_break_now(&self) {
        let _ = end_break(&self.port);
    }

    /// Waits until nothing works on the settings and what was written is sent, at most `patience` for each, and says
    /// how many bytes were not.
    pub(super) async fn finish(&self, patience: Duration) -> usize {
        let _ = tokio::time::timeout(patience, self.settings.lock()).await;
        tokio::select! {
            biased;
            () = self.gone() => 0,
            unsent = self.sent(patience) => unsent,
        }
    }

    /// There is no event for an empty buffer that could also be waited for in vain.
    async fn sent(&self, patience: Duration) -> usize {
        let deadline = Instant::now() + patience;
        let mut pause = FIRST_LOOK;
        while self.unsent() > 0 && Instant::now() < deadline {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_LOOK);
        }
        self.unsent()
    }

    /// Bytes that were written and are not sent yet, as far as the driver can tell.
    fn unsent(&self) -> usize {
        queues(&self.port).map_or(0, |queues| queues.cbOutQue as usize)
    }

    /// Resolves when the read that is under way ends by an error.
    async fn read_failed(&self) {
        let ends = lock(&self.reading).operation.ends();
        loop {
            let mut end = pin!(ends.notified());
            end.as_mut().enable();
            if lock(&self.reading).operation.has_failed() {
                return;
            }
            end.await;
        }
    }

    fn failure(&self, error: &io::Error) -> TransferError {
        match transfer_error(error) {
            TransferError::Disconnected => self.lose(),
            other => other,
        }
    }

    fn lose(&self) -> TransferError {
        self.lost.send_replace(true);
        TransferError::Disconnected
    }
}

impl Reading {
    /// Ready when something has come, with all that came together.
    fn poll_come(&mut self, cx: &mut Context<'_>, port: &File) -> Poll<io::Result<()>> {
        while self.come.is_empty() || !self.is_whole {
            if !self.operation.is_under_way() {
                self.begin(port)?;
            }
            let n = ready!(self.operation.poll_end(cx))?;
            self.come.end += n;
            self.is_whole = n > 0 && (self.come.end > 1 || self.waiting(port)? == 0);
        }
        Poll::Ready(Ok(()))
    }

    /// Asks for what is there behind what has come, or for one byte if nothing is.
    fn begin(&mut self, port: &File) -> io::Result<()> {
        if self.come.is_empty() {
            (self.come, self.is_whole) = (0..0, false);
        }
        let waiting = self.waiting(port)?;
        self.operation.read(self.come.end, waiting.max(1))
    }

    fn waiting(&self, port: &File) -> io::Result<usize> {
        Ok(queues(port)?.cbInQue as usize)
    }

    fn take(&mut self, buffer: &mut [u8]) -> usize {
        let n = self.come.len().min(buffer.len());
        buffer[..n].copy_from_slice(&self.operation.buffer()[self.come.start..][..n]);
        self.come.start += n;
        n
    }
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const FIRST_LOOK: Duration = Duration::from_millis(1);
const LONGEST_LOOK: Duration = Duration::from_millis(32);
