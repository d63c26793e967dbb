//! A daemon of a command's own, for one device that no other daemon has, in a directory of its own.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::options::BridgeArgs;
use super::own_place::private_dir;
use super::signals::Signals;
use super::{Failure, appearing};
use crate::config::EndpointDefaults;
use crate::daemon::Daemon;
use crate::selector::Selector;
use crate::session::{Own, PipeStatus, check_endpoints, locate};

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
        let found = locate(&config, &Own::default()).await.map_err(Failure::run_time)?;
        check_endpoints(&config, found.device.descriptors()).map_err(Failure::run_time)?;
        drop(found);
        let dir = private_dir(&format!("usbpipe-alone-{}", std::process::id()));
        let device = config.name.clone();
        let mut signals = Signals::new()?;
        let daemon = Daemon::start(&dir, vec![config], None).await.map_err(Failure::run_time)?;
        let alone = Self { daemon, dir, device };
        let problem = tokio::select! {
            attached = timeout(ATTACH_PATIENCE, alone.attached()) => match attached {
                Ok(()) => return Ok(alone),
                Err(_) => format!("{} was there and has gone; try again when it is back", alone.device),
            },
            () = signals.end() => "ended by a signal".to_owned(),
        };
        alone.end().await;
        Err(Failure::run_time(problem))
    }

    /// The run dir.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The device's name.
    pub(super) fn device(&self) -> &str {
        &self.device
    }

    async fn attached(&self) {
        while self.daemon.status().iter().any(|d| d.state != "attached") {
            sleep(LOOK).await;
        }
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

/// How long a device that was there a moment ago may take to be there again.
const ATTACH_PATIENCE: Duration = Duration::from_secs(10);
/// A device that takes nothing for so long takes nothing any more: `flush` of its pipes.
const FLUSH: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(10);
