//! `run` and `bridge`: the daemon in the foreground.

use std::path::PathBuf;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::appearing::Appearing;
use super::{Failure, Outcome, run_dir};
use crate::config::{self, Config, DeviceConfig};
use crate::daemon::{Daemon, passed_socket};
use crate::name;
use crate::selector::Selector;

/// `usbpipe run`.
pub(super) async fn run(dir: Option<PathBuf>, config: Option<PathBuf>) -> Outcome {
    let dir = run_dir(dir)?;
    let file = config::find(config.as_deref()).map_err(Failure::usage)?;
    let devices = load(&file)?;
    serve(dir, devices, Vec::new(), Some(file)).await
}

/// `usbpipe bridge SELECTOR…`.
pub(super) async fn bridge(dir: Option<PathBuf>, selectors: Vec<Selector>) -> Outcome {
    serve(run_dir(dir)?, Vec::new(), selectors, None).await
}

fn load(file: &std::path::Path) -> Result<Vec<DeviceConfig>, Failure> {
    let config = Config::load_supported(file).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Failure::usage(lines.join("\nusbpipe: "))
    })?;
    if config.devices.is_empty() {
        return Err(Failure::usage(format!("{}: no device is configured; add a [[device]] section", file.display())));
    }
    Ok(config.devices)
}

async fn serve(dir: PathBuf, devices: Vec<DeviceConfig>, named: Vec<Selector>, file: Option<PathBuf>) -> Outcome {
    let mut signals = Signals::new()?;
    let count = devices.len() + named.len();
    let admin = passed_socket(&dir).map_err(Failure::run_time)?;
    let mut daemon = Daemon::start(&dir, devices, admin).await.map_err(Failure::run_time)?;
    let mut appearing = Appearing::new(daemon.own().clone());
    named.into_iter().for_each(|selector| appearing.wait_for(selector));
    eprintln!("usbpipe: ready, {count} devices in {}", dir.display());
    notify(&[sd_notify::NotifyState::Ready]);
    loop {
        tokio::select! {
            received = signals.next() => match received {
                Received::End => break,
                Received::Reload => reload(&mut daemon, file.as_deref()).await,
            },
            config = appearing.next() => {
                if let Err(problem) = daemon.start_device(with_free_name(config, &daemon)) {
                    tracing::error!("{problem}");
                }
            }
        }
    }
    notify(&[sd_notify::NotifyState::Stopping]);
    signals.or_at_once(daemon.end()).await
}

/// Of devices that would all have one name, the next is called `-2`.
fn with_free_name(config: DeviceConfig, daemon: &Daemon) -> DeviceConfig {
    let taken = daemon.status();
    let is_free = |name: &String| taken.iter().all(|d| d.name != *name);
    let name = (1..).map(|nth| name::twin(&config.name, nth)).find(is_free);
    DeviceConfig { name: name.unwrap_or_else(|| config.name.clone()), ..config }
}

/// A configuration with errors changes nothing.
async fn reload(daemon: &mut Daemon, file: Option<&std::path::Path>) {
    let Some(file) = file else { return };
    match load(file) {
        Ok(devices) => {
            for problem in daemon.reload(devices).await {
                tracing::error!("{problem}");
            }
            tracing::info!("configuration read again: {}", file.display());
        }
        Err(failure) => tracing::error!("the configuration stays as it was: {}", failure.message),
    }
}

/// Tells systemd, if it listens.
fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(state) {
        tracing::warn!("telling systemd failed: {e}");
    }
}

/// The signals that a daemon knows.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

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
        })
    }

    pub(super) async fn next(&mut self) -> Received {
        tokio::select! {
            _ = self.terminate.recv() => Received::End,
            _ = self.interrupt.recv() => Received::End,
            _ = self.hangup.recv() => Received::Reload,
        }
    }

    /// Waits until this process shall end.
    pub(super) async fn end(&mut self) {
        while !matches!(self.next().await, Received::End) {}
    }

    /// Waits for the end in order; a second signal ends at once.
    pub(super) async fn or_at_once(mut self, end: impl Future<Output = ()>) -> Outcome {
        tokio::select! {
            () = end => Ok(0),
            () = self.end() => Err(Failure::run_time("ended at once by a second signal; outlets may be left behind")),
        }
    }
}
