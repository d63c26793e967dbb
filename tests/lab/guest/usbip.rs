//! The stock USB/IP tools: `usbipd` with exported devices, and `vhci-hcd`, to which devices of other servers are
//! attached. Refuses to leave a device bound or attached.

use std::fs;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use super::sysfs::UsbDevice;
use super::{must, run};
use crate::common::{kill, wait_child, wait_for};

/// `usbipd` on its port 3240.
pub struct UsbipServer(Child);

impl UsbipServer {
    pub(super) fn start() -> Self {
        let child = Command::new("/usr/sbin/usbipd").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Self(child);
        wait_for(|| TcpStream::connect("127.0.0.1:3240").ok(), || "usbipd does not listen".into());
        server
    }

    /// Takes a device from its drivers and exports it.
    pub fn export<'a>(&'a self, device: &'a UsbDevice) -> Exported<'a> {
        must(&["/usr/sbin/usbip", "bind", "-b", &device.busid]);
        Exported { device, _server: self }
    }
}

impl Drop for UsbipServer {
    fn drop(&mut self) {
        kill(self.0.id(), nix::sys::signal::Signal::SIGTERM);
        wait_child(&mut self.0);
    }
}

/// A device while it is exported.
pub struct Exported<'a> {
    device: &'a UsbDevice,
    _server: &'a UsbipServer,
}

impl Exported<'_> {
    /// `remote = "…"` for the configuration.
    pub fn remote(&self) -> String {
        format!("remote = \"usbip://127.0.0.1/{}\"\n", self.device.busid)
    }
}

impl Drop for Exported<'_> {
    fn drop(&mut self) {
        run(&["/usr/sbin/usbip", "unbind", "-b", &self.device.busid]);
    }
}

/// A device of a USB/IP server, attached as if it were hardware.
pub struct Attached {
    pub(super) port: VhciPort,
    pub device: UsbDevice,
}

/// A port of vhci-hcd while it has a device of a USB/IP server on a loopback port.
pub struct VhciPort(String);

impl VhciPort {
    pub(super) fn attach(port: u16, busid: &str) -> Self {
        must(&["/usr/sbin/usbip", "--tcp-port", &port.to_string(), "attach", "-r", "127.0.0.1", "-b", busid]);
        Self(wait_for(|| vhci_port(port, busid), || must(&["/usr/sbin/usbip", "port"])))
    }
}

impl Drop for VhciPort {
    fn drop(&mut self) {
        run(&["/usr/sbin/usbip", "detach", "-p", &self.0]);
    }
}

/// The port of vhci-hcd to which the tool says that it attached this device.
fn vhci_port(port: u16, busid: &str) -> Option<String> {
    let records = fs::read_dir("/run/vhci_hcd").ok()?.flatten();
    let ours = format!("127.0.0.1 {port} {busid}");
    let found = records.filter(|r| fs::read_to_string(r.path()).is_ok_and(|text| text.trim() == ours)).last()?;
    Some(found.file_name().to_str()?.trim_start_matches("port").to_owned())
}
