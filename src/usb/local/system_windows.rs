//! What Windows tells of devices, through nusb. Windows gives a device one driver and lets nobody take it away, so that
//! much of what Linux knows of drivers has no counterpart here.

use std::io;
use std::path::{Path, PathBuf};

use nusb::{DeviceInfo, MaybeFuture};

use super::{LocalDevice, list};

/// The driver that keeps programs from using an interface: any but WinUSB, and what stands for the parts of a device.
pub fn driver(place: &str, _configuration: u8, _interface: u8) -> Option<String> {
    let driver = at(place)?.info.driver()?.to_owned();
    let is_open = OPEN_DRIVERS.iter().any(|open| driver.eq_ignore_ascii_case(open));
    (!is_open).then_some(driver)
}

/// Whether the device is there; its interfaces are, then.
pub fn is_there(place: &str, _configuration: u8, _interface: u8) -> bool {
    at(place).is_some()
}

/// Interfaces of which one is of no use without the other: nobody can take any from its driver.
pub fn companions(_place: &str, _configuration: u8, _interface: u8) -> Vec<u8> {
    Vec::new()
}

/// Programs that have a device open: Windows does not say.
pub fn users(_node: &Path) -> Vec<String> {
    Vec::new()
}

/// Whether this user may open it: that shows when it is opened.
pub fn is_usable(_node: &Path) -> bool {
    true
}

/// What stands for a device here, as there are no nodes: bus and address.
pub fn node(bus: u8, address: u8) -> PathBuf {
    PathBuf::from(format!("{bus}-{address}"))
}

/// The number of the device's bus: its place among the host controllers, from 1.
pub(super) fn bus(info: &DeviceInfo) -> u8 {
    let Ok(buses) = nusb::list_buses().wait() else { return 1 };
    let mut ids: Vec<String> = buses.map(|bus| bus.bus_id().to_owned()).collect();
    ids.sort();
    ids.dedup();
    let index = ids.iter().position(|id| id == info.bus_id()).unwrap_or(0);
    u8::try_from(index + 1).unwrap_or(u8::MAX)
}

/// Whether the device of this [`node`] has not gone.
pub(super) fn is_plugged_in(wanted: &Path) -> bool {
    list().is_ok_and(|devices| devices.iter().any(|found| node(found.bus, found.address) == wanted))
}

/// Every Windows has it.
pub(super) fn has_usb() -> bool {
    true
}

/// The device descriptor and all configuration descriptors after it. Opens the device for a moment, which its driver has
/// to permit.
pub(super) fn descriptors(found: &LocalDevice) -> io::Result<Vec<u8>> {
    let device = found.info.open().wait().map_err(io::Error::from)?;
    let mut raw = device.device_descriptor().as_bytes().to_vec();
    device.configurations().for_each(|configuration| raw.extend(configuration.as_bytes()));
    Ok(raw)
}

/// Windows chooses the first.
pub(super) fn active_configuration(_found: &LocalDevice) -> Option<u8> {
    None
}

fn at(place: &str) -> Option<LocalDevice> {
    list().ok()?.into_iter().find(|found| found.place == place)
}

/// Drivers under which programs can use a device or parts of it.
const OPEN_DRIVERS: [&str; 2] = ["WinUSB", "usbccgp"];
