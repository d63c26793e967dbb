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
    num_interfaces: u8,
    /// Alternate setting 0 of every interface.
    pub(crate) interfaces: Vec<InterfaceRecord>,
    pub(crate) endpoints: Vec<Endpoint>,
}

/// An endpoint descriptor and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) address: u8,
    pub(crate) isochronous: bool,
    pub(crate) max_packet: usize,
    pub(crate) interface: u8,
    pub(crate) alt: u8,
}

impl Info {
    /// Enumerates the device and leaves it in configuration 1.
    pub(crate) fn enumerate(function: &mut dyn Function, now: Instant) -> Self {
        function.bus_reset(now);
        request(function, 0x00, SET_ADDRESS, 1, 0, now);
        let device = request(function, 0x80, GET_DESCRIPTOR, 0x0100, 18, now);
        let configuration = request(function, 0x80, GET_DESCRIPTOR, 0x0200, u16::MAX, now);
        configure(function, now);
        let mut info = Self {
            speed: function.speed(),
            device,
            num_interfaces: configuration.get(4).copied().unwrap_or(0),
            interfaces: Vec::new(),
            endpoints: Vec::new(),
        };
        info.read_configuration(&configuration);
        info
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
            configuration_value: 1,
            num_configurations: byte(17),
            num_interfaces: self.num_interfaces,
        }
    }

    fn read_configuration(&mut self, mut rest: &[u8]) {
        let (mut interface, mut alt) = (0, 0);
        while let Some(&length) = rest.first()
            && (2..=rest.len()).contains(&length.into())
        {
            let (descriptor, after) = rest.split_at(length.into());
            rest = after;
            match *descriptor {
                [_, INTERFACE, number, setting, _, class, subclass, protocol, ..] => {
                    (interface, alt) = (number, setting);
                    if alt == 0 {
                        self.interfaces.push(InterfaceRecord { class, subclass, protocol });
                    }
                }
                [_, ENDPOINT, address, attributes, low, high, ..] => self.endpoints.push(Endpoint {
                    address,
                    isochronous: attributes & 3 == 1,
                    max_packet: usize::from(u16::from_le_bytes([low, high]) & 0x7ff).max(1),
                    interface,
                    alt,
                }),
                _ => {}
            }
        }
    }
}

/// Selects configuration 1, as the host's kernel does before anyone else sees the device.
pub(crate) fn configure(function: &mut dyn Function, now: Instant) {
    request(function, 0x00, SET_CONFIGURATION, 1, 0, now);
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
        Control::Stall | Control::After(_) => Vec::new(),
    }
}

const SET_ADDRESS: u8 = 5;
const GET_DESCRIPTOR: u8 = 6;
const SET_CONFIGURATION: u8 = 9;
const INTERFACE: u8 = 4;
const ENDPOINT: u8 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::direct::{Direct, Tone};

    #[test]
    fn the_tone_has_two_isochronous_endpoints_in_setting_1() {
        let info = Info::enumerate(&mut Direct::<Tone>::new(), Instant::now());
        let endpoint = |address| Endpoint { address, isochronous: true, max_packet: 192, interface: 1, alt: 1 };
        assert_eq!(info.endpoints, [endpoint(0x83), endpoint(0x03)]);
        let record = info.record("1-5", 5);
        assert_eq!((record.vendor_id, record.product_id, record.num_interfaces), (0x1209, 0x0003, 2));
        assert_eq!(record.devid(), 0x0001_0005);
    }
}
