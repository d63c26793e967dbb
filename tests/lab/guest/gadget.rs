//! Devices that the kernel itself plays, by configfs and dummy_hcd. Plugging in and out is what a cable does, as the
//! host side sees it. Refuses to leave anything behind: a dropped gadget is unplugged and unmade.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::id;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};

use super::sysfs::UsbDevice;

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

    /// Gadget zero's source and sink with pattern 1: n mod 63, counted from the start of each packet. The sink halts
    /// on a wrong byte.
    pub fn source_sink() -> Self {
        Self::new("SourceSink.0").with("pattern", "1").with("bulk_buflen", "65536").with("bulk_qlen", "8")
    }

    /// Bulk OUT comes back on bulk IN.
    pub fn loopback() -> Self {
        Self::new("Loopback.0").with("bulk_buflen", "65536").with("qlen", "8")
    }

    /// A CDC ACM port; its far end is `/dev/ttyGS0`.
    pub fn acm() -> Self {
        Self::new("acm.0")
    }

    /// A vendor-defined HID device with reports of this many bytes each way; its far end is `/dev/hidg0`.
    pub fn hid(report: u8) -> Self {
        let descriptor = [
            0x06, 0x00, 0xff, 0x09, 0x01, 0xa1, 0x01, 0x15, 0x00, 0x26, 0xff, 0x00, 0x75, 0x08, 0x95, report, 0x09,
            0x02, 0x81, 0x02, 0x09, 0x03, 0x91, 0x02, 0xc0,
        ];
        Self::new("hid.0")
            .with("protocol", "0")
            .with("subclass", "0")
            .with("report_length", report.to_string())
            .with("report_desc", descriptor)
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
        let gadget = Self { dir, controller: take_controller(), functions: functions.iter().map(|f| f.name).collect() };
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

    /// Reads an attribute of the gadget.
    pub fn read(&self, attribute: &str) -> String {
        let path = self.dir.join(attribute);
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).trim().to_owned()
    }

    /// Plugs it in and waits until the kernel has enumerated it. What was at its controller before, in this story or in
    /// the last one, has gone by then: the kernel removes what was pulled out a moment later.
    pub fn plug(&self) -> UsbDevice {
        let controller = format!("dummy_hcd.{}", self.controller);
        UsbDevice::wait_none_below(&controller);
        self.plug_unawaited();
        UsbDevice::wait_below(&controller)
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
        TAKEN.fetch_and(!(1 << self.controller), Relaxed);
    }
}

/// Which of the four dummy controllers have a gadget, a bit each.
static TAKEN: AtomicU8 = AtomicU8::new(0);

fn take_controller() -> usize {
    let number = TAKEN.load(Relaxed).trailing_ones();
    assert!(number < 4, "the guest has four device controllers, and all have a gadget");
    TAKEN.fetch_or(1 << number, Relaxed);
    number as usize
}
