//! Devices on Windows, where libusb has to find them itself: by their ids and the ports on the way to them.

use std::io;

use rusb::{Context, DeviceHandle, UsbContext};

use super::error::{cannot_open, went};
use crate::usb::OpenError;
use crate::usb::local::LocalDevice;

/// Nothing: libusb keeps what the handle needs.
pub(super) struct Node;

/// Opens the device at this place. Buses have other numbers in libusb, ports have not.
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
    let chain = place.split_once('-').map_or("", |(_bus, ports)| ports);
    let is_it = |device: &rusb::Device<Context>| is_at(device, chain) && has_ids(device, vid, pid);
    let handle = devices.iter().find(is_it).ok_or_else(|| went(found))?.open().map_err(failed)?;
    Ok((handle, Node))
}

fn is_at(device: &rusb::Device<Context>, chain: &str) -> bool {
    let ports: Vec<String> = device.port_numbers().unwrap_or_default().iter().map(u8::to_string).collect();
    ports.join(".") == chain
}

fn has_ids(device: &rusb::Device<Context>, vid: u16, pid: u16) -> bool {
    device.device_descriptor().is_ok_and(|d| (d.vendor_id(), d.product_id()) == (vid, pid))
}

/// libusb's own word is all there is.
pub(super) fn last_errno() -> Option<i32> {
    None
}
