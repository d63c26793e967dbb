//! What Linux tells of devices in sysfs, without opening them and without any right to them.

use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};
use nusb::DeviceInfo;

use super::LocalDevice;
use crate::processes::{Question, look_blocking};

/// The kernel driver that holds an interface, such as `cdc_acm`. `configuration` is bConfigurationValue.
pub fn driver(place: &str, configuration: u8, interface: u8) -> Option<String> {
    let link = Path::new(DEVICES).join(format!("{place}:{configuration}.{interface}/driver"));
    let target = fs::read_link(link).ok()?;
    target.file_name().map(|name| name.to_string_lossy().into_owned())
}

/// Programs that have the device at `node` open, without this one, such as `heimdall (process 4711)`. It may take a while.
pub fn users(node: &Path) -> Vec<String> {
    let seen = look_blocking(Question::Device(node.to_owned()));
    seen.processes().into_iter().map(ToString::to_string).collect()
}

/// Whether this configuration is active and has this interface.
pub fn is_there(place: &str, configuration: u8, interface: u8) -> bool {
    Path::new(DEVICES).join(format!("{place}:{configuration}.{interface}")).exists()
}

/// Other interfaces of the same function that the same driver holds, such as the streams of a sound card beside its
/// controls. A driver that is sent away from one of them is of no use on the others, and only comes back to all.
pub fn companions(place: &str, configuration: u8, interface: u8) -> Vec<u8> {
    let Some(held) = Held::of(place, configuration, interface) else { return Vec::new() };
    let prefix = format!("{place}:{configuration}.");
    let entries = fs::read_dir(Path::new(DEVICES).join(place)).into_iter().flatten().flatten();
    let numbers = entries.filter_map(|e| e.file_name().to_str()?.strip_prefix(&prefix)?.parse().ok());
    let others = numbers.filter(|&other| other != interface);
    others.filter(|&other| Held::of(place, configuration, other).is_some_and(|other| other == held)).collect()
}

/// What a driver holds.
#[derive(PartialEq, Eq)]
struct Held {
    driver: String,
    function: Function,
}

/// What interfaces are parts of.
#[derive(PartialEq, Eq)]
enum Function {
    /// bFirstInterface of the interface association: USB 3.2, 9.6.4.
    Associated(String),
    /// Older than associations: one for the device.
    Audio,
    Communications,
}

impl Held {
    /// Nothing for an interface without a driver and for one that is a function by itself.
    fn of(place: &str, configuration: u8, interface: u8) -> Option<Self> {
        let dir = Path::new(DEVICES).join(format!("{place}:{configuration}.{interface}"));
        let read = |name| fs::read_to_string(dir.join(name)).ok().map(|text| text.trim().to_owned());
        let function = match (read("iad_bFirstInterface"), read("bInterfaceClass").as_deref()) {
            (Some(first), _) => Function::Associated(first),
            (None, Some("01")) => Function::Audio,
            (None, Some("02" | "0a")) => Function::Communications,
            _ => return None,
        };
        Some(Self { driver: driver(place, configuration, interface)?, function })
    }
}

/// The number of the device's bus.
pub(super) fn bus(info: &DeviceInfo) -> u8 {
    info.busnum()
}

/// Whether the device of this node has not gone.
pub(super) fn is_plugged_in(node: &Path) -> bool {
    node.exists()
}

/// Whether this machine has USB at all.
pub(super) fn has_usb() -> bool {
    Path::new(DEVICES).exists()
}

/// The device descriptor and all configuration descriptors after it, as the device sent them when it was plugged in.
pub(super) fn descriptors(found: &LocalDevice) -> std::io::Result<Vec<u8>> {
    fs::read(Path::new(DEVICES).join(&found.place).join("descriptors"))
}

/// bConfigurationValue of the configuration that was chosen; `None` for a device that is not configured.
pub(super) fn active_configuration(found: &LocalDevice) -> Option<u8> {
    let text = fs::read_to_string(Path::new(DEVICES).join(&found.place).join("bConfigurationValue")).ok()?;
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
