//! Devices that the kernel itself plays, by configfs and dummy_hcd. Plugging in and out is what a cable does, as the
//! host side sees it. Refuses to leave anything behind: a dropped gadget is unplugged and unmade.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::id;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::sysfs::UsbDevice;
use crate::common::wait_for;

const GADGETS: &str = "/sys/kernel/config/usb_gadget";

/// A function of a gadget: its kind and name in configfs, such as `SourceSink.0`, and its attributes.
pub struct Function {
    pub name: &'static str,
    pub attributes: Vec<(&'static str, Vec<u8>)>,
}

impl Function {
    pub fn new(name: &'static str) -> Self {
        Self { name, attributes: Vec::new() }
    }

    /// Sets an attribute, such as `pattern` of SourceSink.
    pub fn with(mut self, attribute: &'static str, value: impl AsRef<[u8]>) -> Self {
        self.attributes.push((attribute, value.as_ref().to_vec()));
        self
    }

    /// Gadget zero's source and sink with pattern 1: n mod 63, counted from the start of each packet.
    pub fn source_sink() -> Self {
        Self::new("SourceSink.0").with("pattern", "1")
    }

    /// Bulk OUT comes back on bulk IN.
    pub fn loopback() -> Self {
        Self::new("Loopback.0")
    }
}

/// A gadget with a device controller of its own.
pub struct Gadget {
    dir: PathBuf,
    controller: usize,
    functions: Vec<&'static str>,
}

impl Gadget {
    pub(super) fn make(ids: &str, functions: &[Function]) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Relaxed);
        let dir = Path::new(GADGETS).join(format!("g{}-{number}", id()));
        fs::create_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        let gadget = Self { dir, controller: free_controller(), functions: functions.iter().map(|f| f.name).collect() };
        gadget.describe(ids, &format!("LAB-{number}"));
        for function in functions {
            gadget.add(function);
        }
        gadget
    }

    fn describe(&self, ids: &str, serial: &str) {
        let (vendor, product) = ids.split_once(':').unwrap();
        self.write("idVendor", format!("0x{vendor}"));
        self.write("idProduct", format!("0x{product}"));
        fs::create_dir(self.dir.join("strings/0x409")).unwrap();
        self.write("strings/0x409/manufacturer", "usbpipe lab");
        self.write("strings/0x409/product", "gadget");
        self.write("strings/0x409/serialnumber", serial);
        fs::create_dir(self.dir.join("configs/c.1")).unwrap();
    }

    fn add(&self, function: &Function) {
        let dir = self.dir.join("functions").join(function.name);
        fs::create_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        for (attribute, value) in &function.attributes {
            self.write(&format!("functions/{}/{attribute}", function.name), value);
        }
        symlink(&dir, self.dir.join("configs/c.1").join(function.name)).unwrap();
    }

    /// Writes an attribute of the gadget, such as `strings/0x409/serialnumber`.
    pub fn write(&self, attribute: &str, value: impl AsRef<[u8]>) {
        let path = self.dir.join(attribute);
        fs::write(&path, value).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    /// Plugs it in and waits until the kernel has enumerated it.
    pub fn plug(&self) -> UsbDevice {
        self.plug_unawaited();
        UsbDevice::wait_below(&format!("dummy_hcd.{}", self.controller))
    }

    /// Plugs it in.
    pub fn plug_unawaited(&self) {
        self.write("UDC", format!("dummy_udc.{}", self.controller));
    }

    /// Pulls it out.
    pub fn unplug(&self) {
        self.write("UDC", "\n");
    }

    fn unmake(&self) -> std::io::Result<()> {
        if !fs::read_to_string(self.dir.join("UDC"))?.trim().is_empty() {
            fs::write(self.dir.join("UDC"), "\n")?;
        }
        for name in &self.functions {
            fs::remove_file(self.dir.join("configs/c.1").join(name))?;
            fs::remove_dir(self.dir.join("functions").join(name))?;
        }
        fs::remove_dir(self.dir.join("configs/c.1"))?;
        fs::remove_dir(self.dir.join("strings/0x409"))?;
        fs::remove_dir(&self.dir)
    }
}

impl Drop for Gadget {
    fn drop(&mut self) {
        if let Err(e) = self.unmake() {
            println!("{} could not be unmade: {e}", self.dir.display());
        }
    }
}

/// The first of the dummy controllers that no gadget has.
fn free_controller() -> usize {
    let taken = || -> Vec<String> {
        let gadgets = fs::read_dir(GADGETS).unwrap().flatten();
        gadgets.filter_map(|g| fs::read_to_string(g.path().join("UDC")).ok()).map(|u| u.trim().to_owned()).collect()
    };
    let free = || {
        let taken = taken();
        (0..4).find(|n| !taken.contains(&format!("dummy_udc.{n}")))
    };
    wait_for(free, || "no free device controller".into())
}
