//! What a device says of itself, checked once and kept as plain values.
//!
//! Parsing of the raw bytes is nusb's; this file turns it into values that own themselves, mends what devices are
//! known to lie about. It reads nothing from a device and refuses to trust any length or text of a device.

use std::fmt;
use std::time::Duration;

use nusb::descriptors::{ConfigurationDescriptor, DeviceDescriptor, EndpointDescriptor, InterfaceDescriptor};
use serde::Serialize;

use super::{OpenError, remarks};

/// A device's signalling rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Speed {
    /// Not reported.
    Unknown,
    /// 1.5 Mbit/s.
    Low,
    /// 12 Mbit/s.
    Full,
    /// 480 Mbit/s.
    High,
    /// 5 Gbit/s.
    Super,
    /// 10 Gbit/s and more.
    SuperPlus,
}

/// The four transfer types of USB 2.0, 4.7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransferType {
    /// Control.
    Control,
    /// Isochronous.
    Isochronous,
    /// Bulk.
    Bulk,
    /// Interrupt.
    Interrupt,
}

/// Everything read from a device when it was opened.
#[derive(Debug, Clone, Serialize)]
pub struct Descriptors {
    /// idVendor.
    pub vendor_id: u16,
    /// idProduct.
    pub product_id: u16,
    /// bcdDevice.
    pub device_version: u16,
    /// bDeviceClass.
    pub class: u8,
    /// Signalling rate.
    pub speed: Speed,
    /// iManufacturer as text.
    pub manufacturer: Option<String>,
    /// iProduct as text.
    pub product: Option<String>,
    /// iSerialNumber as text.
    pub serial_number: Option<String>,
    /// bConfigurationValue of the active configuration.
    pub configuration_value: u8,
    /// Every alternate setting of every interface, in the order of the descriptors.
    pub alt_settings: Vec<AltSetting>,
    /// What is wrong with them, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// Interfaces that belong together: USB interface association descriptors.
    #[serde(skip)]
    pub associations: Vec<Association>,
}

/// The interfaces of one function, as an interface association descriptor names them: first and count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Association {
    /// bFirstInterface.
    pub first: u8,
    /// bInterfaceCount.
    pub count: u8,
}

impl Association {
    /// Whether this interface is one of them.
    pub fn contains(self, interface: u8) -> bool {
        interface.checked_sub(self.first).is_some_and(|at| at < self.count)
    }
}

/// The interfaces of one CDC function, as its Union descriptor names them: CDC 1.2, 5.2.3.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Union {
    /// bControlInterface.
    pub control: u8,
    /// bSubordinateInterface0.
    pub subordinate: u8,
}

/// One alternate setting of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AltSetting {
    /// bInterfaceNumber.
    pub interface: u8,
    /// bAlternateSetting.
    pub setting: u8,
    /// bInterfaceClass.
    pub class: u8,
    /// bInterfaceSubClass.
    pub subclass: u8,
    /// bInterfaceProtocol.
    pub protocol: u8,
    /// Its endpoints; endpoint 0 is never among them.
    pub endpoints: Vec<Endpoint>,
    /// What its Union descriptor says, if it has one.
    #[serde(skip)]
    pub union: Option<Union>,
}

/// One endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// bEndpointAddress with its direction bit.
    pub address: u8,
    /// Transfer type.
    #[serde(rename = "type")]
    pub transfer_type: TransferType,
    /// Bytes a packet. 0 where the device says so; such an endpoint is not bridged, see [`Endpoint::unusable`].
    pub max_packet_size: usize,
    /// Packets a microframe: 1 to 3 for high-bandwidth endpoints, else 1.
    pub packets_per_microframe: u8,
    /// bInterval as it stands in the descriptor.
    pub interval: u8,
    /// What its SuperSpeed companion descriptor says, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub companion: Option<Companion>,
}

/// A SuperSpeed endpoint companion descriptor: USB 3.2, 9.6.7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Companion {
    /// Packets a burst: bMaxBurst + 1, 1 to 16.
    pub burst: u8,
    /// Bulk: streams that the endpoint has; 0 for none.
    pub streams: u32,
    /// Isochronous and interrupt: wBytesPerInterval.
    pub bytes_per_interval: usize,
}

impl Endpoint {
    /// Whether data goes to the host.
    pub fn is_in(&self) -> bool {
        self.address & 0x80 != 0
    }

    /// The most a periodic endpoint moves in one service interval, in bytes.
    pub fn bytes_per_interval(&self) -> usize {
        let packets = self.max_packet_size * usize::from(self.packets_per_microframe);
        match self.companion {
            Some(Companion { bytes_per_interval, .. }) if bytes_per_interval > 0 => bytes_per_interval,
            Some(Companion { burst, .. }) => packets * usize::from(burst),
            None => packets,
        }
    }

    /// Why no byte can be moved over this endpoint, if so.
    pub fn unusable(&self) -> Option<String> {
        if self.max_packet_size == 0 {
            return Some("its wMaxPacketSize is 0, so that no packet of it can carry data".to_owned());
        }
        let streams = self.companion.filter(|_| self.transfer_type == TransferType::Bulk).map_or(0, |c| c.streams);
        (streams > 0).then(|| {
            format!(
                "it is a bulk endpoint with {streams} streams, as of a USB attached SCSI disk (UAS), and no backend has \
                 streams; another alternate setting of the interface may do without"
            )
        })
    }

    /// Time between two packets of an isochronous endpoint: USB 2.0, 9.6.6.
    pub fn period(&self, speed: Speed) -> Duration {
        let exponent = self.interval.clamp(1, 16) - 1;
        let unit = match speed {
            Speed::Unknown | Speed::Low | Speed::Full => Duration::from_millis(1),
            Speed::High | Speed::Super | Speed::SuperPlus => Duration::from_micros(125),
        };
        unit * (1u32 << exponent)
    }

    /// The period in frames or microframes, which is how URBs state it; 0 for an endpoint that has none.
    pub fn interval_in_frames(&self, speed: Speed) -> u32 {
        match (self.transfer_type, speed) {
            (TransferType::Bulk | TransferType::Control, _) => 0,
            (TransferType::Interrupt, Speed::Low | Speed::Full | Speed::Unknown) => self.interval.max(1).into(),
            _ => 1 << (self.interval.clamp(1, 16) - 1),
        }
    }
}

impl Descriptors {
    /// Parses a device descriptor and its active configuration descriptor. Strings are added by
    /// [`read_strings`](super::enumerate::read_strings).
    ///
    /// # Errors
    /// [`OpenError::Protocol`] when a descriptor is too short or is of another type.
    pub fn parse(device: &[u8], configuration: &[u8], speed: Speed) -> Result<Self, OpenError> {
        let parsed = DeviceDescriptor::new(device).ok_or_else(|| {
            OpenError::Protocol(format!("the device descriptor is not one ({} bytes, expected 18)", device.len()))
        })?;
        let mended = mend_total_length(configuration);
        let config = ConfigurationDescriptor::new(&mended).ok_or_else(|| {
            OpenError::Protocol(format!("the configuration descriptor is not one ({} bytes)", configuration.len()))
        })?;
        Ok(Self {
            vendor_id: parsed.vendor_id(),
            product_id: parsed.product_id(),
            device_version: parsed.device_version(),
            class: parsed.class(),
            speed,
            manufacturer: None,
            product: None,
            serial_number: None,
            configuration_value: config.configuration_value(),
            alt_settings: config.interface_alt_settings().map(|alt| AltSetting::from_nusb(&alt)).collect(),
            remarks: remarks::of(configuration),
            associations: config.descriptors().filter_map(|d| association(&d)).collect(),
        })
    }

    /// The endpoint with this address, in the given interface and alternate setting where they are given. Without
    /// them the setting that is selected by default wins, see [`Descriptors::default_settings`].
    pub fn find_endpoint(
        &self,
        address: u8,
        interface: Option<u8>,
        alt: Option<u8>,
    ) -> Option<(&AltSetting, Endpoint)> {
        let matches =
            |s: &&AltSetting| interface.is_none_or(|i| s.interface == i) && alt.is_none_or(|a| s.setting == a);
        let pick = |s: &'_ AltSetting| s.endpoints.iter().copied().find(|e| e.address == address);
        let preferred = self.default_settings().into_iter().filter(matches);
        let all = self.alt_settings.iter().filter(matches);
        preferred.chain(all).find_map(|s| pick(s).map(|e| (s, e)))
    }

    /// For each interface the alternate setting to use if nobody says otherwise: 0, or the first that has endpoints which
    /// can be used.
    pub fn default_settings(&self) -> Vec<&AltSetting> {
        let mut chosen: Vec<&AltSetting> = Vec::new();
        for setting in &self.alt_settings {
            match chosen.iter_mut().find(|c| c.interface == setting.interface) {
                None => chosen.push(setting),
                Some(known) if !known.is_usable() && setting.is_usable() => *known = setting,
                Some(known) if known.endpoints.is_empty() && !setting.endpoints.is_empty() => *known = setting,
                Some(_) => {}
            }
        }
        chosen
    }
}

impl AltSetting {
    fn from_nusb(alt: &InterfaceDescriptor<'_>) -> Self {
        Self {
            interface: alt.interface_number(),
            setting: alt.alternate_setting(),
            class: alt.class(),
            subclass: alt.subclass(),
            protocol: alt.protocol(),
            endpoints: alt
                .endpoints()
                .filter(|e| e.address() & 0x0f != 0 && e.address() & 0x70 == 0)
                .map(|e| Endpoint::from_nusb(&e))
                .collect(),
            union: alt.descriptors().find_map(|d| union(&d)),
        }
    }

    /// Whether bytes can be moved over any of its endpoints.
    pub fn is_usable(&self) -> bool {
        self.endpoints.iter().any(|e| e.unusable().is_none())
    }
}

fn association(descriptor: &[u8]) -> Option<Association> {
    match *descriptor {
        [_, INTERFACE_ASSOCIATION, first, count, ..] if count > 0 => Some(Association { first, count }),
        _ => None,
    }
}

fn union(descriptor: &[u8]) -> Option<Union> {
    match *descriptor {
        [_, CS_INTERFACE, UNION, control, subordinate, ..] => Some(Union { control, subordinate }),
        _ => None,
    }
}

/// Of an endpoint with these bmAttributes.
fn companion(descriptor: &[u8], transfer_type: TransferType) -> Option<Companion> {
    let [_, ENDPOINT_COMPANION, burst, attributes, low, high, ..] = *descriptor else { return None };
    let streams = match (transfer_type, attributes & 0x1f) {
        (TransferType::Bulk, exponent @ 1..=16) => 1 << exponent,
        _ => 0,
    };
    let bytes_per_interval = usize::from(u16::from_le_bytes([low, high]));
    Some(Companion { burst: burst.min(15) + 1, streams, bytes_per_interval })
}

impl Endpoint {
    fn from_nusb(endpoint: &EndpointDescriptor<'_>) -> Self {
        let transfer_type = match endpoint.transfer_type() {
            nusb::descriptors::TransferType::Control => TransferType::Control,
            nusb::descriptors::TransferType::Isochronous => TransferType::Isochronous,
            nusb::descriptors::TransferType::Bulk => TransferType::Bulk,
            nusb::descriptors::TransferType::Interrupt => TransferType::Interrupt,
        };
        Self {
            address: endpoint.address(),
            transfer_type,
            max_packet_size: endpoint.max_packet_size(),
            packets_per_microframe: endpoint.packets_per_microframe().min(3),
            interval: endpoint.interval(),
            companion: endpoint.descriptors().find_map(|d| companion(&d, transfer_type)),
        }
    }
}

/// The text of a raw string descriptor; what is not UTF-16 is replaced.
pub fn decode_string(raw: &[u8]) -> Option<String> {
    if raw.len() < 2 || raw[1] != STRING_DESCRIPTOR {
        return None;
    }
    let end = usize::from(raw[0]).clamp(2, raw.len());
    let units: Vec<u16> = raw[2..end].chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]])).collect();
    Some(String::from_utf16_lossy(&units))
}

/// Cuts a configuration descriptor's claim about its own length down to what is there.
fn mend_total_length(raw: &[u8]) -> Vec<u8> {
    let mut mended = raw.to_vec();
    if mended.len() >= 4 && usize::from(u16::from_le_bytes([mended[2], mended[3]])) > mended.len() {
        let real = u16::try_from(mended.len()).unwrap_or(u16::MAX);
        mended[2..4].copy_from_slice(&real.to_le_bytes());
    }
    mended
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Low => "low",
            Self::Full => "full",
            Self::High => "high",
            Self::Super => "super",
            Self::SuperPlus => "super-plus",
        })
    }
}

impl fmt::Display for TransferType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Control => "control",
            Self::Isochronous => "isochronous",
            Self::Bulk => "bulk",
            Self::Interrupt => "interrupt",
        })
    }
}

const INTERFACE_ASSOCIATION: u8 = 0x0b;
const CS_INTERFACE: u8 = 0x24;
/// bDescriptorSubtype of CDC 1.2, table 13.
const UNION: u8 = 0x06;
const ENDPOINT_COMPANION: u8 = 0x30;
/// bDescriptorType of a string.
pub(super) const STRING_DESCRIPTOR: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DEVICE: [u8; 18] = [18, 1, 0, 2, 0, 0, 0, 64, 0x09, 0x12, 0x03, 0, 0, 1, 1, 2, 0, 1];

    /// One interface with two alternate settings; the second has one isochronous IN endpoint.
    fn configuration() -> Vec<u8> {
        let mut raw = vec![9, 2, 0, 0, 1, 1, 0, 0x80, 50];
        raw.extend([9, 4, 1, 0, 0, 0xff, 0, 0, 0]);
        raw.extend([9, 4, 1, 1, 1, 0xff, 0, 0, 0]);
        raw.extend([7, 5, 0x83, 1, 192, 0, 4]);
        let total = raw.len() as u16;
        raw[2..4].copy_from_slice(&total.to_le_bytes());
        raw
    }

    #[test]
    fn the_setting_with_endpoints_is_preferred_over_an_empty_setting_0() {
        let descriptors = Descriptors::parse(&DEVICE, &configuration(), Speed::High).unwrap();
        let (alt, endpoint) = descriptors.find_endpoint(0x83, None, None).unwrap();
        assert_eq!((alt.interface, alt.setting), (1, 1));
        assert_eq!(endpoint.period(Speed::High), Duration::from_millis(1));
        assert!(descriptors.find_endpoint(0x83, Some(1), Some(0)).is_none());
    }

    #[test]
    fn a_total_length_beyond_the_bytes_received_is_cut() {
        let mut raw = configuration();
        raw[2..4].copy_from_slice(&[0xff, 0xff]);
        let descriptors = Descriptors::parse(&DEVICE, &raw, Speed::High).unwrap();
        assert!(descriptors.find_endpoint(0x83, None, None).is_some());
    }

    #[test]
    fn a_setting_whose_packets_carry_nothing_is_not_preferred() {
        let mut raw = vec![9, 2, 0, 0, 1, 1, 0, 0x80, 50];
        for size in [0, 64] {
            raw.extend([9, 4, 0, (size > 0).into(), 1, 0xff, 0, 0, 0, 7, 5, 0x81, 2, size, 0, 0]);
        }
        raw[2] = raw.len() as u8;
        let descriptors = Descriptors::parse(&DEVICE, &raw, Speed::High).unwrap();
        let sizes: Vec<usize> = descriptors.alt_settings.iter().map(|s| s.endpoints[0].max_packet_size).collect();
        assert_eq!((sizes, descriptors.default_settings()[0].setting), (vec![0, 64], 1));
        let unusable = descriptors.alt_settings[0].endpoints[0].unusable();
        assert!(unusable.is_some_and(|why| why.contains("wMaxPacketSize is 0")));
    }

    /// One interface with one endpoint and a companion.
    fn superspeed(attributes: u8, companion: [u8; 6]) -> Endpoint {
        let mut raw = vec![9, 2, 31, 0, 1, 1, 0, 0x80, 50, 9, 4, 0, 0, 1, 0xff, 0, 0, 0];
        raw.extend([7, 5, 0x81, attributes, 0x00, 0x04, 1]);
        raw.extend(companion);
        let descriptors = Descriptors::parse(&DEVICE, &raw, Speed::Super).unwrap();
        descriptors.find_endpoint(0x81, None, None).unwrap().1
    }

    #[test]
    fn a_companion_says_how_much_an_interval_moves() {
        let isochronous = superspeed(5, [6, 0x30, 14, 2, 0x00, 0xb4]);
        assert_eq!((isochronous.max_packet_size, isochronous.bytes_per_interval()), (1024, 46_080));
        assert_eq!(superspeed(5, [6, 0x30, 3, 0, 0, 0]).bytes_per_interval(), 4096, "wBytesPerInterval says nothing");
        assert_eq!(superspeed(3, [6, 0x30, 0, 0, 8, 0]).bytes_per_interval(), 8);
    }

    #[test]
    fn a_bulk_endpoint_with_streams_says_why_it_cannot_be_used() {
        let streams = superspeed(2, [6, 0x30, 15, 4, 0, 0]);
        assert_eq!(streams.companion.map(|c| (c.burst, c.streams)), Some((16, 16)));
        assert!(streams.unusable().is_some_and(|why| why.contains("16 streams")));
        assert_eq!(superspeed(2, [6, 0x30, 15, 0, 0, 0]).unusable(), None);
        assert_eq!(superspeed(5, [6, 0x30, 15, 2, 0, 0xb4]).unusable(), None, "of an isochronous one that is Mult");
    }

    #[test]
    fn unions_and_associations_are_found() {
        let mut raw = vec![9, 2, 0, 0, 2, 1, 0, 0x80, 50, 8, 11, 1, 2, 2, 2, 1, 0];
        raw.extend([9, 4, 1, 0, 0, 2, 2, 1, 0, 5, 0x24, 0, 0x10, 1, 5, 0x24, 6, 1, 2]);
        raw[2] = raw.len() as u8;
        let descriptors = Descriptors::parse(&DEVICE, &raw, Speed::Full).unwrap();
        assert_eq!(descriptors.alt_settings[0].union, Some(Union { control: 1, subordinate: 2 }));
        let association = descriptors.associations[0];
        assert_eq!([0, 1, 2, 3].map(|i| association.contains(i)), [false, true, true, false]);
    }

    #[test]
    fn a_string_that_lies_about_its_length_is_read_as_far_as_it_goes() {
        assert_eq!(decode_string(&[200, 3, b'h', 0, b'i', 0]).as_deref(), Some("hi"));
        assert_eq!(decode_string(&[0, 3, b'h', 0]).as_deref(), Some(""));
        assert_eq!(decode_string(&[2, 9]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_of_a_device_make_the_parser_panic(
            device in prop::collection::vec(any::<u8>(), 0..40),
            mut configuration in prop::collection::vec(any::<u8>(), 0..200),
            plausible in any::<bool>(),
        ) {
            let device = if plausible { DEVICE.to_vec() } else { device };
            if plausible && configuration.len() > 2 {
                configuration[0] = 9;
                configuration[1] = 2;
            }
            if let Ok(parsed) = Descriptors::parse(&device, &configuration, Speed::Full) {
                for alt in parsed.default_settings() {
                    for endpoint in &alt.endpoints {
                        prop_assert!(endpoint.unusable().is_some() || endpoint.bytes_per_interval() > 0);
                        prop_assert!(endpoint.period(Speed::High) > Duration::ZERO);
                    }
                }
            }
            let _ = decode_string(&configuration);
        }
    }
}
