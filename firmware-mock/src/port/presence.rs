//! Whether the device is there, and when it comes back.
//!
//! One job: plugging and unplugging. It refuses to close connections: they see that the generation has changed.

use std::time::{Duration, Instant};

use super::Port;
use crate::function::Cause;

/// Where the device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Present,
    /// Power comes back then.
    Away {
        until: Instant,
        cause: Cause,
    },
}

/// Why a port cannot be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absence {
    /// No device is there.
    Unplugged,
    /// The link is cut.
    Cut,
}

impl Port {
    /// Counts the times a connection had to end; one that sees another number than at its start must let go.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Lets time pass: devices leave and come back.
    pub(crate) fn advance(&mut self, now: Instant) {
        loop {
            match self.presence {
                Presence::Present => {
                    self.device.function.run(now);
                    let Some(at) = self.device.function.left_bus() else { return };
                    self.leave(at + REATTACH, Cause::Detach);
                }
                Presence::Away { until, cause } if until <= now => {
                    self.device.function.power_up(until, cause);
                    self.device.enumerate(until);
                    self.presence = Presence::Present;
                }
                Presence::Away { .. } => return,
            }
        }
    }

    /// Whether the device is there.
    pub(crate) fn present(&self) -> bool {
        self.presence == Presence::Present
    }

    /// What stands against an import now.
    pub(crate) fn absence(&self, now: Instant) -> Option<Absence> {
        if !self.present() {
            return Some(Absence::Unplugged);
        }
        self.barred_until.filter(|&until| now < until).map(|_| Absence::Cut)
    }

    /// The device goes: its transfers with it.
    pub(super) fn leave(&mut self, until: Instant, cause: Cause) {
        self.presence = Presence::Away { until, cause };
        self.generation += 1;
        for queue in &mut self.queues {
            queue.drop_transfers(true);
        }
        (self.pending, self.waiting, self.waiting_bytes) = (0, 0, 0);
    }

    /// The link goes, the device stays.
    pub(super) fn cut(&mut self, until: Instant) {
        self.barred_until = Some(until);
        self.generation += 1;
    }
}

/// How long a device that re-enumerates is off the bus.
const REATTACH: Duration = Duration::from_millis(100);
