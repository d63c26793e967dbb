//! USB devices as the guest's kernel lists them in sysfs. Refuses to change anything but which driver has an interface.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::must;
use crate::common::wait_for;

const DEVICES: &str = "/sys/bus/usb/devices";

/// A device that the kernel has enumerated and configured.
#[derive(Debug, Clone)]
pub struct UsbDevice {
    /// Its place: bus, and ports down from the root hub, such as `4-1`.
    pub busid: String,
}

impl UsbDevice {
    /// Waits until a device has these ids (`vvvv:pppp`).
    pub fn wait(ids: &str) -> Self {
        wait_for(
            || Self::all().into_iter().find(|d| d.ids() == ids),
            || format!("{ids} is not among {:?}", Self::all()),
        )
    }

    /// Waits until none has.
    pub fn wait_gone(ids: &str) {
        wait_for(|| Self::all().iter().all(|d| d.ids() != ids).then_some(()), || format!("{ids} stays"));
    }

    /// Waits for the device on the first port below a host controller, such as `dummy_hcd.0`.
    pub fn wait_below(controller: &str) -> Self {
        let find = || Self::all().into_iter().find(|d| d.is_below(controller));
        wait_for(find, || format!("nothing at {controller} among {:?}", Self::all()))
    }

    /// Waits until there is none.
    pub fn wait_none_below(controller: &str) {
        let none = || (!Self::all().iter().any(|d| d.is_below(controller))).then_some(());
        wait_for(none, || format!("something stays at {controller} among {:?}", Self::all()));
    }

    fn is_below(&self, controller: &str) -> bool {
        fs::canonicalize(self.dir()).is_ok_and(|p| p.components().any(|c| c.as_os_str() == controller))
    }

    /// All that are configured, without root hubs.
    pub fn all() -> Vec<Self> {
        let names = fs::read_dir(DEVICES).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let devices = names.filter(|n| n.contains('-') && !n.contains(':')).map(|busid| Self { busid });
        devices.filter(|d| d.attribute("bConfigurationValue").is_some_and(|v| !v.is_empty())).collect()
    }

    pub fn dir(&self) -> PathBuf {
        Path::new(DEVICES).join(&self.busid)
    }

    /// A file of the device's folder, trimmed; nothing if the device has gone.
    pub fn attribute(&self, name: &str) -> Option<String> {
        Some(fs::read_to_string(self.dir().join(name)).ok()?.trim().to_owned())
    }

    /// `vvvv:pppp`.
    pub fn ids(&self) -> String {
        format!(
            "{}:{}",
            self.attribute("idVendor").unwrap_or_default(),
            self.attribute("idProduct").unwrap_or_default()
        )
    }

    /// The character device of usbfs.
    pub fn node(&self) -> PathBuf {
        let number = |name| self.attribute(name).unwrap().parse::<u32>().unwrap();
        format!("/dev/bus/usb/{:03}/{:03}", number("busnum"), number("devnum")).into()
    }

    /// The serial port that the kernel has made of interface 0, once udev is done with it.
    pub fn port(&self) -> PathBuf {
        let interface = self.dir().join(format!("{}:1.0", self.busid));
        let port = || {
            // cdc_acm has a folder of ports there, drivers of usb-serial have the ports themselves.
            let folders = [interface.join("tty"), interface.clone()];
            let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
            let name = entries.map(|e| e.file_name()).find(|n| n.len() > 3 && n.as_bytes().starts_with(b"tty"))?;
            Some(Path::new("/dev").join(name)).filter(|node| node.exists())
        };
        let port = wait_for(port, || format!("{} has no serial port", self.busid));
        must(&["udevadm", "settle"]);
        port
    }

    /// The names of the first interface's outlets, IN and OUT, for a device with one endpoint each way.
    pub fn pair(&self) -> (String, String) {
        (self.endpoint(0, true), self.endpoint(0, false))
    }

    /// The outlet of the one endpoint of a direction that an interface has.
    pub fn endpoint(&self, interface: u8, is_in: bool) -> String {
        let dir = self.dir().join(format!("{}:1.{interface}", self.busid));
        let entries = fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).filter(|n| n.starts_with("ep_"));
        let names: Vec<String> = names.filter(|n| (n.as_str() >= "ep_80") == is_in).collect();
        assert_eq!(names.len(), 1, "{names:?}");
        names.concat()
    }

    /// Waits until a driver has an interface: that of a new device is loaded behind its back.
    pub fn wait_driver(&self, interface: u8, name: &str) {
        let has = || (self.driver(interface)? == name).then_some(());
        wait_for(has, || format!("{self:?} has the driver {:?}, not {name}", self.driver(interface)));
    }

    /// The driver that has an interface of the first configuration.
    pub fn driver(&self, interface: u8) -> Option<String> {
        let link = self.dir().join(format!("{}:1.{interface}", self.busid)).join("driver");
        Some(fs::read_link(link).ok()?.file_name()?.to_str()?.to_owned())
    }
}
