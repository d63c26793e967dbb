//! Hot path. A time limit that is started without a look at the clock.
//!
//! The clock is read when somebody wants to sleep, which on the hot path is seldom. It wakes nobody.

use std::time::Duration;

use tokio::time::Instant;

/// One time limit.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Timer {
    #[default]
    Off,
    /// Begins when the clock is read next.
    Started(Duration),
    Until(Instant),
}

impl Timer {
    /// Begins anew.
    pub(super) fn start(&mut self, time: Duration) {
        *self = Self::Started(time);
    }

    pub(super) fn stop(&mut self) {
        *self = Self::Off;
    }

    pub(super) fn is_on(&self) -> bool {
        !matches!(self, Self::Off)
    }

    /// When it ends.
    pub(super) fn deadline(&mut self, now: impl Fn() -> Instant) -> Option<Instant> {
        if let Self::Started(time) = *self {
            *self = Self::Until(now() + time);
        }
        match *self {
            Self::Until(deadline) => Some(deadline),
            Self::Off | Self::Started(_) => None,
        }
    }

    /// Whether it has ended.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        matches!(self, Self::Until(deadline) if *deadline <= now)
    }
}
