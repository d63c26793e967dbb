//! Starts a device's keeper, and starts it over when it ends by an error of the program, or when the system had no
//! descriptors for its outlets. Whatever happens to it happens to this device alone.
//!
//! ```text
//!   outlets made ──► keeper ──── the daemon stops ────► removed
//!        ▲             └── a task of it has panicked ──┐
//!        └──────────────── after a pause ◄─────────────┘
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

use super::outlets::Outlets;
use super::{Keeper, Surroundings};
use crate::config::DeviceConfig;
use crate::outlet::DirError;
use crate::session::backoff::Backoff;
use crate::session::line::{Stop, stopped};
use crate::session::locate::Found;
use crate::session::shared::Shared;
use crate::session::tasks::TaskState;
use crate::usb::caught;

/// Looks after the keeper of one device.
pub(super) struct Supervisor {
    pub(super) configs: watch::Receiver<Arc<DeviceConfig>>,
    pub(super) surroundings: Surroundings,
    pub(super) shared: Arc<Shared>,
    pub(super) stop: Stop,
}

impl Supervisor {
    /// Makes the outlets; `None`, with the reason in the device's status, when that may work later.
    ///
    /// # Errors
    /// [`DirError`] when they cannot be made as things are.
    pub(super) fn make(&mut self) -> Result<Option<Outlets>, DirError> {
        let (config, surroundings) = (self.configs.borrow_and_update().clone(), self.surroundings.clone());
        match Outlets::make(config, surroundings, self.shared.clone(), self.stop.clone()) {
            Ok(outlets) => {
                self.shared.set_supervisor_problem(None);
                Ok(Some(outlets))
            }
            Err(e) if e.is_exhausted() => {
                self.shared.start_over();
                let text = format!("its outlets wait for descriptors: {e}; {MORE}");
                self.shared.set_supervisor_problem(Some(text));
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// Runs keepers until the daemon stops. The first session is that of the device that was `found` already.
    pub(super) async fn run(mut self, mut outlets: Option<Outlets>, mut found: Option<Found>) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let state = self.surroundings.tasks.add(Some(&self.shared.name), "device", "starting", "its outlets");
        let state = Arc::new(state);
        loop {
            if let Some(outlets) = outlets.take() {
                let started = Instant::now();
                let Err(error) = self.keep(outlets, found.take(), &state).await else { return };
                if started.elapsed() > SETTLED {
                    backoff.reset();
                }
                self.failed(&error);
            }
            state.set("starting over", "a pause after a failure");
            tokio::select! {
                () = tokio::time::sleep(backoff.step()) => {}
                () = stopped(&mut self.stop) => break,
            }
            outlets = match self.make() {
                Ok(outlets) => outlets,
                Err(e) => {
                    self.shared.set_supervisor_problem(Some(format!("its outlets cannot be made: {e}")));
                    None
                }
            };
        }
        self.remove();
    }

    /// One keeper, to its end.
    ///
    /// # Errors
    /// What it or a task of it panicked with.
    async fn keep(&self, mut outlets: Outlets, found: Option<Found>, state: &Arc<TaskState>) -> Result<(), String> {
        let mut failures = outlets.failures();
        let keeper = Keeper::new(&self.configs, &self.surroundings, &self.shared, &self.stop, outlets, state.clone());
        tokio::select! {
            ended = caught(keeper.run(found)) => ended,
            error = next(&mut failures) => Err(error),
        }
    }

    fn failed(&self, error: &str) {
        let text = format!("{error}; the device starts over, please report it");
        self.shared.start_over();
        self.shared.detached(text.clone());
        self.shared.tell("error", text.clone());
        self.shared.set_supervisor_problem(Some(text));
    }

    /// What a keeper leaves behind that did not come to its own end.
    fn remove(&self) {
        let dir = &self.surroundings.dir;
        if let Ok(left) = dir.subdir(&self.shared.name, &crate::outlet::Access::default()) {
            left.clear();
        }
        dir.remove_subdir(&self.shared.name);
    }
}

/// The next failure; there may be none ever.
async fn next(failures: &mut UnboundedReceiver<String>) -> String {
    match failures.recv().await {
        Some(error) => error,
        None => std::future::pending().await,
    }
}

/// The pauses before a keeper is started over.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A keeper that ran for so long had no trouble with its start.
const SETTLED: Duration = Duration::from_secs(60);
/// What to do about too few descriptors.
const MORE: &str = "raise the limit (`ulimit -Hn`, LimitNOFILE= of systemd), or bridge fewer devices";
