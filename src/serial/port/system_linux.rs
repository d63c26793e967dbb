//! What sysfs says of ports and of the USB devices behind them. Opens no port.
//!
//! Source: kernel documents `sysfs-bus-usb` and `sysfs-tty`.

use std::fs;
use std::path::{Path, PathBuf};

use super::info::UsbDeviceInfo;
use crate::usb::descriptors::Speed;

/// The USB device at `place`, as far as it can be read.
pub(super) fn usb_device(place: &str) -> UsbDeviceInfo {
    let folder = Path::new("/sys/bus/usb/devices").join(place);
    let version = read(&folder.join("bcdDevice")).and_then(|text| u16::from_str_radix(&text, 16).ok());
    let speed = read(&folder.join("speed")).map_or(Speed::Unknown, |text| speed(&text));
    UsbDeviceInfo { version: version.unwrap_or(0), speed }
}

/// The node that the list of ports has for the port at `path`, which may be a link to it.
pub(super) fn listed(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Never resolves: here an open descriptor tells that its port has gone.
pub(super) async fn struck_off(_path: &Path) {
    std::future::pending().await
}

/// Whether the system has a list of ports at all.
pub(super) fn lists_ports() -> bool {
    Path::new("/sys/class/tty").is_dir()
}

/// Whether a listed port is only a place where the kernel would have a UART, and found none.
pub(super) fn is_empty_place(port: &Path) -> bool {
    let name = port.file_name().map(PathBuf::from).unwrap_or_default();
    read(&Path::new("/sys/class/tty").join(name).join("type")).is_some_and(|kind| kind == UART_UNKNOWN)
}

/// The rate in Mbit/s, as the kernel writes it.
fn speed(text: &str) -> Speed {
    match text {
        "1.5" => Speed::Low,
        "12" => Speed::Full,
        "480" => Speed::High,
        "5000" => Speed::Super,
        "10000" | "20000" => Speed::SuperPlus,
        _ => Speed::Unknown,
    }
}

fn read(file: &Path) -> Option<String> {
    fs::read_to_string(file).ok().map(|text| text.trim().to_owned())
}

/// PORT_UNKNOWN of the kernel's serial core.
const UART_UNKNOWN: &str = "0";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_those_of_sysfs() {
        let all = ["1.5", "12", "480", "5000", "10000", "20000", "fast"].map(speed);
        let expected =
            [Speed::Low, Speed::Full, Speed::High, Speed::Super, Speed::SuperPlus, Speed::SuperPlus, Speed::Unknown];
        assert_eq!(all, expected);
    }

    #[test]
    fn a_device_that_is_not_there_is_unknown() {
        assert_eq!(usb_device("99-9"), UsbDeviceInfo::default());
    }
}
