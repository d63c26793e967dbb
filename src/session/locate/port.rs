//! Finds and opens a serial port of the operating system.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Found, Own};
use crate::config::{DeviceConfig, Match, SerialConfig};
use crate::serial::port::{self, FirstSettings, PortInfo};
use crate::usb::OpenError;

/// Opens the one port that fits and that no other keeper has.
pub(super) async fn locate(config: &DeviceConfig, own: &Own) -> Result<Found, OpenError> {
    let wanted = config.matches.clone();
    let interface = config.serial.as_ref().and_then(|serial| serial.interface);
    let fitting = tokio::task::spawn_blocking(move || fitting(&wanted, interface)).await.unwrap_or_default();
    let info = choose(fitting, &config.matches, own)?;
    let place = info.path.display().to_string();
    let taken = own.taken.take(&place);
    let flush = config.serial.as_ref().map_or(SerialConfig::default().flush, |serial| serial.flush);
    let lock = config.serial.as_ref().is_none_or(|serial| serial.lock);
    let first = config.serial.as_ref().map_or_else(FirstSettings::default, first_settings);
    let device = port::open(&info, lock, first).await?.flush_for(flush);
    let port = info.usb.and_then(|usb| usb.place);
    Ok(Found { device: Arc::new(device), backend: "serial", place, port, taken })
}

fn first_settings(serial: &SerialConfig) -> FirstSettings {
    FirstSettings { baud: serial.baud, mode: serial.mode, flow: serial.flow.into() }
}

/// The ports that may be meant. One that is named by its path need not be in any list.
fn fitting(wanted: &Match, interface: Option<u8>) -> Vec<PortInfo> {
    match wanted.tty() {
        Some(path) => {
            Some(PortInfo::of(PathBuf::from(path))).filter(|port| fits(port, wanted, None)).into_iter().collect()
        }
        None => port::list().into_iter().filter(|port| fits(port, wanted, interface)).collect(),
    }
}

/// A port that no USB device is behind has neither ids nor strings.
fn fits(port: &PortInfo, wanted: &Match, interface: Option<u8>) -> bool {
    let Some(usb) = &port.usb else {
        return Match { port: wanted.tty().map(str::to_owned), ..Match::default() } == *wanted;
    };
    wanted.fits(usb.vid, usb.pid, usb.serial.as_deref(), usb.product.as_deref())
        && (wanted.tty().is_some() || wanted.port.is_none() || wanted.port == usb.place)
        && interface.is_none_or(|number| usb.interface == Some(number))
}

fn choose(fitting: Vec<PortInfo>, wanted: &Match, own: &Own) -> Result<PortInfo, OpenError> {
    let any = !fitting.is_empty();
    let mut free: Vec<PortInfo> =
        fitting.into_iter().filter(|port| !own.taken.contains(&port.path.display().to_string())).collect();
    match (free.pop(), free.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            let paths: Vec<String> = free.iter().chain([&last]).map(|port| port.path.display().to_string()).collect();
            let text = format!(
                "several serial ports fit {wanted}: {}; name the one that is meant so, in a configuration by `port` or \
                 `serial` in its `match`, or by `interface` in [device.serial]",
                paths.join(", ")
            );
            Err(OpenError::NotFound(text))
        }
        (None, _) if any => Err(OpenError::Busy(format!("{wanted} is bridged under another name already"))),
        (None, _) => {
            let there: Vec<String> = port::list().iter().map(PortInfo::to_string).collect();
            let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
            let missing = match wanted.tty() {
                Some(path) => format!("there is no serial port {path}"),
                None => format!("no serial port of {wanted} is there"),
            };
            Err(OpenError::NotFound(format!("{missing}; those of this machine: {there}")))
        }
    }
}
