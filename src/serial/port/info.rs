//! What is known of a port without opening it, and the descriptors it is given.

use std::fmt;
use std::path::PathBuf;

use crate::usb::descriptors::{AltSetting, Descriptors, Endpoint, Speed, TransferType};

use super::system;

/// A serial port of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortInfo {
    /// What to open: `/dev/ttyACM0`, or a link to it.
    pub path: PathBuf,
    /// The USB device behind it, if there is one.
    pub usb: Option<UsbPort>,
}

/// The USB device behind a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsbPort {
    /// idVendor.
    pub vid: u16,
    /// idProduct.
    pub pid: u16,
    /// iSerialNumber as text.
    pub serial: Option<String>,
    /// iManufacturer as text.
    pub manufacturer: Option<String>,
    /// iProduct as text.
    pub product: Option<String>,
    /// bInterfaceNumber of the interface that the port's driver holds.
    pub interface: Option<u8>,
    /// Place on the bus: `1-1.4`.
    pub place: Option<String>,
}

impl PortInfo {
    /// The port at `path`, with what the list of ports says of it. It need not be there.
    pub fn of(path: PathBuf) -> Self {
        let node = system::listed(&path);
        let usb = super::list().into_iter().find(|port| port.path == node).and_then(|port| port.usb);
        Self { path, usb }
    }

    /// One CDC ACM function: a communication interface, numbered as the real one, and a data interface after it.
    pub(super) fn descriptors(&self) -> Descriptors {
        let usb = self.usb.as_ref();
        let device = usb.and_then(|usb| usb.place.as_deref()).map(system::usb_device).unwrap_or_default();
        let control = self.control_interface();
        let interface = |interface, class, subclass, endpoints| AltSetting {
            interface,
            setting: 0,
            class,
            subclass,
            protocol: 0,
            endpoints,
            union: None,
        };
        Descriptors {
            vendor_id: usb.map_or(0, |usb| usb.vid),
            product_id: usb.map_or(0, |usb| usb.pid),
            device_version: device.version,
            class: CLASS_COMMUNICATION,
            speed: device.speed,
            manufacturer: usb.and_then(|usb| usb.manufacturer.clone()),
            product: usb.and_then(|usb| usb.product.clone()),
            serial_number: usb.and_then(|usb| usb.serial.clone()),
            configuration_value: 1,
            alt_settings: vec![
                interface(control, CLASS_COMMUNICATION, SUBCLASS_ACM, Vec::new()),
                interface(control + 1, CLASS_DATA, 0, vec![bulk(BULK_IN), bulk(BULK_OUT)]),
            ],
            remarks: Vec::new(),
            associations: Vec::new(),
        }
    }

    /// The number of the interface that takes the class requests.
    pub(super) fn control_interface(&self) -> u8 {
        self.usb.as_ref().and_then(|usb| usb.interface).filter(|&number| number < u8::MAX).unwrap_or(0)
    }
}

impl fmt::Display for PortInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        let Some(usb) = &self.usb else { return Ok(()) };
        write!(f, " ({:04x}:{:04x}", usb.vid, usb.pid)?;
        match &usb.product {
            Some(product) => write!(f, " {product:?})"),
            None => f.write_str(")"),
        }
    }
}

fn bulk(address: u8) -> Endpoint {
    Endpoint {
        address,
        transfer_type: TransferType::Bulk,
        max_packet_size: READ_SIZE,
        packets_per_microframe: 1,
        interval: 0,
        companion: None,
    }
}

const BULK_IN: u8 = 0x81;
const BULK_OUT: u8 = 0x01;
/// The most that one read takes: as much as a terminal holds (N_TTY_BUF_SIZE). It stands for wMaxPacketSize, of which
/// a port knows nothing.
const READ_SIZE: usize = 4096;
const CLASS_COMMUNICATION: u8 = 0x02;
const SUBCLASS_ACM: u8 = 0x02;
const CLASS_DATA: u8 = 0x0a;

/// What the system knows of a device beside its list of ports.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UsbDeviceInfo {
    /// bcdDevice.
    pub(super) version: u16,
    /// Signalling rate.
    pub(super) speed: Speed,
}

impl Default for UsbDeviceInfo {
    fn default() -> Self {
        Self { version: 0, speed: Speed::Unknown }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serial::find_function;

    #[test]
    fn a_port_has_one_function_under_the_number_of_its_interface() {
        let usb = UsbPort {
            vid: 0x2341,
            pid: 0x43,
            serial: None,
            manufacturer: None,
            product: Some("Uno".into()),
            interface: Some(2),
            place: None,
        };
        let port = PortInfo { path: "/dev/ttyACM1".into(), usb: Some(usb) };
        let descriptors = port.descriptors();
        let function = find_function(&descriptors, Some(2)).unwrap();
        assert_eq!((function.control_interface, function.data_interface), (2, 3));
        assert_eq!((function.bulk_in.address, function.bulk_out.address), (0x81, 0x01));
        assert_eq!(find_function(&descriptors, Some(0)), None);
        assert_eq!(port.to_string(), "/dev/ttyACM1 (2341:0043 \"Uno\")");
    }

    #[test]
    fn a_port_without_usb_has_no_ids_and_is_still_a_function() {
        let descriptors = PortInfo { path: "/dev/ttyS0".into(), usb: None }.descriptors();
        assert_eq!((descriptors.vendor_id, descriptors.product_id), (0, 0));
        assert!(find_function(&descriptors, None).is_some());
    }
}
