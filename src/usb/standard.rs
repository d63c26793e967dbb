//! Setup packets and the standard requests of USB 2.0, chapter 9.

/// The eight bytes that begin a control transfer: USB 2.0, 9.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// bmRequestType: direction, type and recipient.
    pub request_type: u8,
    /// bRequest.
    pub request: u8,
    /// wValue.
    pub value: u16,
    /// wIndex.
    pub index: u16,
    /// wLength: bytes of the data stage.
    pub length: u16,
}

impl Setup {
    /// Whether the data stage goes to the host.
    pub fn is_in(&self) -> bool {
        self.request_type & DIRECTION_IN != 0
    }

    /// The wire form, little-endian.
    pub fn to_bytes(self) -> [u8; 8] {
        let [v0, v1] = self.value.to_le_bytes();
        let [i0, i1] = self.index.to_le_bytes();
        let [l0, l1] = self.length.to_le_bytes();
        [self.request_type, self.request, v0, v1, i0, i1, l0, l1]
    }
}

/// GET_DESCRIPTOR of the device, 18 bytes.
pub fn get_device_descriptor() -> Setup {
    get_descriptor(TYPE_DEVICE, 0, 0, 18)
}

/// GET_DESCRIPTOR of configuration number `index` (counted from 0), at most `length` bytes.
pub fn get_configuration_descriptor(index: u8, length: u16) -> Setup {
    get_descriptor(TYPE_CONFIGURATION, index, 0, length)
}

/// GET_DESCRIPTOR of a string, at most `length` bytes; index 0 asks for the list of languages.
pub fn get_string_descriptor(index: u8, language: u16, length: u8) -> Setup {
    get_descriptor(TYPE_STRING, index, language, length.into())
}

/// SET_CONFIGURATION.
pub fn set_configuration(value: u8) -> Setup {
    Setup { request_type: 0x00, request: 9, value: value.into(), index: 0, length: 0 }
}

/// SET_INTERFACE.
pub fn set_interface(interface: u8, setting: u8) -> Setup {
    Setup { request_type: 0x01, request: 11, value: setting.into(), index: interface.into(), length: 0 }
}

/// CLEAR_FEATURE(ENDPOINT_HALT).
pub fn clear_halt(endpoint: u8) -> Setup {
    Setup { request_type: 0x02, request: 1, value: 0, index: endpoint.into(), length: 0 }
}

/// SET_FEATURE(PORT_RESET), the hub request that USB/IP servers take as "reset the device".
pub fn port_reset(port: u16) -> Setup {
    Setup { request_type: 0x23, request: 3, value: 4, index: port, length: 0 }
}

fn get_descriptor(kind: u8, index: u8, language: u16, length: u16) -> Setup {
    Setup { request_type: 0x80, request: 6, value: u16::from_be_bytes([kind, index]), index: language, length }
}

const DIRECTION_IN: u8 = 0x80;
const TYPE_DEVICE: u8 = 1;
const TYPE_CONFIGURATION: u8 = 2;
const TYPE_STRING: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setup_packet_is_little_endian() {
        assert_eq!(get_device_descriptor().to_bytes(), [0x80, 6, 0, 1, 0, 0, 18, 0]);
        assert_eq!(get_string_descriptor(2, 0x0409, 255).to_bytes(), [0x80, 6, 2, 3, 0x09, 0x04, 255, 0]);
    }
}
