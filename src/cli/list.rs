//! `list`: what is there, and where it is bridged.

use std::path::PathBuf;

use serde::Serialize;

use super::args::ListArgs;
use super::own_devices as own;
use super::own_ports;
use super::status::{ask, headline, print_line};
use super::{Failure, Outcome, run_dir};
use crate::log_writer;
use crate::printable;
use crate::selector::{Remote, SelectorError};
use crate::serial::board_name;
use crate::session::DeviceStatus;
use crate::usb::usbip::{self, Exported};

#[derive(Serialize)]
struct Listing {
    /// Devices of the running daemon.
    bridged: Vec<DeviceStatus>,
    /// Devices on this machine's own USB.
    local: Vec<own::Device>,
    /// Serial ports of this machine.
    ports: Vec<own_ports::Port>,
    /// Devices that the USB/IP server exports.
    remote: Vec<RemoteDevice>,
}

#[derive(Serialize)]
struct RemoteDevice {
    id: String,
    /// What the ids say, of a known board.
    board: Option<String>,
    selector: String,
    interfaces: Vec<String>,
}

/// `usbpipe list`.
pub(super) async fn list(dir: Option<PathBuf>, args: ListArgs) -> Outcome {
    let remote = match &args.remote {
        None => Vec::new(),
        Some(text) => {
            let remote = server(text).map_err(Failure::usage)?;
            let mut exported = usbip::list(&remote).await.map_err(Failure::run_time)?;
            if let Some(busid) = &remote.busid {
                let there: Vec<String> = exported.iter().map(|e| e.device.busid.escape_debug().to_string()).collect();
                exported.retain(|e| e.device.busid == *busid);
                if exported.is_empty() {
                    let text = format!("{remote} is not exported; the server has {}", listed(&there));
                    return Err(Failure::run_time(text));
                }
            }
            exported.iter().map(|e| remote_device(e, &remote)).collect()
        }
    };
    // Without a daemon nothing is bridged, which is no error here.
    let bridged = match run_dir(dir) {
        Ok(dir) => ask(&dir).await.unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    let local = own::devices(&bridged);
    let ports = own_ports::ports(&bridged);
    let listing = Listing { bridged, local, ports, remote };
    if args.json {
        let text = printable::pretty_json(&listing).map_err(Failure::run_time)?;
        return print_line(&text).map(|()| 0);
    }
    show(&listing)
}

/// A server as it is typed: `host`, `host:port`, or as in a selector `usbip://host:port`, with or without a bus id.
fn server(text: &str) -> Result<Remote, SelectorError> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("usbip://{text}") };
    whole.parse()
}

fn listed(busids: &[String]) -> String {
    if busids.is_empty() { "no device".to_owned() } else { busids.join(", ") }
}

fn show(listing: &Listing) -> Outcome {
    for device in &listing.bridged {
        print_line(&headline(device))?;
        for pipe in &device.pipes {
            let kind = pipe.transfer_type.as_deref().unwrap_or("-");
            let size =
                pipe.max_packet_size.map_or_else(String::new, |n| own::packet_size(n, pipe.packets_per_microframe));
            let (endpoint, direction, path) = (&pipe.endpoint, &pipe.direction, &pipe.path);
            print_line(&format!("  {endpoint} {direction:<3} {kind:<11} {size:<24} {path}"))?;
        }
    }
    let devices = listing.local.iter().flat_map(own::Device::lines);
    for line in devices.chain(listing.ports.iter().flat_map(own_ports::Port::lines)) {
        print_line(&line)?;
    }
    for d in &listing.remote {
        let board = d.board.as_ref().map_or_else(String::new, |name| format!("  {name}"));
        print_line(&format!("{}  {}{board}  {}", d.selector.escape_debug(), d.id, d.interfaces.join(" ")))?;
    }
    let Listing { bridged, local, ports, remote } = listing;
    if bridged.is_empty() && local.is_empty() && ports.is_empty() && remote.is_empty() {
        log_writer::print(
            "usbpipe: no daemon runs here, and no USB device and no serial port is there; try `usbpipe demo`",
        );
    }
    Ok(0)
}

fn remote_device(exported: &Exported, remote: &Remote) -> RemoteDevice {
    let d = &exported.device;
    let class = |i: &usbip_wire::InterfaceRecord| format!("{:02x}/{:02x}/{:02x}", i.class, i.subclass, i.protocol);
    RemoteDevice {
        board: board_name(d.vendor_id, d.product_id),
        id: format!("{:04x}:{:04x}", d.vendor_id, d.product_id),
        selector: Remote { busid: Some(d.busid.clone()), ..remote.clone() }.to_string(),
        interfaces: exported.interfaces.iter().map(class).collect(),
    }
}
