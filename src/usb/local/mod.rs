//! Devices on this machine's own USB: which there are, whether one is still there, and news of plugging.
//!
//! Listing is nusb's; opening is the backends'. This folder moves no transfer.

mod combined;
#[cfg(target_os = "linux")]
#[path = "hotplug_linux.rs"]
mod hotplug;
#[cfg(windows)]
#[path = "hotplug_windows.rs"]
mod hotplug;
mod news;
#[cfg(target_os = "linux")]
mod paths_linux;
mod presence;
#[cfg(windows)]
mod registry_windows;
#[cfg(target_os = "linux")]
#[path = "system_linux.rs"]
mod system;
#[cfg(windows)]
#[path = "system_windows.rs"]
mod system;

pub use combined::{Combined, isochronous_interfaces};
pub use hotplug::Hotplug;
pub use news::News;
pub use presence::{Presence, UNPLUGGED, lost_by};
#[cfg(windows)]
pub use registry_windows::{serial_port_changes, serial_port_names};
pub use system::{companions, driver, is_there, is_usable, node, users};

use nusb::{DeviceInfo, MaybeFuture};

use super::OpenError;
use super::descriptors::{Descriptors, Speed};

/// A device that is plugged in now.
#[derive(Debug, Clone)]
pub struct LocalDevice {
    /// Place on the bus as Linux writes it, such as `1-1.4`; it stays over unplug and replug.
    pub place: String,
    /// Bus number, as in `lsusb`.
    pub bus: u8,
    /// Device address on the bus; a new one at every plug-in.
    pub address: u8,
    /// idVendor.
    pub vendor_id: u16,
    /// idProduct.
    pub product_id: u16,
    /// iManufacturer as text.
    pub manufacturer: Option<String>,
    /// iProduct as text.
    pub product: Option<String>,
    /// iSerialNumber as text.
    pub serial_number: Option<String>,
    /// Signalling rate.
    pub speed: Speed,
    pub(super) info: DeviceInfo,
}

/// All devices that are plugged in, without root hubs, in the order of their places: 1-2 before 1-10. None on a machine
/// without USB.
///
/// # Errors
/// [`OpenError::Unreachable`] when the system cannot say.
pub fn list() -> Result<Vec<LocalDevice>, OpenError> {
    if !system::has_usb() {
        return Ok(Vec::new());
    }
    let devices = nusb::list_devices().wait().map_err(|e| {
        let text = "this machine's USB devices cannot be listed";
        OpenError::Unreachable(text.to_owned(), e.into())
    })?;
    let mut devices: Vec<LocalDevice> = devices.map(LocalDevice::from_nusb).collect();
    devices.sort_by(|a, b| (a.bus, a.info.port_chain()).cmp(&(b.bus, b.info.port_chain())));
    Ok(devices)
}

/// Devices by place and ids, in one line for people.
pub fn in_words(devices: &[LocalDevice]) -> String {
    let one = |d: &LocalDevice| format!("{} ({:04x}:{:04x})", d.place, d.vendor_id, d.product_id);
    match devices {
        [] => "no device at all".to_owned(),
        some => some.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}

/// Asks the kernel to give an interface to its driver again. Blocks for as long as the driver needs.
///
/// # Errors
/// [`OpenError::NotFound`] when no device is at this place, and what opening it or the driver says.
pub fn attach_driver(place: &str, interface: u8) -> Result<(), OpenError> {
    let absent = || OpenError::NotFound(format!("no device is at {place}"));
    let found = list()?.into_iter().find(|d| d.place == place).ok_or_else(absent)?;
    let text = |what: &str| format!("{what} {place}");
    let device = found.info.open().wait().map_err(|e| OpenError::Unreachable(text("opening"), e.into()))?;
    device.attach_kernel_driver(interface).map_err(|e| OpenError::Unreachable(text("attaching a driver at"), e.into()))
}

impl LocalDevice {
    fn from_nusb(info: DeviceInfo) -> Self {
        let ports: Vec<String> = info.port_chain().iter().map(u8::to_string).collect();
        let bus = system::bus(&info);
        let text = |text: Option<&str>| text.map(str::to_owned);
        Self {
            place: format!("{bus}-{}", ports.join(".")),
            bus,
            address: info.device_address(),
            vendor_id: info.vendor_id(),
            product_id: info.product_id(),
            manufacturer: text(info.manufacturer_string()),
            product: text(info.product_string()),
            serial_number: text(info.serial_number()),
            speed: speed(info.speed()),
            info,
        }
    }

    /// What the device said of itself when it was plugged in. Nothing is opened, so nobody is refused.
    ///
    /// # Errors
    /// [`OpenError::NotFound`] when it has gone, [`OpenError::Protocol`] when its descriptors make no sense.
    pub fn descriptors(&self) -> Result<Descriptors, OpenError> {
        let gone = |e| OpenError::Unreachable(format!("the descriptors of {}", self.place), e);
        let raw = system::descriptors(self).map_err(gone)?;
        let (device, rest) = raw.split_at_checked(DEVICE_DESCRIPTOR).unwrap_or((&raw, &[]));
        let configuration = active(rest, system::active_configuration(self));
        let mut parsed = Descriptors::parse(device, configuration, self.speed)?;
        parsed.manufacturer = self.manufacturer.clone();
        parsed.product = self.product.clone();
        parsed.serial_number = self.serial_number.clone();
        Ok(parsed)
    }
}

/// Of configuration descriptors in a row, each with all that belongs to it, the one with this bConfigurationValue, or
/// the first: USB 2.0, 9.6.3.
fn active(mut rest: &[u8], value: Option<u8>) -> &[u8] {
    let first = configuration_length(rest);
    let start = rest;
    while let Some(length) = configuration_length(rest) {
        if value == rest.get(5).copied() {
            return &rest[..length];
        }
        rest = &rest[length..];
    }
    &start[..first.unwrap_or(start.len())]
}

/// wTotalLength of the configuration that begins here, as far as it is there.
fn configuration_length(rest: &[u8]) -> Option<usize> {
    let total = u16::from_le_bytes([*rest.get(2)?, *rest.get(3)?]);
    (total > 0).then(|| usize::from(total).min(rest.len()))
}

pub(super) fn speed(speed: Option<nusb::Speed>) -> Speed {
    match speed {
        Some(nusb::Speed::Low) => Speed::Low,
        Some(nusb::Speed::Full) => Speed::Full,
        Some(nusb::Speed::High) => Speed::High,
        Some(nusb::Speed::Super) => Speed::Super,
        Some(nusb::Speed::SuperPlus) => Speed::SuperPlus,
        _ => Speed::Unknown,
    }
}

/// Bytes: USB 2.0, table 9-8.
const DEVICE_DESCRIPTOR: usize = 18;

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(value: u8, length: u8) -> Vec<u8> {
        let mut raw = vec![0; length.into()];
        raw[..6].copy_from_slice(&[9, 2, length, 0, 1, value]);
        raw
    }

    #[test]
    fn the_active_configuration_is_found_among_several() {
        let raw = [configuration(1, 9), configuration(2, 18), configuration(3, 9)].concat();
        assert_eq!(active(&raw, Some(2)), configuration(2, 18));
        assert_eq!(active(&raw, Some(3)), configuration(3, 9));
        assert_eq!(active(&raw, None), configuration(1, 9));
        assert_eq!(active(&raw, Some(7)), configuration(1, 9));
    }

    #[test]
    fn lengths_that_lie_are_cut_to_what_is_there() {
        assert_eq!(active(&[9, 2, 0, 0, 1, 1], Some(2)), [9, 2, 0, 0, 1, 1]);
        assert_eq!(active(&[9, 2, 200, 0, 1, 1], Some(1)), [9, 2, 200, 0, 1, 1]);
        assert_eq!(active(&[9], Some(1)), [9]);
    }
}
