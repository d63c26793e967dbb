//! Devices where libusb has to find them itself: systems other than Linux.

use std::io;

use rusb::{Context, DeviceHandle, UsbContext};

use super::error::{cannot_open, went};
use crate::usb::OpenError;
use crate::usb::local::LocalDevice;

/// Nothing: libusb keeps what the handle needs.
pub(super) struct Node;

/// Opens the device with this address on this bus.
pub(super) fn open(found: &LocalDevice) -> Result<(DeviceHandle<Context>, Node), OpenError> {
    let (vid, pid, place) = (found.vendor_id, found.product_id, &found.place);
    let failed = |e: rusb::Error| match e {
        rusb::Error::Access => OpenError::Denied(format!("no permission to open {vid:04x}:{pid:04x} at {place}")),
        rusb::Error::NoDevice => went(found),
        rusb::Error::NotSupported => OpenError::Denied(format!(
            "{vid:04x}:{pid:04x} at {place} has no driver that lets programs use it; give it one, such as WinUSB"
        )),
        other => cannot_open(found, io::Error::other(other)),
    };
    let context = Context::new().map_err(failed)?;
    let devices = context.devices().map_err(failed)?;
    let is_it = |device: &rusb::Device<Context>| device.bus_number() == found.bus && device.address() == found.address;
    let handle = devices.iter().find(is_it).ok_or_else(|| went(found))?.open().map_err(failed)?;
    Ok((handle, Node))
}

/// libusb's own word is all there is.
pub(super) fn last_errno() -> Option<i32> {
    None
}
