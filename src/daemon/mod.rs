//! The daemon: one run dir, the devices in it, and the socket where commands talk to it.
//!
//! It starts and ends keepers; what happens to a device is theirs.

mod admin;
mod capture;
mod client;
#[cfg(unix)]
#[path = "link_unix.rs"]
mod link;
#[cfg(windows)]
#[path = "link_windows.rs"]
mod link;
#[cfg(unix)]
#[path = "passed_unix.rs"]
mod passed;
#[cfg(windows)]
#[path = "passed_windows.rs"]
mod passed;
#[cfg(unix)]
#[path = "passing_unix.rs"]
mod passing;
#[cfg(windows)]
#[path = "passing_windows.rs"]
mod passing;
#[cfg(unix)]
#[path = "place_unix.rs"]
mod place;
#[cfg(windows)]
#[path = "place_windows.rs"]
mod place;
mod protocol;
mod run_dir;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

pub use client::{Client, ClientError};
pub use passed::{Passed, passed_socket};
pub use place::default_run_dir;
pub use protocol::{Reply, Request};

#[cfg(windows)]
pub use crate::outlet::Security;

use crate::config::DeviceConfig;
use crate::outlet::{self, DirError, Watcher};
use crate::session::{DeviceStatus, Events, Found, Handle, Journal, Keeper, Own, Surroundings};
use run_dir::RunDir;

/// A running daemon.
pub struct Daemon {
    run_dir: RunDir,
    surroundings: Surroundings,
    devices: Devices,
    admin: JoinHandle<()>,
}

/// The keepers by device name.
#[derive(Clone, Default)]
pub(crate) struct Devices(Arc<Mutex<BTreeMap<String, Handle>>>);

impl Daemon {
    /// Takes the run dir at `path` and starts a keeper for each device. Commands are served on `admin`, else on a socket
    /// that is bound here.
    ///
    /// # Errors
    /// [`DirError`] when another daemon has the run dir, or something in it cannot be made.
    pub async fn start(path: &Path, configs: Vec<DeviceConfig>, admin: Option<Passed>) -> Result<Self, DirError> {
        let mut run_dir = RunDir::take(path)?;
        let names: Vec<&str> = configs.iter().map(|c| c.name.as_str()).collect();
        run_dir.clear_leftovers(&names);
        let watcher = Watcher::new().map_err(|e| DirError::from_io(path, "cannot watch FIFOs (inotify)", e))?;
        let journal = Arc::new(Journal::new(run_dir.dir().file_path(JOURNAL)));
        let restoring = journal.clone();
        let _ = tokio::task::spawn_blocking(move || restoring.restore()).await;
        let own = Own::default();
        let surroundings = Surroundings { dir: run_dir.dir(), watcher, events: Events::default(), own, journal };
        let devices = Devices::default();
        let listener = match admin {
            Some(passed) => run_dir.take_admin(passed)?,
            None => run_dir.bind_admin()?,
        };
        let admin = tokio::spawn(admin::serve(listener, devices.clone(), surroundings.events.clone()));
        let mut daemon = Self { run_dir, surroundings, devices, admin };
        for config in configs {
            if let Err(error) = daemon.start_device(config) {
                daemon.end().await;
                return Err(error);
            }
        }
        Ok(daemon)
    }

    /// Starts a keeper for one more device; no other may have its name.
    ///
    /// # Errors
    /// [`DirError`] when something cannot be made.
    pub fn start_device(&mut self, config: DeviceConfig) -> Result<(), DirError> {
        self.start_found(config, None)
    }

    /// The same for a device that has been opened already, by [`Daemon::own`]: it is not opened again.
    ///
    /// # Errors
    /// As [`Daemon::start_device`].
    pub fn start_found(&mut self, config: DeviceConfig, found: Option<Found>) -> Result<(), DirError> {
        let handle = Keeper::start(config, found, self.surroundings.clone())?;
        self.devices.lock().insert(handle.name().to_owned(), handle);
        Ok(())
    }

    /// Changes to another set of devices: unchanged ones are left alone, settings of serial lines are changed while
    /// programs go on, others are ended and started.
    ///
    /// # Errors
    /// The problems of those that could not be started; all others run.
    pub async fn reload(&mut self, configs: Vec<DeviceConfig>) -> Vec<DirError> {
        self.configure(&configs).await;
        let keep = |handle: &Handle| configs.contains(&handle.config());
        let ended: Vec<Handle> = {
            let mut devices = self.devices.lock();
            let names: Vec<String> = devices.iter().filter(|(_, h)| !keep(h)).map(|(n, _)| n.clone()).collect();
            names.iter().filter_map(|name| devices.remove(name)).collect()
        };
        for handle in ended {
            handle.end().await;
        }
        let missing: Vec<DeviceConfig> =
            configs.into_iter().filter(|c| !self.devices.lock().contains_key(&c.name)).collect();
        missing.into_iter().filter_map(|config| self.start_device(config).err()).collect()
    }

    /// Has devices that go on take over what has changed of their serial lines.
    async fn configure(&self, configs: &[DeviceConfig]) {
        let changes: Vec<_> = {
            let devices = self.devices.lock();
            let is_change = |config: &&DeviceConfig| {
                let old = devices.get(&config.name).map(Handle::config);
                old.is_some_and(|old| *old != **config && old.is_but_for_settings(config))
            };
            let changed = configs.iter().filter(is_change);
            changed.filter_map(|config| Some(devices.get(&config.name)?.configure(config.clone()))).collect()
        };
        for change in changes {
            change.await;
        }
    }

    /// What its keepers share of this machine's own devices.
    pub fn own(&self) -> &Own {
        &self.surroundings.own
    }

    /// The state of all devices.
    pub fn status(&self) -> Vec<DeviceStatus> {
        self.devices.status()
    }

    /// Ends in order: flushes what was written, removes what was made.
    pub async fn end(self) {
        let handles = std::mem::take(&mut *self.devices.lock());
        let ending: Vec<_> = handles.into_values().map(|handle| tokio::spawn(handle.end())).collect();
        for end in ending {
            let _ = end.await;
        }
        outlet::written(LAST_WRITES).await;
        self.admin.abort();
        let _ = self.admin.await;
        self.run_dir.remove();
    }
}

/// How long the end waits for programs to take what was written for them, where only this process has it.
const LAST_WRITES: Duration = Duration::from_secs(1);
/// Beside the devices in the run dir, while a kernel driver is sent away.
const JOURNAL: &str = "detached";

impl Devices {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Handle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self) -> Vec<DeviceStatus> {
        self.lock().values().map(Handle::status).collect()
    }

    /// Does something with the device of this name; the error names those that are there.
    fn with<T>(&self, name: &str, f: impl FnOnce(&Handle) -> T) -> Result<T, String> {
        let devices = self.lock();
        devices.get(name).map(f).ok_or_else(|| {
            let names: Vec<&str> = devices.keys().map(String::as_str).collect();
            let there =
                if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) };
            format!("this daemon has no device {name:?}; {there}")
        })
    }
}
