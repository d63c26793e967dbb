//! The messages before a device is imported: device list and import.

use crate::{BUSID_LEN, PATH_LEN, VERSION, WireError, be16, be32, get_text, put_text};

/// Length in bytes of [`OpHeader`].
pub const OP_HEADER_LEN: usize = 8;
/// Length in bytes of [`DeviceRecord`].
pub const DEVICE_RECORD_LEN: usize = 0x138;
/// Length in bytes of [`InterfaceRecord`].
pub const INTERFACE_RECORD_LEN: usize = 4;

/// What an operation asks for or answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpCode {
    /// Client: send the list of exported devices.
    ReqDevlist,
    /// Server: a u32 count follows, then that many device records, each with its interface records.
    RepDevlist,
    /// Client: a bus id of 32 bytes follows.
    ReqImport,
    /// Server: with status 0 a device record follows, otherwise nothing.
    RepImport,
}

impl OpCode {
    fn to_wire(self) -> u16 {
        match self {
            Self::ReqDevlist => 0x8005,
            Self::RepDevlist => 0x0005,
            Self::ReqImport => 0x8003,
            Self::RepImport => 0x0003,
        }
    }

    fn from_wire(code: u16) -> Result<Self, WireError> {
        match code {
            0x8005 => Ok(Self::ReqDevlist),
            0x0005 => Ok(Self::RepDevlist),
            0x8003 => Ok(Self::ReqImport),
            0x0003 => Ok(Self::RepImport),
            other => Err(WireError::Code(other.into())),
        }
    }
}

/// The eight bytes in front of every operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpHeader {
    /// What is asked or answered.
    pub code: OpCode,
    /// 0 in requests; in replies 0 for success, 1 not available, 2 busy, 3 in an error state, 4 no such device.
    pub status: u32,
}

impl OpHeader {
    /// The wire form: version, code, status.
    pub fn encode(&self) -> [u8; OP_HEADER_LEN] {
        let mut out = [0; OP_HEADER_LEN];
        out[0..2].copy_from_slice(&VERSION.to_be_bytes());
        out[2..4].copy_from_slice(&self.code.to_wire().to_be_bytes());
        out[4..8].copy_from_slice(&self.status.to_be_bytes());
        out
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// [`WireError::Version`] or [`WireError::Code`].
    pub fn decode(bytes: &[u8; OP_HEADER_LEN]) -> Result<Self, WireError> {
        let version = be16(bytes, 0);
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        Ok(Self { code: OpCode::from_wire(be16(bytes, 2))?, status: be32(bytes, 4) })
    }
}

/// A bus id as the 32-byte field of an import request.
pub fn encode_busid(busid: &str) -> [u8; BUSID_LEN] {
    let mut field = [0; BUSID_LEN];
    put_text(&mut field, busid);
    field
}

/// The bus id in the 32-byte field of an import request.
pub fn decode_busid(field: &[u8; BUSID_LEN]) -> String {
    get_text(field)
}

/// A device's signalling rate, numbered as `enum usb_device_speed` of Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speed {
    /// Not reported, or a value unknown here.
    Unknown,
    /// 1.5 Mbit/s.
    Low,
    /// 12 Mbit/s.
    Full,
    /// 480 Mbit/s.
    High,
    /// Wireless USB.
    Wireless,
    /// 5 Gbit/s.
    Super,
    /// 10 Gbit/s and more.
    SuperPlus,
}

impl Speed {
    /// The number on the wire.
    pub fn to_wire(self) -> u32 {
        self as u32
    }

    /// The speed with this number; numbers unknown here become [`Speed::Unknown`].
    pub fn from_wire(number: u32) -> Self {
        match number {
            1 => Self::Low,
            2 => Self::Full,
            3 => Self::High,
            4 => Self::Wireless,
            5 => Self::Super,
            6 => Self::SuperPlus,
            _ => Self::Unknown,
        }
    }
}

/// An exported device, as in the device list and in the reply to an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRecord {
    /// The server's sysfs path; information for people.
    pub path: String,
    /// The name to import it by, such as `1-1.4`.
    pub busid: String,
    /// Bus number on the server.
    pub busnum: u32,
    /// Device number on the server.
    pub devnum: u32,
    /// Signalling rate.
    pub speed: Speed,
    /// idVendor.
    pub vendor_id: u16,
    /// idProduct.
    pub product_id: u16,
    /// bcdDevice.
    pub device_version: u16,
    /// bDeviceClass.
    pub class: u8,
    /// bDeviceSubClass.
    pub subclass: u8,
    /// bDeviceProtocol.
    pub protocol: u8,
    /// bConfigurationValue of the active configuration.
    pub configuration_value: u8,
    /// bNumConfigurations.
    pub num_configurations: u8,
    /// bNumInterfaces of the active configuration.
    pub num_interfaces: u8,
}

impl DeviceRecord {
    /// The device id that every URB carries: bus number in the high half, device number in the low.
    pub fn devid(&self) -> u32 {
        (self.busnum << 16) | (self.devnum & 0xffff)
    }

    /// The wire form.
    pub fn encode(&self) -> [u8; DEVICE_RECORD_LEN] {
        let mut out = [0; DEVICE_RECORD_LEN];
        put_text(&mut out[..PATH_LEN], &self.path);
        put_text(&mut out[PATH_LEN..PATH_LEN + BUSID_LEN], &self.busid);
        let numbers = [self.busnum, self.devnum, self.speed.to_wire()];
        for (field, number) in out[288..300].chunks_exact_mut(4).zip(numbers) {
            field.copy_from_slice(&number.to_be_bytes());
        }
        let ids = [self.vendor_id, self.product_id, self.device_version];
        for (field, id) in out[300..306].chunks_exact_mut(2).zip(ids) {
            field.copy_from_slice(&id.to_be_bytes());
        }
        out[306..312].copy_from_slice(&[
            self.class,
            self.subclass,
            self.protocol,
            self.configuration_value,
            self.num_configurations,
            self.num_interfaces,
        ]);
        out
    }

    /// Reads the wire form; every byte pattern is a record.
    pub fn decode(bytes: &[u8; DEVICE_RECORD_LEN]) -> Self {
        Self {
            path: get_text(&bytes[..PATH_LEN]),
            busid: get_text(&bytes[PATH_LEN..PATH_LEN + BUSID_LEN]),
            busnum: be32(bytes, 288),
            devnum: be32(bytes, 292),
            speed: Speed::from_wire(be32(bytes, 296)),
            vendor_id: be16(bytes, 300),
            product_id: be16(bytes, 302),
            device_version: be16(bytes, 304),
            class: bytes[306],
            subclass: bytes[307],
            protocol: bytes[308],
            configuration_value: bytes[309],
            num_configurations: bytes[310],
            num_interfaces: bytes[311],
        }
    }
}

/// One interface of a device in the device list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterfaceRecord {
    /// bInterfaceClass.
    pub class: u8,
    /// bInterfaceSubClass.
    pub subclass: u8,
    /// bInterfaceProtocol.
    pub protocol: u8,
}

impl InterfaceRecord {
    /// The wire form, with its byte of padding.
    pub fn encode(&self) -> [u8; INTERFACE_RECORD_LEN] {
        [self.class, self.subclass, self.protocol, 0]
    }

    /// Reads the wire form.
    pub fn decode(bytes: &[u8; INTERFACE_RECORD_LEN]) -> Self {
        Self { class: bytes[0], subclass: bytes[1], protocol: bytes[2] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_import_request_has_the_bytes_of_the_specification() {
        let header = OpHeader { code: OpCode::ReqImport, status: 0 };
        assert_eq!(header.encode(), [0x01, 0x11, 0x80, 0x03, 0, 0, 0, 0]);
        assert_eq!(&encode_busid("1-1.4")[..6], b"1-1.4\0");
    }

    #[test]
    fn a_foreign_version_is_named() {
        assert_eq!(OpHeader::decode(&[0x01, 0x06, 0x80, 0x03, 0, 0, 0, 0]), Err(WireError::Version(0x0106)));
    }

    #[test]
    fn a_text_too_long_for_its_field_is_cut_and_stays_terminated() {
        let field = encode_busid(&"é".repeat(40));
        assert_eq!(field[BUSID_LEN - 1], 0);
        assert_eq!(decode_busid(&field), "é".repeat(15));
    }

    proptest! {
        #[test]
        fn every_device_record_reads_back(bytes in prop::collection::vec(any::<u8>(), DEVICE_RECORD_LEN)) {
            let bytes: [u8; DEVICE_RECORD_LEN] = bytes.try_into().expect("the strategy makes this length");
            let record = DeviceRecord::decode(&bytes);
            let again = DeviceRecord::decode(&record.encode());
            prop_assert_eq!(again.devid(), record.devid());
            prop_assert_eq!(again.num_interfaces, record.num_interfaces);
            prop_assert_eq!(again.vendor_id, record.vendor_id);
        }

        #[test]
        fn operation_headers_never_panic_and_read_back(bytes in any::<[u8; OP_HEADER_LEN]>()) {
            if let Ok(header) = OpHeader::decode(&bytes) {
                prop_assert_eq!(header.encode(), bytes);
            }
        }
    }
}
