//! Which device a command is about: one of a running daemon, or one that is selected and that no daemon has. It opens no
//! device.

use std::io;
use std::path::{Path, PathBuf};

use super::options::BridgeArgs;
use super::{Failure, run_dir, status};
use crate::config::Match;
use crate::daemon::{Client, ClientError};
use crate::selector::Selector;
use crate::session::DeviceStatus;

/// Where the device is.
pub(super) enum Target {
    /// The daemon of this run dir has it under this name.
    Daemon {
        /// The run dir.
        dir: PathBuf,
        /// The device's name there.
        name: String,
    },
    /// No daemon has it.
    Alone(Selector),
}

/// Finds what `device` means: a name in the daemon, or a selector.
///
/// # Errors
/// The text is neither, options were given for a device of the daemon, or the daemon may not be asked.
pub(super) async fn target(dir: Option<&Path>, device: &str, options: &BridgeArgs) -> Result<Target, Failure> {
    let selector = match parse(device)? {
        Some(selector) => selector,
        None => {
            options.refuse_for_daemon(device)?;
            return Ok(Target::Daemon { dir: run_dir(dir.map(Path::to_owned))?, name: device.to_owned() });
        }
    };
    options.check(&selector)?;
    // A place and a port may be what a device is called, too.
    let Some((dir, devices)) = devices_of_daemon(dir).await? else { return Ok(Target::Alone(selector)) };
    let names = match devices.iter().any(|d| d.name == device) {
        true => vec![device.to_owned()],
        false => names_of(&selector, &devices),
    };
    match &names[..] {
        [] => Ok(Target::Alone(selector)),
        [name] => {
            options.refuse_for_daemon(name)?;
            Ok(Target::Daemon { dir, name: name.clone() })
        }
        several => Err(Failure::run_time(format!(
            "the daemon bridges several devices that fit {selector}; name one of {}",
            several.join(", ")
        ))),
    }
}

/// A selector, or `None` for text that can only be a name. Names never hold a colon or a slash.
fn parse(device: &str) -> Result<Option<Selector>, Failure> {
    match device.parse() {
        Ok(selector) => Ok(Some(selector)),
        Err(error) if device.contains([':', '/']) => Err(Failure::usage(error)),
        Err(_) => Ok(None),
    }
}

/// What the daemon bridges; `None` without a daemon.
async fn devices_of_daemon(dir: Option<&Path>) -> Result<Option<(PathBuf, Vec<DeviceStatus>)>, Failure> {
    let Ok(dir) = run_dir(dir.map(Path::to_owned)) else { return Ok(None) };
    match Client::connect(&dir).await {
        Ok(_) => {}
        Err(ClientError::NoDaemon(_, e)) if e.kind() != io::ErrorKind::PermissionDenied => return Ok(None),
        Err(error) => return Err(Failure::run_time(error)),
    }
    let devices = status::ask(&dir).await?;
    Ok(Some((dir, devices)))
}

/// The names under which a daemon has what is selected.
fn names_of(selector: &Selector, devices: &[DeviceStatus]) -> Vec<String> {
    let fits = |d: &&DeviceStatus| match selector {
        Selector::Port(_) | Selector::Tty(_) | Selector::Usbip(_) => d.place == Some(selector.to_string()),
        Selector::Id { .. } | Selector::Product(_) | Selector::Serial(_) => {
            let ids = d.id.as_deref().and_then(ids);
            ids.is_some_and(|(vid, pid)| Match::of(selector).fits(vid, pid, d.serial.as_deref(), d.product.as_deref()))
        }
    };
    devices.iter().filter(fits).map(|d| d.name.clone()).collect()
}

/// idVendor and idProduct of `2341:0043`.
fn ids(text: &str) -> Option<(u16, u16)> {
    let (vid, pid) = text.split_once(':')?;
    Some((u16::from_str_radix(vid, 16).ok()?, u16::from_str_radix(pid, 16).ok()?))
}
