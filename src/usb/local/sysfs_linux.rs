//! What Linux tells of devices in sysfs, without opening them and without any right to them.

use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

/// The kernel driver that holds an interface, such as `cdc_acm`. `configuration` is bConfigurationValue.
pub fn driver(place: &str, configuration: u8, interface: u8) -> Option<String> {
    let link = Path::new(DEVICES).join(format!("{place}:{configuration}.{interface}/driver"));
    let target = fs::read_link(link).ok()?;
    target.file_name().map(|name| name.to_string_lossy().into_owned())
}

/// Whether this machine has USB at all.
pub(super) fn has_usb() -> bool {
    Path::new(DEVICES).exists()
}

/// The device descriptor and all configuration descriptors after it, as the device sent them when it was plugged in.
pub(super) fn descriptors(place: &str) -> std::io::Result<Vec<u8>> {
    fs::read(Path::new(DEVICES).join(place).join("descriptors"))
}

/// bConfigurationValue of the configuration that was chosen; `None` for a device that is not configured.
pub(super) fn active_configuration(place: &str) -> Option<u8> {
    let text = fs::read_to_string(Path::new(DEVICES).join(place).join("bConfigurationValue")).ok()?;
    text.trim().parse().ok()
}

/// Whether this user may open the device: access(2).
pub fn is_usable(node: &Path) -> bool {
    access(node, AccessFlags::R_OK | AccessFlags::W_OK).is_ok()
}

/// The character device of a device: usb(5) of the kernel's usbfs.
pub fn node(bus: u8, address: u8) -> PathBuf {
    PathBuf::from(format!("/dev/bus/usb/{bus:03}/{address:03}"))
}

const DEVICES: &str = "/sys/bus/usb/devices";
