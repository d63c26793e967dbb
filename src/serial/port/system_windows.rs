//! What Windows says of the USB devices behind ports. Opens no port.

use crate::usb::descriptors::Speed;
use crate::usb::local;

/// What is not in the list of ports.
pub(super) struct UsbDeviceInfo {
    /// bcdDevice.
    pub(super) version: u16,
    /// Signalling rate.
    pub(super) speed: Speed,
}

impl Default for UsbDeviceInfo {
    fn default() -> Self {
        Self { version: 0, speed: Speed::Unknown }
    }
}

/// The USB device at `place`, as far as it is known.
pub(super) fn usb_device(place: &str) -> UsbDeviceInfo {
    let found = local::list().unwrap_or_default().into_iter().find(|found| found.place == place);
    found.map_or_else(UsbDeviceInfo::default, |found| UsbDeviceInfo { version: 0, speed: found.speed })
}
