//! Devices that the kernel knows and no driver takes. Refuses to take a driver from a device that has one.

use std::fs;
use std::path::Path;

use super::sysfs::UsbDevice;
use super::{must, run};

const BUS: &str = "/sys/bus/usb";

/// While this is there, drivers take nothing that is plugged in.
pub struct NoDrivers(());

impl NoDrivers {
    /// udevd loads no modules meanwhile: some drivers look for devices when they are loaded.
    pub(super) fn begin() -> Self {
        must(&["udevadm", "control", "--stop-exec-queue"]);
        autoprobe("0");
        Self(())
    }

    /// Configures a device, once the kernel has enumerated it: that is a driver's work, too, of the one for devices as a
    /// whole.
    pub fn configure(&self, busid: &str) -> Option<UsbDevice> {
        let device = UsbDevice { busid: busid.to_owned() };
        if device.dir().exists() && !device.dir().join("driver").exists() {
            fs::write(Path::new(BUS).join("drivers/usb/bind"), busid).ok()?;
        }
        Some(device).filter(|d| d.attribute("bConfigurationValue").is_some_and(|value| !value.is_empty()))
    }
}

impl Drop for NoDrivers {
    fn drop(&mut self) {
        autoprobe("1");
        run(&["udevadm", "control", "--start-exec-queue"]);
    }
}

fn autoprobe(value: &str) {
    fs::write(Path::new(BUS).join("drivers_autoprobe"), value).unwrap();
}
