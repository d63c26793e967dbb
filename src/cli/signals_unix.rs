//! The signals that end a daemon or have it read its configuration again. What follows from them is others' business.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Failure, Outcome};

/// The signals that a daemon knows.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What a signal means.
pub(super) enum Received {
    /// SIGTERM or SIGINT.
    End,
    /// SIGHUP.
    Reload,
}

impl Signals {
    pub(super) fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|e| Failure::run_time(format!("cannot listen for signals: {e}")));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    pub(super) async fn next(&mut self) -> Received {
        tokio::select! {
            _ = self.terminate.recv() => Received::End,
            _ = self.interrupt.recv() => Received::End,
            _ = self.hangup.recv() => Received::Reload,
        }
    }

    /// Waits until this process shall end.
    pub(super) async fn end(&mut self) {
        while !matches!(self.next().await, Received::End) {}
    }

    /// Waits for the end in order; a second signal ends at once.
    pub(super) async fn or_at_once(mut self, end: impl Future<Output = ()>) -> Outcome {
        tokio::select! {
            () = end => Ok(0),
            () = self.end() => Err(Failure::run_time("ended at once by a second signal; outlets may be left behind")),
        }
    }
}
