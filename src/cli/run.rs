//! `run` and `bridge`: the daemon in the foreground.

use std::path::PathBuf;

use super::appearing::Appearing;
use super::lifetime::Lifetime;
use super::options::BridgeArgs;
use super::signals::Signals;
use super::{Failure, Outcome, manager, run_dir};
use crate::config::{self, Config, DeviceConfig};
use crate::daemon::{Daemon, passed_socket};
use crate::log_writer;
use crate::name;
use crate::selector::Selector;

/// `usbpipe run`.
pub(super) async fn run(dir: Option<PathBuf>, config: Option<PathBuf>) -> Outcome {
    let dir = run_dir(dir)?;
    let file = config::find(config.as_deref()).map_err(Failure::usage)?;
    let devices = load(&file)?;
    serve(dir, devices, Named::default(), Some(file)).await
}

/// `usbpipe bridge SELECTOR…`.
pub(super) async fn bridge(dir: Option<PathBuf>, selectors: Vec<Selector>, options: BridgeArgs) -> Outcome {
    selectors.iter().try_for_each(|selector| options.check(selector))?;
    serve(run_dir(dir)?, Vec::new(), Named { selectors, options }, None).await
}

/// Devices that were named on the command line.
#[derive(Default)]
struct Named {
    selectors: Vec<Selector>,
    options: BridgeArgs,
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

async fn serve(dir: PathBuf, devices: Vec<DeviceConfig>, named: Named, file: Option<PathBuf>) -> Outcome {
    let lifetime = Lifetime::listen(Signals::new()?);
    let count = devices.len() + named.selectors.len();
    let admin = passed_socket(&dir).map_err(Failure::run_time)?;
    let mut daemon = Daemon::start(&dir, devices, admin).await.map_err(Failure::run_time)?;
    let mut appearing = Appearing::new(daemon.own().clone(), named.selectors, named.options);
    log_writer::print(format_args!("usbpipe: ready, {count} devices in {}", dir.display()));
    manager::ready();
    let watchdog = tokio::spawn(manager::feed_watchdog());
    loop {
        lifetime.set_flush(daemon.longest_flush());
        tokio::select! {
            biased;
            () = lifetime.end() => break,
            () = lifetime.reload() => tokio::select! {
                () = reload(&mut daemon, file.as_deref()) => {}
                // What has begun to end goes on to, and the rest follows.
                () = lifetime.end() => break,
            },
            (config, found) = appearing.next() => {
                if let Err(problem) = daemon.start_found(with_free_name(config, &daemon), found) {
                    tracing::error!("{problem}");
                }
            }
        }
    }
    manager::stopping();
    watchdog.abort();
    lifetime.finish(daemon).await
}

/// Of devices that would all have one name, the next is called `-2`.
fn with_free_name(config: DeviceConfig, daemon: &Daemon) -> DeviceConfig {
    let taken = daemon.names();
    let is_free = |name: &String| taken.iter().all(|taken| !taken.eq_ignore_ascii_case(name));
    let name = (1..).map(|nth| name::twin(&config.name, nth)).find(is_free);
    DeviceConfig { name: name.unwrap_or_else(|| config.name.clone()), ..config }
}

/// A configuration with errors changes nothing.
async fn reload(daemon: &mut Daemon, file: Option<&std::path::Path>) {
    let Some(file) = file else { return };
    let path = file.to_owned();
    // Disks may be slow, and configurations long.
    let Ok(loaded) = tokio::task::spawn_blocking(move || load(&path)).await else { return };
    match loaded {
        Ok(devices) => {
            for problem in daemon.reload(devices).await {
                tracing::error!("{problem}");
            }
            tracing::info!("configuration read again: {}", file.display());
        }
        Err(failure) => tracing::error!("the configuration stays as it was: {}", failure.message),
    }
}
