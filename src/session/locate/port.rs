//! Finds and opens a serial port of the operating system.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Found, Own};
use crate::config::{DeviceConfig, Match, SerialConfig};
use crate::serial::port::{self, FirstSettings, PortInfo, SeveralPorts};
use crate::usb::{OpenError, UsbDevice};

/// Opens the one port that fits and that no other keeper has; for several lines those of one USB device.
pub(super) async fn locate(config: &DeviceConfig, own: &Own) -> Result<Found, OpenError> {
    let wanted = config.matches.clone();
    let only = single(config);
    let interface = only.and_then(|serial| serial.interface);
    let fitting = tokio::task::spawn_blocking(move || fitting(&wanted, interface)).await.unwrap_or_default();
    let mut infos = choose(fitting, &config.matches, own)?;
    if only.is_some() {
        infos.truncate(1);
    }
    let place = infos[0].path.display().to_string();
    let taken = infos.iter().filter_map(|info| own.taken.take(&info.path.display().to_string())).collect();
    let settings = config.serial_lines().next().map(|(_, serial)| serial.clone()).unwrap_or_default();
    let port = infos[0].usb.as_ref().and_then(|usb| usb.place.clone());
    let device: Arc<dyn UsbDevice> = match &infos[..] {
        [info] => Arc::new(port::open(info, settings.lock, first_settings(&settings)).await?.flush_for(settings.flush)),
        several => {
            let first = |nth| {
                let line = config.serial_lines().find(|(line, _)| *line == nth);
                line.map_or_else(FirstSettings::default, |(_, serial)| first_settings(serial))
            };
            Arc::new(SeveralPorts::open(several, settings.lock, settings.flush, first).await?)
        }
    };
    Ok(Found { device, backend: "serial", place, port, taken })
}

/// The settings of the line, where the first function of the device is the only one that is wanted.
fn single(config: &DeviceConfig) -> Option<&SerialConfig> {
    let mut lines = config.serial_lines();
    match (lines.next(), lines.next()) {
        (Some((nth, serial)), None) => Some(serial).filter(|serial| nth == 0 || serial.interface.is_some()),
        _ => None,
    }
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

/// The free port that fits, or the free ports of the one device that does, by their interfaces.
fn choose(fitting: Vec<PortInfo>, wanted: &Match, own: &Own) -> Result<Vec<PortInfo>, OpenError> {
    let any = !fitting.is_empty();
    let mut free: Vec<PortInfo> =
        fitting.into_iter().filter(|port| !own.taken.contains(&port.path.display().to_string())).collect();
    if free.is_empty() && any {
        return Err(OpenError::Busy(format!("{wanted} is bridged under another name already")));
    }
    if free.is_empty() {
        let there: Vec<String> = port::list().iter().map(PortInfo::to_string).collect();
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        let missing = match wanted.tty() {
            Some(path) => format!("there is no serial port {path}"),
            None => format!("no serial port of {wanted} is there"),
        };
        return Err(OpenError::NotFound(format!("{missing}; those of this machine: {there}")));
    }
    if free.len() > 1 && !are_of_one_device(&free) {
        let paths: Vec<String> = free.iter().map(|port| port.path.display().to_string()).collect();
        let text = format!(
            "several serial ports fit {wanted}: {}; name the one that is meant so, in a configuration by `port` or \
             `serial` in its `match`",
            paths.join(", ")
        );
        return Err(OpenError::NotFound(text));
    }
    free.sort_by_key(|port| port.usb.as_ref().and_then(|usb| usb.interface));
    Ok(free)
}

fn are_of_one_device(ports: &[PortInfo]) -> bool {
    let place = |port: &PortInfo| port.usb.as_ref().and_then(|usb| usb.place.clone());
    let first = ports.first().and_then(place);
    first.is_some() && ports.iter().all(|port| place(port) == first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serial::port::UsbPort;

    fn port(node: &str, place: &str, interface: u8) -> PortInfo {
        let usb = UsbPort {
            vid: 0x1209,
            pid: 1,
            serial: None,
            manufacturer: None,
            product: None,
            interface: Some(interface),
            place: Some(place.to_owned()),
        };
        PortInfo { path: node.into(), usb: Some(usb) }
    }

    #[test]
    fn ports_of_one_device_are_its_functions_in_order_and_those_of_two_are_a_question() {
        let paths = |ports: Vec<PortInfo>| {
            let chosen = choose(ports, &Match::default(), &Own::default());
            chosen.map(|ports| ports.iter().map(|port| port.path.display().to_string()).collect::<Vec<_>>())
        };
        let two = vec![port("/dev/ttyACM0", "1-1", 2), port("/dev/ttyACM1", "1-1", 0)];
        assert_eq!(paths(two).unwrap(), ["/dev/ttyACM1", "/dev/ttyACM0"]);
        let apart = vec![port("/dev/ttyACM0", "1-1", 0), port("/dev/ttyACM1", "1-2", 0)];
        assert!(paths(apart).is_err_and(|e| e.to_string().contains("/dev/ttyACM0, /dev/ttyACM1")));
    }

    #[test]
    fn a_line_alone_is_one_port_and_several_lines_are_all_of_them() {
        let line = |interface| SerialConfig { interface, ..SerialConfig::default() };
        let config = |serial: Option<SerialConfig>, more: Vec<(usize, SerialConfig)>| DeviceConfig {
            serial,
            more_serial: more,
            ..DeviceConfig::new("d")
        };
        assert!(single(&config(Some(line(None)), Vec::new())).is_some());
        assert!(single(&config(None, vec![(1, line(Some(2)))])).is_some());
        assert!(single(&config(None, vec![(1, line(None))])).is_none());
        assert!(single(&config(Some(line(None)), vec![(1, line(None))])).is_none());
    }
}
