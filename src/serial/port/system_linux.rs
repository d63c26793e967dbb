//! What sysfs says of ports and of the USB devices behind them. Opens no port.
//!
//! Source: kernel documents `sysfs-bus-usb` and `sysfs-tty`.

use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};

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

/// Whether a node belongs to a driver of terminals, also where that driver has ports of its own only. Where the kernel
/// does not say, opening it will tell.
pub(super) fn is_terminal(node: &Metadata) -> bool {
    let drivers = fs::read_to_string("/proc/tty/drivers").ok();
    let number = (major(node.rdev()), minor(node.rdev()));
    node.file_type().is_char_device() && drivers.is_none_or(|drivers| drives(&drivers, number))
}

/// A line of proc(5), `/proc/tty/drivers`: name, node, major number, minor numbers, type.
fn drives(drivers: &str, (major, minor): (u64, u64)) -> bool {
    drivers.lines().any(|line| {
        let mut words = line.split_whitespace().rev().skip(1);
        let minors = words.next().unwrap_or_default();
        let (first, last) = minors.split_once('-').unwrap_or((minors, minors));
        let Ok(minors) = first.parse().and_then(|first: u64| Ok(first..=last.parse()?)) else { return false };
        words.next().and_then(|word| word.parse().ok()) == Some(major) && minors.contains(&minor)
    })
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
    fn terminals_are_told_by_the_numbers_of_their_drivers() {
        let drivers = "/dev/tty             /dev/tty        5       0 system:/dev/tty\n\
                       usbserial            /dev/ttyUSB   188 0-511 serial\n\
                       serial               /dev/ttyS       4      64-95 serial\nodd line\n";
        let found = [(5, 0), (188, 0), (188, 511), (4, 64)].map(|number| drives(drivers, number));
        assert_eq!(found, [true; 4]);
        let others = [(5, 1), (188, 512), (4, 63), (1, 3), (0, 0)].map(|number| drives(drivers, number));
        assert_eq!(others, [false; 5], "/dev/null is 1:3");
    }

    #[test]
    fn a_device_that_is_not_there_is_unknown() {
        assert_eq!(usb_device("99-9"), UsbDeviceInfo::default());
    }
}
