//! What the host learns of a device by enumerating it.
//!
//! One job: reset, address, read descriptors, configure, as a host does with a device that was just plugged in
//! (USB 2.0 section 9.1.2). It refuses to trust the descriptors' lengths.

use std::time::Instant;

use usbip_wire::{DeviceRecord, InterfaceRecord, Speed};

use crate::function::{Control, Function, Setup};

/// A configured device, by its descriptors.
pub(crate) struct Info {
    speed: Speed,
    device: Vec<u8>,
    configuration_value: u8,
    /// Alternate setting 0 of every interface.
    pub(crate) interfaces: Vec<InterfaceRecord>,
    pub(crate) endpoints: Vec<Endpoint>,
}

/// An endpoint descriptor and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) address: u8,
    pub(crate) isochronous: bool,
    /// Bytes that it moves in a (micro)frame, at most, and at least 1.
    pub(crate) max_packet: usize,
    /// Bytes of one packet as they stand in wMaxPacketSize.
    pub(crate) wire_packet: usize,
    pub(crate) interface: u8,
    pub(crate) alt: u8,
}

impl Info {
    /// Enumerates the device and leaves it in configuration 1.
    pub(crate) fn enumerate(function: &mut dyn Function, now: Instant) -> Self {
        function.bus_reset(now);
        request(function, 0x00, SET_ADDRESS, 1, 0, now);
        let device = request(function, 0x80, GET_DESCRIPTOR, 0x0100, 18, now);
        let head = request(function, 0x80, GET_DESCRIPTOR, 0x0200, CONFIGURATION_HEAD, now);
        let total = u16::from_le_bytes([2, 3].map(|at| head.get(at).copied().unwrap_or(0)));
        let configuration = request(function, 0x80, GET_DESCRIPTOR, 0x0200, total, now);
        let configuration_value = head.get(5).copied().unwrap_or(1);
        request(function, 0x00, SET_CONFIGURATION, configuration_value.into(), 0, now);
        Self {
            speed: function.speed(),
            device,
            configuration_value,
            interfaces: interfaces_of(&configuration),
            endpoints: endpoints_of(&configuration),
        }
    }

    /// Selects the configuration, as the host's kernel does before anyone else sees the device.
    pub(crate) fn configure(&self, function: &mut dyn Function, now: Instant) {
        request(function, 0x00, SET_CONFIGURATION, self.configuration_value.into(), 0, now);
    }

    /// The record of the device list, for the device behind port `devnum` of bus 1.
    pub(crate) fn record(&self, busid: &str, devnum: u32) -> DeviceRecord {
        let byte = |at: usize| self.device.get(at).copied().unwrap_or(0);
        let word = |at: usize| u16::from_le_bytes([byte(at), byte(at + 1)]);
        DeviceRecord {
            path: format!("/sys/devices/platform/firmware-mock/usb1/{busid}"),
            busid: busid.to_owned(),
            busnum: 1,
            devnum,
            speed: self.speed,
            vendor_id: word(8),
            product_id: word(10),
            device_version: word(12),
            class: byte(4),
            subclass: byte(5),
            protocol: byte(6),
            configuration_value: self.configuration_value,
            num_configurations: byte(17),
            // As many as follow in the device list, whatever bNumInterfaces says.
            num_interfaces: self.interfaces.len() as u8,
        }
    }
}

/// The descriptors of a configuration, up to the first that cannot be one.
fn descriptors(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = usize::from(*rest.first()?);
        if length < 2 || length > rest.len() {
            return None;
        }
        let (descriptor, after) = rest.split_at(length);
        rest = after;
        Some(descriptor)
    })
}

/// Number and alternate setting of every interface descriptor.
pub(crate) fn settings_of(configuration: &[u8]) -> Vec<(u8, u8)> {
    let setting = |descriptor: &[u8]| match *descriptor {
        [_, INTERFACE, number, alt, ..] => Some((number, alt)),
        _ => None,
    };
    descriptors(configuration).filter_map(setting).collect()
}

/// The classes of the interfaces, each interface once.
fn interfaces_of(configuration: &[u8]) -> Vec<InterfaceRecord> {
    let (mut known, mut interfaces) = (Vec::new(), Vec::new());
    for descriptor in descriptors(configuration) {
        if let [_, INTERFACE, number, 0, _, class, subclass, protocol, ..] = *descriptor
            && !known.contains(&number)
            && known.len() < MOST_INTERFACES
        {
            known.push(number);
            interfaces.push(InterfaceRecord { class, subclass, protocol });
        }
    }
    interfaces
}

/// The endpoints of all settings.
pub(crate) fn endpoints_of(configuration: &[u8]) -> Vec<Endpoint> {
    let (mut interface, mut alt) = (0, 0);
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for descriptor in descriptors(configuration) {
        match *descriptor {
            [_, INTERFACE, number, setting, ..] => (interface, alt) = (number, setting),
            [_, ENDPOINT, address, attributes, low, high, ..] => {
                let size = u16::from_le_bytes([low, high]);
                let wire_packet = usize::from(size & 0x7ff);
                let packets = 1 + usize::from(size >> 11 & 3);
                let isochronous = attributes & 3 == 1;
                let max_packet = if isochronous { wire_packet * packets } else { wire_packet }.max(1);
                endpoints.push(Endpoint { address, isochronous, max_packet, wire_packet, interface, alt });
            }
            [_, COMPANION, _, _, low, high, ..] => {
                // wBytesPerInterval: USB 3.2 section 9.6.7.
                if let Some(endpoint) = endpoints.last_mut().filter(|endpoint| endpoint.isochronous) {
                    endpoint.max_packet = usize::from(u16::from_le_bytes([low, high])).max(1);
                }
            }
            _ => {}
        }
    }
    endpoints
}

fn request(
    function: &mut dyn Function,
    request_type: u8,
    request: u8,
    value: u16,
    length: u16,
    now: Instant,
) -> Vec<u8> {
    match function.control(Setup { request_type, request, value, index: 0, length }, &[], now) {
        Control::Done(mut data) => {
            data.truncate(length.into());
            data
        }
        Control::Stall | Control::Nak | Control::After(_) => Vec::new(),
    }
}

const SET_ADDRESS: u8 = 5;
const GET_DESCRIPTOR: u8 = 6;
const SET_CONFIGURATION: u8 = 9;
const INTERFACE: u8 = 4;
const ENDPOINT: u8 = 5;
const COMPANION: u8 = 0x30;
/// bNumInterfaces is a byte.
const MOST_INTERFACES: usize = 255;
/// Bytes of a configuration descriptor without what belongs to it.
const CONFIGURATION_HEAD: u16 = 9;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::direct::{Direct, Tone};

    #[test]
    fn the_tone_has_two_isochronous_endpoints_in_setting_1() {
        let info = Info::enumerate(&mut Direct::<Tone>::new(), Instant::now());
        let endpoint =
            |address| Endpoint { address, isochronous: true, max_packet: 192, wire_packet: 192, interface: 1, alt: 1 };
        assert_eq!(info.endpoints, [endpoint(0x83), endpoint(0x03)]);
        let record = info.record("1-5", 5);
        assert_eq!((record.vendor_id, record.product_id, record.num_interfaces), (0x1209, 0x0003, 2));
        assert_eq!(record.devid(), 0x0001_0005);
    }
}
