//! Programs for which there is no place: each is told of as an event, of many in a short time once in a while.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::shared::Shared;
use crate::outlet::Peer;

/// Those of one outlet.
pub(super) struct Refusals {
    shared: Arc<Shared>,
    outlet: String,
    untold: u64,
    told: Option<Instant>,
}

impl Refusals {
    /// Of an outlet by the name that users know it by.
    pub(super) fn new(shared: &Arc<Shared>, outlet: impl Into<String>) -> Self {
        Self { shared: shared.clone(), outlet: outlet.into(), untold: 0, told: None }
    }

    /// One more.
    pub(super) fn tell(&mut self, peer: &Peer, why: &str) {
        if self.told.is_some_and(|then| then.elapsed() < QUIET) {
            self.untold += 1;
            return;
        }
        self.told = Some(Instant::now());
        let others = match std::mem::take(&mut self.untold) {
            0 => String::new(),
            n => format!("; and {n} others before it"),
        };
        let text = format!("{peer} was refused: {why}{others}");
        self.shared.events.tell("refuse", &self.shared.name, Some(&self.outlet), text);
    }
}

/// What to tell a program that is one too many.
pub(super) fn too_many() -> String {
    format!("{MOST_CLIENTS} programs are connected to it, and there can be no more")
}

/// Programs at one outlet, besides those at its FIFO. Memory is bounded, and so are descriptors.
pub(super) const MOST_CLIENTS: usize = 128;
const QUIET: Duration = Duration::from_secs(1);
