//! The signals that end a daemon or have it read its configuration again. What follows from them is others' business.

use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;

/// The signals that a daemon knows.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    repeats: Repeats,
}

/// The last signal that counted. Some programs send one both to a process and to its group, as timeout(1) does.
#[derive(Debug, Default)]
struct Repeats(Option<(SignalKind, Instant)>);

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
            repeats: Repeats::default(),
        })
    }

    pub(super) async fn next(&mut self) -> Received {
        loop {
            let kind = tokio::select! {
                _ = self.terminate.recv() => SignalKind::terminate(),
                _ = self.interrupt.recv() => SignalKind::interrupt(),
                // What the configuration says may have changed since the last one, however short that was ago.
                _ = self.hangup.recv() => return Received::Reload,
            };
            if self.repeats.counts(kind, Instant::now()) {
                return Received::End;
            }
        }
    }

    /// Waits until this process shall end.
    pub(super) async fn end(&mut self) {
        while !matches!(self.next().await, Received::End) {}
    }
}

impl Repeats {
    /// Whether a signal is one of its own: the same one within a moment is not.
    fn counts(&mut self, kind: SignalKind, now: Instant) -> bool {
        let is_same = self.0.is_some_and(|(last, then)| last == kind && now.duration_since(then) < ONE_SIGNAL);
        if !is_same {
            self.0 = Some((kind, now));
        }
        !is_same
    }
}

/// No person sends two signals within this time.
const ONE_SIGNAL: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_signal_within_a_moment_counts_once_and_another_one_always() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        let mut counts = |kind, ms| repeats.counts(kind, start + Duration::from_millis(ms));
        assert!(counts(SignalKind::terminate(), 0));
        assert!(!counts(SignalKind::terminate(), 0));
        assert!(!counts(SignalKind::terminate(), 199));
        assert!(counts(SignalKind::terminate(), 200), "since the one that counted");
        assert!(counts(SignalKind::interrupt(), 201));
        assert!(counts(SignalKind::terminate(), 202));
        assert!(!counts(SignalKind::terminate(), 203));
    }
}
