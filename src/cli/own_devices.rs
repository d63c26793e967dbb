//! What `list` shows of this machine's own USB: every device with its endpoints, drivers and where it is bridged.
//!
//! It opens no device.

use serde::Serialize;

use crate::serial::board_name;
use crate::session::DeviceStatus;
use crate::usb::descriptors::{AltSetting, Endpoint, TransferType};
use crate::usb::local::{self, LocalDevice};
use crate::usb::permission_advice;

/// One device that is plugged in.
#[derive(Serialize)]
pub(super) struct Device {
    id: String,
    /// What the ids say, of a known board.
    board: Option<String>,
    /// Its place on the bus, which is a selector.
    port: String,
    bus: u8,
    address: u8,
    manufacturer: Option<String>,
    product: Option<String>,
    serial: Option<String>,
    speed: String,
    /// The name under which the running daemon bridges it.
    bridged: Option<String>,
    /// What to do, where this user may not open it.
    refused: Option<String>,
    interfaces: Vec<Interface>,
    /// What is wrong with its descriptors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remarks: Vec<String>,
}

/// One alternate setting of an interface.
#[derive(Serialize)]
struct Interface {
    interface: u8,
    alt: u8,
    class: String,
    /// The kernel driver that holds it.
    driver: Option<String>,
    endpoints: Vec<Pipe>,
}

#[derive(Serialize)]
struct Pipe {
    endpoint: String,
    direction: &'static str,
    #[serde(rename = "type")]
    transfer_type: TransferType,
    max_packet_size: usize,
    /// How many of them in a microframe, of a high-bandwidth endpoint.
    packets_per_microframe: u8,
    interval: u8,
}

/// What is plugged in; a machine without USB has nothing.
pub(super) fn devices(bridged: &[DeviceStatus]) -> Vec<Device> {
    let devices = local::list().unwrap_or_default();
    devices.into_iter().map(|device| Device::new(device, bridged)).collect()
}

impl Device {
    fn new(found: LocalDevice, bridged: &[DeviceStatus]) -> Self {
        let descriptors = found.descriptors().ok();
        let configuration = descriptors.as_ref().map_or(0, |d| d.configuration_value);
        let (settings, remarks) = descriptors.map(|d| (d.alt_settings, d.remarks)).unwrap_or_default();
        let node = local::node(found.bus, found.address);
        let by = bridged.iter().find(|d| d.state == "attached" && d.place.as_deref() == Some(&found.place));
        let may_open = local::is_usable(&node);
        Self {
            id: format!("{:04x}:{:04x}", found.vendor_id, found.product_id),
            board: board_name(found.vendor_id, found.product_id),
            bus: found.bus,
            address: found.address,
            speed: found.speed.to_string(),
            bridged: by.map(|d| d.name.clone()),
            refused: (!may_open).then(|| permission_advice(found.vendor_id, found.product_id, &node)),
            interfaces: settings.iter().map(|s| Interface::new(s, &found.place, configuration)).collect(),
            remarks,
            manufacturer: found.manufacturer,
            product: found.product,
            serial: found.serial_number,
            port: found.place,
        }
    }

    /// For people: a line for the device, one for each endpoint, and what to do about it.
    pub(super) fn lines(&self) -> Vec<String> {
        let quoted = |text: &Option<String>| text.as_ref().map(|t| format!("{t:?}"));
        let bridged = self.bridged.as_ref().map(|name| format!("bridged as {name}"));
        let words = [
            Some(self.port.clone()),
            Some(self.id.clone()),
            self.board.clone(),
            quoted(&self.product),
            quoted(&self.serial),
            Some(format!("{} speed", self.speed)),
            bridged,
        ];
        let head = words.into_iter().flatten().collect::<Vec<_>>().join("  ");
        let refused = self.refused.as_ref().map(|advice| format!("  no permission: {advice}"));
        let remarks = self.remarks.iter().map(|remark| format!("  note: {remark}"));
        let interfaces = self.interfaces.iter().flat_map(Interface::lines);
        std::iter::once(head).chain(interfaces).chain(remarks).chain(refused).collect()
    }
}

impl Interface {
    fn new(setting: &AltSetting, place: &str, configuration: u8) -> Self {
        let AltSetting { interface, setting: alt, class, subclass, protocol, endpoints, .. } = setting;
        Self {
            interface: *interface,
            alt: *alt,
            class: format!("{class:02x}/{subclass:02x}/{protocol:02x}"),
            driver: local::driver(place, configuration, *interface),
            endpoints: endpoints.iter().map(Pipe::new).collect(),
        }
    }

    fn lines(&self) -> Vec<String> {
        let Self { interface, alt, class, .. } = self;
        let driver = self.driver.as_ref().map_or_else(String::new, |driver| format!("  driver {driver}"));
        let head = format!("  interface {interface} alt {alt}  class {class}{driver}");
        std::iter::once(head).chain(self.endpoints.iter().map(Pipe::line)).collect()
    }
}

impl Pipe {
    fn new(endpoint: &Endpoint) -> Self {
        Self {
            endpoint: format!("{:#04x}", endpoint.address),
            direction: if endpoint.is_in() { "in" } else { "out" },
            transfer_type: endpoint.transfer_type,
            max_packet_size: endpoint.max_packet_size,
            packets_per_microframe: endpoint.packets_per_microframe,
            interval: endpoint.interval,
        }
    }

    fn line(&self) -> String {
        let Self { endpoint, direction, transfer_type, max_packet_size, packets_per_microframe, .. } = self;
        let size = packet_size(*max_packet_size, *packets_per_microframe);
        format!("    {endpoint} {direction:<3} {transfer_type:<11} {size}")
    }
}

/// Bytes a packet, and where it is more than one packet, how many in a microframe.
pub(super) fn packet_size(bytes: usize, packets: u8) -> String {
    match packets {
        0 | 1 => format!("{bytes} bytes a packet"),
        several => format!("{bytes} x{several} bytes a packet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_a_microframe_are_shown_where_there_are_several() {
        let endpoint = |packets_per_microframe| Pipe {
            endpoint: "0x83".to_owned(),
            direction: "in",
            transfer_type: TransferType::Isochronous,
            max_packet_size: 1024,
            packets_per_microframe,
            interval: 1,
        };
        assert_eq!(endpoint(3).line(), "    0x83 in  isochronous 1024 x3 bytes a packet");
        assert_eq!(endpoint(1).line(), "    0x83 in  isochronous 1024 bytes a packet");
    }
}
