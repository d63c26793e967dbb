//! Finds and opens the device that a configuration means.
//!
//! It opens what is there now or says why it cannot; waiting and trying again are the keeper's.

mod own;
mod port;
mod remote;
mod taken;

use std::sync::Arc;

use crate::config::{Backend, DeviceConfig, Driver};
use crate::usb::descriptors::Descriptors;
use crate::usb::local::Hotplug;
use crate::usb::{OpenError, UsbDevice};
pub use own::fits;
pub use taken::Taken;

/// What keepers share of this machine's own devices.
#[derive(Clone, Default)]
pub struct Own {
    /// News of plugging.
    pub hotplug: Hotplug,
    /// Which devices have a keeper already.
    pub taken: Taken,
}

/// An opened device.
pub struct Found {
    /// The device itself.
    pub device: Arc<dyn UsbDevice>,
    /// How it is reached: the backend's name.
    pub backend: &'static str,
    /// Where it is, in the backend's terms.
    pub place: String,
    /// Where it is plugged in, if that is known: `1-1.4`.
    pub port: Option<String>,
    /// While they live, no other keeper finds the device.
    pub taken: Vec<taken::Mark>,
}

/// Opens the device that `config` means.
///
/// # Errors
/// [`OpenError`]; all of its kinds may pass by themselves.
pub async fn locate(config: &DeviceConfig, own: &Own) -> Result<Found, OpenError> {
    match &config.remote {
        Some(remote) => remote::locate(config, remote).await,
        None if uses_port(config) => port::locate(config, own).await,
        None => own::locate(config, own).await,
    }
}

/// Whether the operating system's serial port is the way to the device.
pub fn uses_port(config: &DeviceConfig) -> bool {
    match config.backend {
        Backend::Serial => true,
        Backend::Auto if config.matches.tty().is_some() => true,
        Backend::Auto => {
            let is_kernels = config.serial_lines().next().is_some_and(|(_, serial)| serial.driver == Driver::Kernel);
            is_kernels && config.pipes.is_empty()
        }
        Backend::Nusb | Backend::Libusb | Backend::Usbip => false,
    }
}

fn wrong_device(found: &Descriptors) -> OpenError {
    OpenError::NotFound(format!(
        "another device is there: {:04x}:{:04x}, product {:?}, serial {:?}",
        found.vendor_id, found.product_id, found.product, found.serial_number
    ))
}
