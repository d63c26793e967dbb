//! Descriptors of the devices that have no firmware stack of their own.
//!
//! One job: write down device, configuration and string descriptors (USB 2.0 section 9.6) and answer
//! GET_DESCRIPTOR from them. It refuses to know which configuration or setting is active.

/// All descriptors of a device with one configuration.
#[derive(Debug)]
pub(crate) struct Description {
    device: [u8; 18],
    configuration: Vec<u8>,
    product: &'static str,
}

/// An endpoint: address, bmAttributes, wMaxPacketSize, bInterval.
pub(crate) type EndpointSpec = (u8, u8, u16, u8);

impl Description {
    /// A vendor-specific device without interfaces yet.
    pub(crate) fn new(vendor: u16, product_id: u16, product: &'static str) -> Self {
        let mut device = [18, DEVICE, 0x00, 0x02, 0xff, 0, 0, 64, 0, 0, 0, 0, 0x00, 0x01, 1, 2, 0, 1];
        device[8..10].copy_from_slice(&vendor.to_le_bytes());
        device[10..12].copy_from_slice(&product_id.to_le_bytes());
        Self { device, configuration: vec![9, CONFIGURATION, 9, 0, 0, 1, 0, 0x80, 50], product }
    }

    /// Adds an interface's alternate setting; the settings of an interface follow each other.
    pub(crate) fn interface(mut self, number: u8, alt: u8, endpoints: &[EndpointSpec]) -> Self {
        self.configuration.extend([9, INTERFACE, number, alt, endpoints.len() as u8, 0xff, 0, 0, 0]);
        for &(address, attributes, max_packet, interval) in endpoints {
            let [low, high] = max_packet.to_le_bytes();
            self.configuration.extend([7, ENDPOINT, address, attributes, low, high, interval]);
        }
        let [low, high] = (self.configuration.len() as u16).to_le_bytes();
        (self.configuration[2], self.configuration[3]) = (low, high);
        self.configuration[4] = self.configuration[4].max(number + 1);
        self
    }

    /// The descriptor that wValue of GET_DESCRIPTOR names.
    pub(crate) fn find(&self, value: u16) -> Option<Vec<u8>> {
        let [index, kind] = value.to_le_bytes();
        match (kind, index) {
            (DEVICE, 0) => Some(self.device.to_vec()),
            (CONFIGURATION, 0) => Some(self.configuration.clone()),
            (STRING, 0) => Some(vec![4, STRING, 0x09, 0x04]),
            (STRING, 1) => Some(string("usbpipe")),
            (STRING, 2) => Some(string(self.product)),
            _ => None,
        }
    }

    /// Whether the interface has the alternate setting.
    pub(crate) fn has_setting(&self, interface: u8, alt: u8) -> bool {
        let mut rest = &self.configuration[..];
        while let [length, kind, body @ ..] = rest {
            if *kind == INTERFACE && body.starts_with(&[interface, alt]) {
                return true;
            }
            rest = &rest[usize::from(*length)..];
        }
        false
    }
}

fn string(text: &str) -> Vec<u8> {
    let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    [&[units.len() as u8 + 2, STRING], &units[..]].concat()
}

const DEVICE: u8 = 1;
const CONFIGURATION: u8 = 2;
const STRING: u8 = 3;
const INTERFACE: u8 = 4;
const ENDPOINT: u8 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_counts_its_bytes_and_interfaces() {
        let description = Description::new(0x1209, 3, "x").interface(0, 0, &[]).interface(1, 0, &[]).interface(
            1,
            1,
            &[(0x83, 5, 192, 4)],
        );
        let configuration = description.find(0x0200).expect("it is there");
        assert_eq!(usize::from(configuration[2]), configuration.len());
        assert_eq!(configuration.len(), 9 + 3 * 9 + 7);
        assert_eq!(configuration[4], 2);
        assert!(description.has_setting(1, 1) && !description.has_setting(0, 1) && !description.has_setting(2, 0));
    }

    #[test]
    fn strings_are_utf_16_and_unknown_descriptors_are_absent() {
        let description = Description::new(1, 2, "ab");
        assert_eq!(description.find(0x0302), Some(vec![6, 3, b'a', 0, b'b', 0]));
        assert_eq!(description.find(0x0600), None);
    }
}
