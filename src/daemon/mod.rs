//! The daemon: one run dir, the devices in it, and the socket where commands talk to it.
//!
//! It starts and ends keepers; what happens to a device is theirs.

mod admin;
mod answers;
mod capture;
mod client;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
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
mod rules;
mod run_dir;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

pub use client::{Client, ClientError};
pub use passed::{Passed, passed_socket};
pub use place::{Beside, default_run_dir};
pub use protocol::{DaemonStatus, Reply, Request};

#[cfg(windows)]
pub use crate::outlet::Security;
#[cfg(unix)]
pub use crate::outlet::restore_limit;

use crate::config::DeviceConfig;
use crate::outlet::{self, DirError, Watcher};
use crate::session::{DeviceStatus, Events, Found, Handle, Journal, Keeper, Own, Surroundings, Tasks};
use run_dir::RunDir;

/// A running daemon.
pub struct Daemon {
    run_dir: RunDir,
    surroundings: Surroundings,
    devices: Devices,
    /// Those that are not in [`Daemon::devices`] any more and have not ended yet, by name.
    leaving: JoinSet<String>,
    admin: JoinHandle<()>,
}

/// A configuration, by the names of its devices.
type ByName<'a> = HashMap<&'a str, &'a DeviceConfig>;

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
        Self::start_in(RunDir::take(path)?, configs, admin).await
    }

    /// The same without devices, in a run dir that is made for it, for this user alone.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub async fn start_private(prefix: &str) -> Result<Self, DirError> {
        Self::start_in(RunDir::take_private(prefix)?, Vec::new(), None).await
    }

    async fn start_in(
        mut run_dir: RunDir,
        configs: Vec<DeviceConfig>,
        admin: Option<Passed>,
    ) -> Result<Self, DirError> {
        outlet::raise_limit();
        let names: HashSet<&str> = configs.iter().map(|c| c.name.as_str()).collect();
        run_dir.clear_leftovers(names);
        let cannot = |e| DirError::from_io(run_dir.dir().path(), "cannot watch FIFOs (inotify)", e);
        let watcher = Watcher::new().map_err(cannot)?;
        let journal = Arc::new(Journal::new(run_dir.dir()));
        let restoring = journal.clone();
        let _ = tokio::task::spawn_blocking(move || restoring.restore()).await;
        let own = Own::default();
        let (events, tasks) = (Events::default(), Tasks::default());
        let surroundings = Surroundings { dir: run_dir.dir(), watcher, events, own, journal, tasks };
        let devices = Devices::default();
        let listener = match admin {
            Some(passed) => run_dir.take_admin(passed)?,
            None => run_dir.bind_admin()?,
        };
        let service = admin::Service::new(devices.clone(), &surroundings);
        let admin = tokio::spawn(service.supervise(listener));
        let mut daemon = Self { run_dir, surroundings, devices, leaving: JoinSet::new(), admin };
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
    /// programs go on, others are ended, all at once, and started. Cancel safe: what has begun to end goes on to.
    ///
    /// # Errors
    /// The problems of those that could not be started; all others run.
    pub async fn reload(&mut self, configs: Vec<DeviceConfig>) -> Vec<DirError> {
        let by_name: ByName<'_> = configs.iter().map(|config| (config.name.as_str(), config)).collect();
        self.configure(&by_name).await;
        let is_kept = |handle: &Handle| by_name.get(handle.name()).is_some_and(|config| **config == *handle.config());
        self.let_go(|handle| !is_kept(handle));
        while self.leaving.join_next().await.is_some() {}
        let is_missing = |config: &DeviceConfig| !self.devices.lock().contains_key(&config.name);
        let missing: Vec<DeviceConfig> = configs.into_iter().filter(is_missing).collect();
        let mut problems = Vec::new();
        for config in missing {
            problems.extend(self.start_device(config).err());
            // Between two devices those that are there go on.
            tokio::task::yield_now().await;
        }
        problems
    }

    /// Has devices that go on take over what has changed of their serial lines.
    async fn configure(&self, configs: &ByName<'_>) {
        let mut changes = JoinSet::new();
        for handle in self.devices.lock().values() {
            let (Some(new), old) = (configs.get(handle.name()), handle.config()) else { continue };
            if *old != **new && old.is_but_for_settings(new) {
                changes.spawn(handle.configure((*new).clone()));
            }
        }
        while changes.join_next().await.is_some() {}
    }

    /// Begins to end devices.
    fn let_go(&mut self, which: impl Fn(&Handle) -> bool) {
        let mut devices = self.devices.lock();
        let (leaving, staying) = std::mem::take(&mut *devices).into_iter().partition(|(_, handle)| which(handle));
        *devices = staying;
        let leaving: BTreeMap<String, Handle> = leaving;
        for (name, handle) in leaving {
            self.leaving.spawn(async move {
                handle.end().await;
                name
            });
        }
    }

    /// The run dir, for people and commands.
    pub fn dir(&self) -> PathBuf {
        self.run_dir.dir().path().to_owned()
    }

    /// Another place in the run dir where programs connect, which is gone at the end.
    ///
    /// # Errors
    /// [`DirError`] when something else is in the way.
    pub fn listen_beside(&mut self, name: &str) -> Result<Beside, DirError> {
        self.run_dir.listen_beside(name)
    }

    /// What its keepers share of this machine's own devices.
    pub fn own(&self) -> &Own {
        &self.surroundings.own
    }

    /// The state of all devices.
    pub fn status(&self) -> Vec<DeviceStatus> {
        self.devices.status()
    }

    /// The names of all devices.
    pub fn names(&self) -> Vec<String> {
        self.devices.lock().keys().cloned().collect()
    }

    /// How long the end may wait for devices to take what was written for them.
    pub fn longest_flush(&self) -> Duration {
        let longest = self.devices.lock().values().map(|handle| handle.config().longest_flush()).max();
        longest.unwrap_or_default()
    }

    /// Ends in order: flushes what was written, removes what was made. Whatever does not end in time is left alone, and
    /// named in the log; of its outlets nothing is left.
    pub async fn end(mut self) {
        let limit = self.longest_flush().saturating_add(DEVICES_END);
        let mut late: BTreeSet<String> = self.names().into_iter().collect();
        self.let_go(|_| true);
        let ended = timeout(limit, async {
            while let Some(ended) = self.leaving.join_next().await {
                late.remove(&ended.unwrap_or_default());
            }
        });
        let is_late = ended.await.is_err();
        if is_late {
            let names: Vec<&str> = late.iter().map(String::as_str).collect();
            tracing::warn!("{} did not end within {limit:?}, and nothing waits any longer", names.join(", "));
        } else {
            outlet::written(LAST_WRITES).await;
        }
        self.admin.abort();
        let _ = self.admin.await;
        self.run_dir.clear(late.iter().map(String::as_str));
        self.run_dir.remove();
    }
}

/// How long an end may take, beside what programs have written and devices have not taken: rule 15 of the contract.
pub const END_LIMIT: Duration = Duration::from_secs(2);
/// How much of it devices get, so that there is time left to remove what they leave.
const DEVICES_END: Duration = Duration::from_millis(1500);
/// How long the end waits for programs to take what was written for them, where only this process has it.
const LAST_WRITES: Duration = Duration::from_millis(800);

impl Devices {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Handle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self) -> Vec<DeviceStatus> {
        self.lock().values().map(Handle::status).collect()
    }

    /// The same, one by one: those that come or go meanwhile may be missing.
    fn each_status(&self) -> impl Iterator<Item = DeviceStatus> + Send + use<> {
        let (devices, names) = (self.clone(), self.lock().keys().cloned().collect::<Vec<_>>());
        names.into_iter().filter_map(move |name| devices.lock().get(&name).map(Handle::status))
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
