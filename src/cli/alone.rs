//! A daemon of a command's own, for one device that no other daemon has, in a directory of its own.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::options::BridgeArgs;
use super::signals::Signals;
use super::{Failure, appearing};
use crate::config::{DeviceConfig, EndpointDefaults};
use crate::daemon::Daemon;
use crate::selector::Selector;
use crate::session::{PipeStatus, check_endpoints, locate};

/// A daemon with one device, which is attached.
pub(super) struct Alone {
    daemon: Daemon,
    dir: PathBuf,
    device: String,
}

impl Alone {
    /// Takes the device: everything it has by USB, or with `serial_only` its serial line, which of a device of this
    /// machine is the system's port.
    ///
    /// # Errors
    /// The device is not there, cannot be taken, or lacks what the options ask for.
    pub(super) async fn start(selector: &Selector, options: &BridgeArgs, serial_only: bool) -> Result<Self, Failure> {
        let mut config = appearing::device_of(selector, options);
        if serial_only && config.remote.is_none() && config.serial.is_none() {
            config.serial = Some(options.serial_line(&config));
            config.endpoints = EndpointDefaults::default();
        }
        let device = config.name.clone();
        let mut signals = Signals::new()?;
        let daemon = Daemon::start_private("usbpipe-alone").await.map_err(Failure::run_time)?;
        let mut alone = Self { dir: daemon.dir(), daemon, device };
        let problem = tokio::select! {
            taken = alone.take(config) => match taken {
                Ok(()) => return Ok(alone),
                Err(problem) => problem,
            },
            () = signals.end() => Failure::run_time("ended by a signal"),
        };
        alone.end().await;
        Err(problem)
    }

    /// Opens the device, once, and waits until it is bridged.
    async fn take(&mut self, config: DeviceConfig) -> Result<(), Failure> {
        let found = locate(&config, self.daemon.own()).await.map_err(Failure::run_time)?;
        if let Err(problem) = check_endpoints(&config, found.device.descriptors()) {
            found.device.give_back().await;
            return Err(Failure::run_time(problem));
        }
        self.daemon.start_found(config, Some(found)).map_err(Failure::run_time)?;
        match timeout(ATTACH_PATIENCE, self.attached()).await {
            Ok(attached) => attached.map_err(Failure::run_time),
            Err(_) => Err(Failure::run_time(format!("{} does not answer; plug it in again", self.device))),
        }
    }

    /// The run dir.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The device's name.
    pub(super) fn device(&self) -> &str {
        &self.device
    }

    /// Resolves when the device is bridged, or with the reason why it is not. Nothing is waited for that may take long, such
    /// as the end of another program.
    async fn attached(&self) -> Result<(), String> {
        loop {
            let Some(status) = self.daemon.status().pop() else { return Ok(()) };
            match status.reason {
                _ if status.state == "attached" => return Ok(()),
                Some(reason) => return Err(reason),
                None => sleep(LOOK).await,
            }
        }
    }

    /// Why this outlet cannot be used, such as a driver that has its interface.
    pub(super) fn problem(&self, outlet: &str) -> Option<String> {
        let pipes = self.daemon.status().pop()?.pipes;
        pipes.into_iter().find(|pipe| pipe.outlet == outlet)?.problem
    }

    /// Waits until what programs wrote has reached the device, for as long as it goes on taking bytes, or until a signal.
    pub(super) async fn flushed(&self) {
        let Ok(mut signals) = Signals::new() else { return };
        tokio::select! {
            () = self.drained() => {}
            () = signals.end() => {}
        }
    }

    async fn drained(&self) {
        let (mut moved, mut since) = (0, Instant::now());
        loop {
            let devices = self.daemon.status();
            let pipes = || devices.iter().flat_map(|d| &d.pipes).filter(|pipe| pipe.direction == "out");
            let now: u64 = pipes().map(|pipe| pipe.counters.bytes).sum();
            if std::mem::replace(&mut moved, now) != now {
                since = Instant::now();
            }
            if !pipes().any(is_in_use) || since.elapsed() > FLUSH {
                return;
            }
            sleep(LOOK).await;
        }
    }

    /// Ends in order: flushes, and leaves nothing behind.
    pub(super) async fn end(self) {
        self.daemon.end().await;
    }
}

fn is_in_use(pipe: &PipeStatus) -> bool {
    pipe.counters.open || !pipe.clients.is_empty()
}

/// How long a device that was opened may take until it is bridged.
const ATTACH_PATIENCE: Duration = Duration::from_secs(10);
/// A device that takes nothing for so long takes nothing any more: `flush` of its pipes.
const FLUSH: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(10);
