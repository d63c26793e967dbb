//! USB devices that QEMU simulates, plugged in and out by its monitor. Refuses to leave one plugged in.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::monitor::Monitor;
use super::sysfs::UsbDevice;
use super::{Guest, must};
use crate::common::{PATIENCE, wait_for};

/// The folder that QEMU runs in, as the guest sees it.
const SHARED: &str = "/run/lab";

/// A device while it is plugged in.
pub struct QemuDevice {
    pub device: UsbDevice,
    ids: String,
    parts: Parts,
}

impl QemuDevice {
    /// Plugs in what `parts` has by now, and waits until the kernel has enumerated it.
    fn of(parts: Parts, ids: &str) -> Self {
        Self { device: UsbDevice::wait(ids), ids: ids.to_owned(), parts }
    }
}

impl Drop for QemuDevice {
    fn drop(&mut self) {
        self.parts.remove();
        if !std::thread::panicking() {
            UsbDevice::wait_gone(&self.ids);
        }
    }
}

/// What was added to the machine for a device, and the commands that remove it again, the last one first.
struct Parts {
    monitor: Monitor,
    undo: Vec<(&'static str, Value)>,
}

impl Parts {
    fn new(guest: &Guest) -> Self {
        Self { monitor: guest.monitor(), undo: Vec::new() }
    }

    fn must(&mut self, command: &str, arguments: Value) {
        self.monitor.ask(command, arguments.clone()).unwrap_or_else(|e| panic!("{command} {arguments}: {e}"));
    }

    fn device(&mut self, id: &str, properties: Value) {
        self.must("device_add", properties);
        self.undo.push(("device_del", json!({ "id": id })));
    }

    fn chardev(&mut self, id: &str, server: bool, path: &str) {
        let mut data = json!({ "addr": { "type": "unix", "data": { "path": path } }, "server": server });
        if server {
            data["wait"] = json!(false);
        }
        self.must("chardev-add", json!({ "id": id, "backend": { "type": "socket", "data": data } }));
        self.undo.push(("chardev-remove", json!({ "id": id })));
    }

    /// Removes all of it. What is in use until the guest has let go of it is asked for again; if that never ends, the
    /// next command that adds it fails.
    fn remove(&mut self) {
        while let Some((command, arguments)) = self.undo.pop() {
            let deadline = Instant::now() + PATIENCE;
            while !self.is_removed(command, &arguments) && Instant::now() < deadline {
                sleep(Duration::from_millis(10));
            }
        }
    }

    fn is_removed(&mut self, command: &str, arguments: &Value) -> bool {
        match self.monitor.ask(command, arguments.clone()) {
            Ok(_) => true,
            Err(refusal) => refusal["class"] == "DeviceNotFound",
        }
    }
}

impl Guest {
    /// A disk of these bytes, 46f4:0001, high speed: SCSI behind the bulk-only transport.
    pub fn qemu_disk(&self, image: &[u8]) -> (QemuDevice, PathBuf) {
        let path = Path::new(SHARED).join("disk.img");
        fs::write(&path, image).unwrap();
        let mut parts = Parts::new(self);
        let file = json!({ "driver": "file", "filename": "disk.img" });
        parts.must("blockdev-add", json!({ "node-name": "disk", "driver": "raw", "file": file }));
        parts.undo.push(("blockdev-del", json!({ "node-name": "disk" })));
        parts.device("disk", json!({ "driver": "usb-storage", "id": "disk", "drive": "disk", "bus": "ehci.0" }));
        (QemuDevice::of(parts, "46f4:0001"), path)
    }

    /// Files for a camera's protocol (MTP), 46f4:0004, high speed. The folder's name is taken as the storage's.
    pub fn qemu_files(&self, files: &[(&str, &[u8])]) -> QemuDevice {
        let folder = Path::new(SHARED).join("mtp");
        fs::create_dir_all(&folder).unwrap();
        for (name, content) in files {
            fs::write(folder.join(name), content).unwrap();
        }
        let mut parts = Parts::new(self);
        // QEMU wants a whole path, on its side.
        let root = must(&["bash", "-c", ". /run/lab/settings && printf %s \"$share/mtp\""]);
        let properties = json!({ "driver": "usb-mtp", "id": "mtp", "rootdir": root, "bus": "ehci.0" });
        parts.device("mtp", properties);
        QemuDevice::of(parts, "46f4:0004")
    }

    /// A smart card reader, 08e6:4433, full speed, and the card's side of it: a port that speaks libcacard's protocol.
    /// The reader is plugged in once that side has said so.
    pub fn qemu_card_reader(&self, begin: impl FnOnce(&File)) -> (QemuDevice, File) {
        let mut parts = Parts::new(self);
        parts.chardev("card", true, "card");
        parts.chardev("card-port", false, "card");
        let port = json!({ "driver": "virtserialport", "id": "card-port", "chardev": "card-port", "name": "card" });
        parts.device("card-port", port);
        parts.device("ccid", json!({ "driver": "usb-ccid", "id": "ccid", "bus": "xhci.0" }));
        parts.device("ccid-card", json!({ "driver": "ccid-card-passthru", "id": "ccid-card", "chardev": "card" }));
        let open = || OpenOptions::new().read(true).write(true).open("/dev/virtio-ports/card").ok();
        let card = wait_for(open, || "the port for the card does not come".to_owned());
        begin(&card);
        (QemuDevice::of(parts, "08e6:4433"), card)
    }
}
