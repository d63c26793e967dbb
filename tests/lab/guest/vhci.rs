//! Many devices of a USB/IP server attached at once, each to a controller of its own as far as there are any: a kernel
//! enumerates what is at one hub one by one, and some devices take it half a minute. Refuses to leave one attached.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::path::Path;

use usbip_wire::{DEVICE_RECORD_LEN, DeviceRecord, OP_HEADER_LEN, OpCode, OpHeader, Speed, encode_busid};

use crate::common::Bus;

/// Where the first controller is, which attaches and detaches for all.
const VHCI: &str = "/sys/devices/platform/vhci_hcd.0";
/// In the status: a port with nothing attached.
const FREE: &str = "004";

/// A port while a device is attached to it.
pub struct AttachedPort(u32);

impl AttachedPort {
    /// Attaches a device to a free port of the controller with this number, counted over and over.
    pub(super) fn attach(bus: &Bus, name: &str, controller: usize) -> Self {
        let (stream, record) = import(bus.port, bus.busid(name));
        let port = free_port(controller, record.speed);
        let line = format!("{port} {} {} {}", stream.as_raw_fd(), record.devid(), record.speed.to_wire());
        write("attach", &line);
        Self(port)
    }

    /// Where on the bus the device is, such as `8-1`, from when the kernel begins to look at it.
    pub fn busid(&self) -> Option<String> {
        let rows = (0..).map_while(|n| status(n).ok());
        let ours =
            rows.flat_map(|text| text.lines().filter_map(Row::of).collect::<Vec<_>>()).find(|r| r.port == self.0);
        ours.filter(|row| row.state != FREE && row.busid != "0-0").map(|row| row.busid)
    }
}

impl Drop for AttachedPort {
    fn drop(&mut self) {
        write("detach", &self.0.to_string());
    }
}

/// The connection to a device, whose socket the kernel takes over, and what the server says of it.
fn import(port: u16, busid: &str) -> (TcpStream, DeviceRecord) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request = OpHeader { code: OpCode::ReqImport, status: 0 }.encode();
    stream.write_all(&[&request[..], &encode_busid(busid)].concat()).unwrap();
    let mut header = [0; OP_HEADER_LEN];
    stream.read_exact(&mut header).unwrap();
    let header = OpHeader::decode(&header).unwrap();
    assert_eq!((header.code, header.status), (OpCode::RepImport, 0), "importing {busid}");
    let mut record = [0; DEVICE_RECORD_LEN];
    stream.read_exact(&mut record).unwrap();
    (stream, DeviceRecord::decode(&record))
}

fn free_port(controller: usize, speed: Speed) -> u32 {
    let hub = if matches!(speed, Speed::Super | Speed::SuperPlus) { "ss" } else { "hs" };
    let controllers = (0..).map_while(|n| status(n).ok()).count();
    let text = status(controller % controllers).unwrap();
    let free = text.lines().filter_map(Row::of).find(|row| row.hub == hub && row.state == FREE);
    free.unwrap_or_else(|| panic!("controller {controller} has no free {hub} port:\n{text}")).port
}

/// A port in the status of a controller.
struct Row {
    hub: String,
    port: u32,
    state: String,
    busid: String,
}

impl Row {
    fn of(line: &str) -> Option<Self> {
        let [hub, port, state, _, _, _, busid] = line.split_whitespace().collect::<Vec<_>>().try_into().ok()?;
        Some(Self { hub: hub.into(), port: port.parse().ok()?, state: state.into(), busid: busid.into() })
    }
}

/// The ports of a controller, one a line.
fn status(controller: usize) -> std::io::Result<String> {
    let name = if controller == 0 { "status".to_owned() } else { format!("status.{controller}") };
    fs::read_to_string(Path::new(VHCI).join(name))
}

fn write(attribute: &str, value: &str) {
    fs::write(Path::new(VHCI).join(attribute), value).unwrap_or_else(|e| panic!("{attribute} {value}: {e}"));
}
