//! CDC ACM: where the function is among a device's interfaces, and its class requests.
//!
//! Source: USB CDC 1.2 and its PSTN subclass 1.2, section 6.3. It keeps no state; see [`super::Lines`].

use std::time::Duration;

use crate::config::{Parity, SerialMode, StopBits};
use crate::usb::descriptors::{AltSetting, Descriptors, Endpoint, TransferType};
use crate::usb::{Setup, TransferError, UsbDevice, errno};

/// The interfaces and endpoints of one serial function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Function {
    /// The communication class interface, which takes the requests.
    pub control_interface: u8,
    /// The data class interface.
    pub data_interface: u8,
    /// The alternate setting of the data interface that has the endpoints.
    pub data_alt: u8,
    /// Where SERIAL_STATE arrives, if anywhere.
    pub notification: Option<Endpoint>,
    /// From the device.
    pub bulk_in: Endpoint,
    /// To the device.
    pub bulk_out: Endpoint,
}

/// Finds the serial function whose control interface is `interface`, or the first one.
pub fn find_function(descriptors: &Descriptors, interface: Option<u8>) -> Option<Function> {
    find_functions(descriptors).into_iter().find(|f| interface.is_none_or(|i| f.control_interface == i))
}

/// Finds the serial functions, in the order of their control interfaces in the descriptors. What belongs together says the
/// Union descriptor; without one, an interface with both bulk endpoints of its own is a function, as for Linux; then
/// the interface association counts, and last the order of the interfaces.
pub fn find_functions(descriptors: &Descriptors) -> Vec<Function> {
    let settings = &descriptors.alt_settings;
    let mut controls: Vec<&AltSetting> = Vec::new();
    for setting in settings.iter().filter(|s| is_control(s)) {
        if controls.iter().all(|known| known.interface != setting.interface) {
            controls.push(setting);
        }
    }
    let named: Vec<Option<&AltSetting>> = controls.iter().map(|control| named_data(descriptors, control)).collect();
    let mut taken: Vec<u8> = named.iter().flatten().map(|data| data.interface).collect();
    let mut functions: Vec<Function> = Vec::new();
    for (control, named) in controls.into_iter().zip(named) {
        let named = named.filter(|data| functions.iter().all(|f| f.data_interface != data.interface));
        let Some(data) = named.or_else(|| next_data(settings, control.interface, &taken)) else { continue };
        taken.push(data.interface);
        functions.extend(function(control, data));
    }
    functions
}

/// RNDIS has the same class and subclass, and is no serial line.
fn is_control(setting: &AltSetting) -> bool {
    (setting.class, setting.subclass) == (CLASS_COMMUNICATION, SUBCLASS_ACM) && setting.protocol != PROTOCOL_VENDOR
}

/// The setting with the bulk endpoints, as far as the descriptors name it.
fn named_data<'a>(descriptors: &'a Descriptors, control: &'a AltSetting) -> Option<&'a AltSetting> {
    let of_interface = |number: u8| descriptors.alt_settings.iter().find(|s| s.interface == number && has_both(s));
    // Some name the two the wrong way round.
    let by_union = control.union.and_then(|union| {
        let other = if union.subordinate == control.interface { union.control } else { union.subordinate };
        of_interface(other)
    });
    let alone = || Some(control).filter(|control| has_both(control));
    let by_association = || {
        let association = descriptors.associations.iter().find(|a| a.contains(control.interface))?;
        descriptors.alt_settings.iter().find(|s| association.contains(s.interface) && is_data(s))
    };
    by_union.or_else(alone).or_else(by_association)
}

/// The next data interface that no other function has; after the control interface, or else before it.
fn next_data<'a>(settings: &'a [AltSetting], control: u8, taken: &[u8]) -> Option<&'a AltSetting> {
    let free = |s: &&AltSetting| is_data(s) && !taken.contains(&s.interface);
    let after = settings.iter().filter(|s| s.interface > control);
    let before = settings.iter().filter(|s| s.interface < control);
    after.chain(before).find(free)
}

fn function(control: &AltSetting, data: &AltSetting) -> Option<Function> {
    let is_notification =
        |e: &&Endpoint| e.is_in() && e.transfer_type == TransferType::Interrupt && e.unusable().is_none();
    Some(Function {
        control_interface: control.interface,
        data_interface: data.interface,
        data_alt: data.setting,
        notification: control.endpoints.iter().find(is_notification).copied(),
        bulk_in: bulk(data, true)?,
        bulk_out: bulk(data, false)?,
    })
}

fn is_data(setting: &AltSetting) -> bool {
    setting.class == CLASS_DATA && has_both(setting)
}

fn has_both(setting: &AltSetting) -> bool {
    bulk(setting, true).is_some() && bulk(setting, false).is_some()
}

fn bulk(setting: &AltSetting, is_in: bool) -> Option<Endpoint> {
    let fits = |e: &&Endpoint| e.transfer_type == TransferType::Bulk && e.is_in() == is_in && e.unusable().is_none();
    setting.endpoints.iter().find(fits).copied()
}

/// Speed and character format of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineCoding {
    /// Bits a second.
    pub baud: u32,
    /// Data bits, parity and stop bits.
    pub mode: SerialMode,
}

impl LineCoding {
    /// The seven bytes of the request.
    pub fn to_bytes(self) -> [u8; 7] {
        let [b0, b1, b2, b3] = self.baud.to_le_bytes();
        let stop = match self.mode.stop_bits {
            StopBits::One => 0,
            StopBits::OnePointFive => 1,
            StopBits::Two => 2,
        };
        let parity = match self.mode.parity {
            Parity::None => 0,
            Parity::Odd => 1,
            Parity::Even => 2,
            Parity::Mark => 3,
            Parity::Space => 4,
        };
        [b0, b1, b2, b3, stop, parity, self.mode.data_bits]
    }

    /// Reads the seven bytes; numbers that mean nothing become the plainest choice.
    pub fn from_bytes(raw: &[u8; 7]) -> Self {
        Self {
            baud: u32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]),
            mode: SerialMode {
                stop_bits: match raw[4] {
                    1 => StopBits::OnePointFive,
                    2 => StopBits::Two,
                    _ => StopBits::One,
                },
                parity: match raw[5] {
                    1 => Parity::Odd,
                    2 => Parity::Even,
                    3 => Parity::Mark,
                    4 => Parity::Space,
                    _ => Parity::None,
                },
                data_bits: raw[6],
            },
        }
    }
}

impl Function {
    /// SET_LINE_CODING.
    ///
    /// # Errors
    /// Those of the control transfer.
    pub async fn set_line_coding(&self, device: &dyn UsbDevice, coding: LineCoding) -> Result<(), TransferError> {
        let setup = self.request(0x21, 0x20, 0, 7);
        device.control(setup, coding.to_bytes().to_vec(), TIMEOUT).await.map(drop)
    }

    /// GET_LINE_CODING.
    ///
    /// # Errors
    /// Those of the control transfer; [`TransferError::Io`] (EPROTO) when the answer is not seven bytes.
    pub async fn line_coding(&self, device: &dyn UsbDevice) -> Result<LineCoding, TransferError> {
        let answer = device.control(self.request(0xa1, 0x21, 0, 7), Vec::new(), TIMEOUT).await?;
        let raw: &[u8; 7] = answer.as_slice().try_into().map_err(|_| TransferError::Io(errno::EPROTO))?;
        Ok(LineCoding::from_bytes(raw))
    }

    /// SET_CONTROL_LINE_STATE: both lines change in one request.
    ///
    /// # Errors
    /// Those of the control transfer.
    pub async fn set_lines(&self, device: &dyn UsbDevice, dtr: bool, rts: bool) -> Result<(), TransferError> {
        let value = u16::from(dtr) | u16::from(rts) << 1;
        device.control(self.request(0x21, 0x22, value, 0), Vec::new(), TIMEOUT).await.map(drop)
    }

    /// SEND_BREAK for `ms` milliseconds; 0xffff is until further notice, 0 ends it.
    ///
    /// # Errors
    /// Those of the control transfer.
    pub async fn send_break(&self, device: &dyn UsbDevice, ms: u16) -> Result<(), TransferError> {
        device.control(self.request(0x21, 0x23, ms, 0), Vec::new(), TIMEOUT).await.map(drop)
    }

    fn request(&self, request_type: u8, request: u8, value: u16, length: u16) -> Setup {
        Setup { request_type, request, value, index: self.control_interface.into(), length }
    }
}

const CLASS_COMMUNICATION: u8 = 0x02;
const SUBCLASS_ACM: u8 = 0x02;
const PROTOCOL_VENDOR: u8 = 0xff;
const CLASS_DATA: u8 = 0x0a;
const TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usb::descriptors::Speed;
    use proptest::prelude::*;

    const DEVICE: [u8; 18] = [18, 1, 0, 2, 0xef, 2, 1, 64, 0x09, 0x12, 0x03, 0, 0, 1, 0, 0, 0, 1];

    fn parse(parts: &[&[u8]]) -> Descriptors {
        let mut raw = [&[9, 2, 0, 0, 2, 1, 0, 0x80, 50], &parts.concat()[..]].concat();
        raw[2] = raw.len() as u8;
        Descriptors::parse(&DEVICE, &raw, Speed::Full).unwrap()
    }

    /// Control interface, data interface and the IN endpoint of each function.
    fn found(parts: &[&[u8]]) -> Vec<(u8, u8, u8)> {
        let functions = find_functions(&parse(parts));
        functions.iter().map(|f| (f.control_interface, f.data_interface, f.bulk_in.address)).collect()
    }

    fn control(number: u8) -> [u8; 9] {
        [9, 4, number, 0, 0, 2, 2, 1, 0]
    }

    fn data(number: u8, endpoint: u8) -> [u8; 23] {
        let mut raw = [9, 4, number, 0, 2, 10, 0, 0, 0, 7, 5, 0, 2, 64, 0, 0, 7, 5, 0, 2, 64, 0, 0];
        (raw[11], raw[18]) = (0x80 | endpoint, endpoint);
        raw
    }

    fn union(control: u8, subordinate: u8) -> [u8; 5] {
        [5, 0x24, 6, control, subordinate]
    }

    /// An interface with all three endpoints.
    fn single(number: u8) -> Vec<u8> {
        let endpoints = [7, 5, 0x81, 3, 8, 0, 10, 7, 5, 0x82, 2, 64, 0, 0, 7, 5, 0x02, 2, 64, 0, 0];
        [&[9, 4, number, 0, 3, 2, 2, 1, 0], &endpoints[..]].concat()
    }

    #[test]
    fn a_function_in_one_interface_does_not_take_the_data_interface_of_the_next() {
        let association = [8, 11, 1, 2, 2, 2, 1, 0];
        let second = [&association[..], &control(1), &union(1, 2), &data(2, 4)].concat();
        assert_eq!(found(&[&single(0), &second]), [(0, 0, 0x82), (1, 2, 0x84)]);
    }

    #[test]
    fn a_union_goes_before_an_association_and_both_before_the_order() {
        let crossed = [&control(0)[..], &union(0, 3), &control(1), &union(1, 2), &data(2, 4), &data(3, 5)].concat();
        assert_eq!(found(&[&crossed]), [(0, 3, 0x85), (1, 2, 0x84)]);
        let associated = [&[8, 11, 1, 2, 2, 2, 1, 0][..], &control(1), &data(2, 4)].concat();
        assert_eq!(found(&[&control(0), &associated, &data(3, 5)]), [(0, 3, 0x85), (1, 2, 0x84)]);
        assert_eq!(found(&[&control(0), &data(1, 4), &control(2), &data(3, 5)]), [(0, 1, 0x84), (2, 3, 0x85)]);
    }

    #[test]
    fn a_union_that_points_elsewhere_is_ignored_and_one_that_is_crossed_is_mended() {
        assert_eq!(found(&[&control(0), &union(0, 9), &data(1, 4)]), [(0, 1, 0x84)]);
        assert_eq!(found(&[&control(1), &union(0, 1), &data(0, 4)]), [(1, 0, 0x84)]);
        assert_eq!(found(&[&control(0), &union(0, 0), &data(1, 4)]), [(0, 1, 0x84)]);
    }

    #[test]
    fn rndis_and_interfaces_without_packets_are_no_serial_functions() {
        let mut rndis = control(0);
        rndis[7] = 0xff;
        assert_eq!(found(&[&rndis, &data(1, 4)]), []);
        let mut empty = data(1, 4);
        empty[13] = 0;
        assert_eq!(found(&[&control(0), &empty]), []);
    }

    proptest! {
        #[test]
        fn no_interface_has_two_functions(parts in prop::collection::vec((0u8..5, 0u8..6, 0u8..6), 0..8)) {
            let part = |&(kind, a, b): &(u8, u8, u8)| match kind {
                0 => control(a).to_vec(),
                1 => data(a, b + 1).to_vec(),
                2 => union(a, b).to_vec(),
                3 => vec![8, 11, a, b, 2, 2, 1, 0],
                _ => single(a),
            };
            let parts: Vec<Vec<u8>> = parts.iter().map(part).collect();
            let found = found(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
            for (at, function) in found.iter().enumerate() {
                prop_assert!(found[..at].iter().all(|other| other.0 != function.0 && other.1 != function.1));
            }
        }
    }

    #[test]
    fn line_coding_has_the_bytes_of_the_specification_and_reads_back() {
        let coding = LineCoding { baud: 115_200, mode: "7E2".parse().unwrap() };
        assert_eq!(coding.to_bytes(), [0x00, 0xc2, 0x01, 0x00, 2, 2, 7]);
        assert_eq!(LineCoding::from_bytes(&coding.to_bytes()), coding);
    }
}
