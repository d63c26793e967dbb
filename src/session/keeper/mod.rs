//! One device's keeper: see the drawing in [`crate::session`].

mod handle;
mod lend;
mod lines;
mod outlets;
mod session;
#[cfg(unix)]
#[path = "stand_unix.rs"]
mod stand;
#[cfg(windows)]
#[path = "stand_windows.rs"]
mod stand;
mod supervisor;

use std::future::pending;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use self::outlets::Outlets;
use self::supervisor::Supervisor;
use super::Events;
use super::arrivals::Arrivals;
use super::backoff::Backoff;
use super::follow::Follow;
use super::journal::Journal;
use super::line::{Stop, stopped};
use super::locate::{Found, Own};
use super::port_watch::PortWatch;
use super::shared::Shared;
use super::tasks::{TaskState, Tasks};
use crate::config::DeviceConfig;
use crate::outlet::{Dir, DirError, Watcher};
use crate::usb::OpenError;

pub use self::handle::Handle;

/// What all keepers of a daemon share.
#[derive(Clone)]
pub struct Surroundings {
    /// The run dir.
    pub dir: Arc<Dir>,
    /// Tells of opened and closed FIFOs.
    pub watcher: Watcher,
    /// Where events are told.
    pub events: Events,
    /// This machine's own devices.
    pub own: Own,
    /// Kernel drivers that were sent away, for the next daemon if this one is killed.
    pub journal: Arc<Journal>,
    /// What the daemon's tasks do.
    pub tasks: Tasks,
}

/// Keeps one device: its outlets and its sessions.
pub struct Keeper {
    config: Arc<DeviceConfig>,
    /// The newest configuration, which differs in settings of the serial line only.
    configs: watch::Receiver<Arc<DeviceConfig>>,
    surroundings: Surroundings,
    shared: Arc<Shared>,
    stop: Stop,
    outlets: Outlets,
    state: Arc<TaskState>,
    /// Watches the kernel's port of the device, while it is open or another program has it.
    port_watch: Option<PortWatch>,
    /// The board of the last session.
    follow: Follow,
    /// The remarks about the descriptors of the last session.
    remarks: Vec<String>,
}

impl Keeper {
    /// Makes the directory and the outlets that are known already, and starts to look for the device. The first session is
    /// that of the device that was `found` already.
    ///
    /// # Errors
    /// [`DirError`] when anything cannot be made. Where descriptors have run out, the device waits for some.
    pub fn start(config: DeviceConfig, found: Option<Found>, surroundings: Surroundings) -> Result<Handle, DirError> {
        let (stop, stopping) = watch::channel(false);
        let shared = Arc::new(Shared::new(&config.name, config.timeout, surroundings.events.clone()));
        let (config, configs) = watch::channel(Arc::new(config));
        let own = surroundings.own.clone();
        let mut supervisor = Supervisor { configs, surroundings, shared: shared.clone(), stop: stopping };
        let outlets = supervisor.make()?;
        let task = tokio::spawn(supervisor.run(outlets, found));
        Ok(Handle { config, shared, own, stop, task })
    }

    fn new(
        configs: &watch::Receiver<Arc<DeviceConfig>>,
        surroundings: &Surroundings,
        shared: &Arc<Shared>,
        stop: &Stop,
        outlets: Outlets,
        state: Arc<TaskState>,
    ) -> Self {
        Self {
            config: outlets.config.clone(),
            configs: configs.clone(),
            surroundings: surroundings.clone(),
            shared: shared.clone(),
            stop: stop.clone(),
            outlets,
            state,
            port_watch: None,
            follow: Follow::default(),
            remarks: Vec::new(),
        }
    }

    async fn run(mut self, mut first: Option<Found>) {
        let mut backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
        while !*self.stop.borrow() {
            if self.shared.loan.borrower().is_some() {
                self.state.set("released", "whoever has the device to give it back");
            }
            self.wait_for_return().await;
            self.state.set("searching", "the device to be found and opened");
            self.config = self.configs.borrow_and_update().clone();
            let wanted = self.with_wanted_settings().await;
            let mut arrivals = Arrivals::new(&self.config, &self.surroundings.own);
            let (started, moved) = (Instant::now(), self.shared.transfers());
            let found = match first.take() {
                Some(found) => Ok(found),
                None => tokio::select! {
                    found = self.follow.locate(&wanted, &self.surroundings.own) => found,
                    () = self.shared.loan.is_wanted() => continue,
                    () = stopped(&mut self.stop) => break,
                },
            };
            self.watch_port(&found);
            let ended = match found {
                Ok(found) => self.session(found).await,
                Err(error) => Err(error),
            };
            // A server that breaks every session at once is not to be asked without a pause.
            if ended.is_ok() && (started.elapsed() > SETTLED || self.shared.transfers() > moved) {
                backoff.reset();
            }
            let is_held = matches!(ended, Err(OpenError::Held(..)));
            if let Err(error) = &ended {
                self.explain(error);
            }
            self.state.set("searching", "news of the device, or the next try");
            tokio::select! {
                () = arrivals.wait(ended.err(), &mut backoff) => {}
                () = free(&mut self.port_watch, is_held) => {}
                () = self.shared.loan.is_wanted() => {}
                () = stopped(&mut self.stop) => {}
            }
        }
        self.finish().await;
    }

    /// The configuration with the settings that the serial line is to have now, whoever asked for them.
    async fn with_wanted_settings(&self) -> DeviceConfig {
        let mut config = DeviceConfig::clone(&self.config);
        if let (Some(line), Some(serial)) = (&mut config.serial, self.shared.serial()) {
            (line.baud, line.mode, line.flow) = serial.first_settings().await;
        }
        config
    }

    /// Watches the kernel's port of the device that was found, or the one that another program has.
    fn watch_port(&mut self, found: &Result<Found, OpenError>) {
        let (watcher, last) = (&self.surroundings.watcher, self.port_watch.take());
        self.port_watch = match (found, last) {
            (Err(OpenError::Held(..)), Some(last)) => last.renewed(watcher).ok(),
            (Err(OpenError::Held(_, path)), None) => PortWatch::new(watcher, path).ok(),
            (Ok(found), last) if found.backend == SERIAL => {
                // First, because the kernel has one watch for a node.
                drop(last);
                PortWatch::new(watcher, Path::new(&found.place)).ok()
            }
            _ => None,
        };
    }

    /// Says why there is no device, if that is news.
    fn explain(&self, error: &OpenError) {
        let reason = error.to_string();
        let is_held = matches!(error, OpenError::Held(..));
        let is_news = self.shared.detached(reason.clone());
        if self.shared.set_held(is_held) && is_held {
            let text = "programs that have outlets open wait until it is closed";
            self.shared.tell("pause", format!("waiting for the device: {reason}; {text}"));
        } else if is_news && !is_held {
            self.shared.tell("warning", format!("waiting for the device: {reason}"));
        }
    }

    /// Waits for the lines, which flush, and removes what was made.
    async fn finish(mut self) {
        self.state.set("ending", "its outlets to be flushed");
        self.outlets.flushed().await;
        self.state.set("ending", "requests and captures to end");
        self.outlets.close().await;
        // Clients of the sockets may stay connected; what they share no longer holds the device.
        self.shared.detached("the daemon no longer bridges it".to_owned());
        for serial in self.shared.serials() {
            serial.detach().await;
        }
        self.shared.loan.set_free();
        self.shared.tap.close(CAPTURE_PATIENCE).await;
        self.outlets.remove();
    }
}

/// Resolves when a port that is held may be free. Where the kernel grants no watch, time tells.
async fn free(port_watch: &mut Option<PortWatch>, is_held: bool) {
    match port_watch {
        Some(port_watch) if is_held => port_watch.is_free().await,
        None if is_held => tokio::time::sleep(LONGEST_RETRY).await,
        _ => pending().await,
    }
}

/// The backend of the kernel's ports.
const SERIAL: &str = "serial";
/// A session of this length was one, even if nothing moved.
const SETTLED: Duration = Duration::from_secs(1);
/// How long the end waits for somebody who does not read a capture.
const CAPTURE_PATIENCE: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_millis(20);
const LONGEST_RETRY: Duration = Duration::from_secs(1);
