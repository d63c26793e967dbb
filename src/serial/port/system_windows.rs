//! What Windows says of ports and of the USB devices behind them. Opens no port.

use std::path::{Path, PathBuf};

use super::info::UsbDeviceInfo;
use crate::usb::local::{self, serial_port_changes, serial_port_names};

/// The USB device at `place`, as far as it is known.
pub(super) fn usb_device(place: &str) -> UsbDeviceInfo {
    let found = local::list().unwrap_or_default().into_iter().find(|found| found.place == place);
    found.map_or_else(UsbDeviceInfo::default, |found| UsbDeviceInfo { version: 0, speed: found.speed })
}

/// The name of the port at `path`, `COM5` or `\\.\com5`, as lists of ports write it.
pub(super) fn name(path: &Path) -> Option<String> {
    let shown = path.display().to_string().to_ascii_uppercase();
    let name = shown.strip_prefix(r"\\.\").unwrap_or(&shown);
    let is_port = name.strip_prefix("COM").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    is_port.then(|| name.to_owned())
}

/// The port at `path` as the list of ports has it.
pub(super) fn listed(path: &Path) -> PathBuf {
    name(path).map_or_else(|| path.to_owned(), PathBuf::from)
}

/// Resolves when Windows strikes the port at `path` off its list. One that is not on it does not go that way.
pub(super) async fn struck_off(path: &Path) {
    let (Some(name), Ok(mut changes)) = (name(path), serial_port_changes()) else {
        return std::future::pending().await;
    };
    let mut was_listed = false;
    loop {
        let is_listed = serial_port_names().contains(&name);
        if was_listed && !is_listed {
            return;
        }
        was_listed = is_listed;
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_one_name_however_they_are_written() {
        for written in ["COM5", "com5", r"\\.\COM5", r"\\.\com5"] {
            assert_eq!(name(Path::new(written)).as_deref(), Some("COM5"));
            assert_eq!(listed(Path::new(written)), Path::new("COM5"));
        }
        for other in ["COM", "COM5x", "CON", r"\\.\pipe\COM5", "/dev/ttyS0", ""] {
            assert_eq!(name(Path::new(other)), None, "{other}");
        }
    }
}
