//! Reads descriptors from a device: GET_DESCRIPTOR, USB 2.0, 9.4.3.
//!
//! Each is asked for with the length that is due: that of its kind, or the one that its first bytes state. Some devices
//! refuse more, and some end an answer of whole packets without the zero-length packet that would tell the host that
//! nothing follows. It keeps nothing.

use std::num::NonZeroU8;
use std::time::Duration;

use nusb::descriptors::DeviceDescriptor;

use super::descriptors::{Descriptors, STRING_DESCRIPTOR, decode_string};
use super::{Setup, TransferError, UsbDevice, standard};

/// The device descriptor: 18 bytes.
///
/// # Errors
/// Those of the control transfer.
pub async fn read_device(device: &dyn UsbDevice, timeout: Duration) -> Result<Vec<u8>, TransferError> {
    request(device, standard::get_device_descriptor(), timeout).await
}

/// The first nine bytes of configuration number `index`: USB 2.0, 9.6.3.
///
/// # Errors
/// Those of the control transfer.
pub async fn read_configuration_head(
    device: &dyn UsbDevice,
    index: u8,
    timeout: Duration,
) -> Result<Vec<u8>, TransferError> {
    request(device, standard::get_configuration_descriptor(index, CONFIGURATION_HEAD), timeout).await
}

/// Configuration number `index`, counted from 0, with all that belongs to it: first its head, then wTotalLength bytes.
///
/// # Errors
/// Those of the control transfers.
pub async fn read_configuration(
    device: &dyn UsbDevice,
    index: u8,
    timeout: Duration,
) -> Result<Vec<u8>, TransferError> {
    let head = read_configuration_head(device, index, timeout).await?;
    let total = match head[..] {
        [_, _, low, high, ..] => u16::from_le_bytes([low, high]),
        _ => 0,
    };
    if total <= CONFIGURATION_HEAD {
        return Ok(head);
    }
    request(device, standard::get_configuration_descriptor(index, total), timeout).await
}

/// A raw string descriptor: USB 2.0, 9.6.7. Index 0 is the list of languages.
///
/// # Errors
/// Those of the control transfers.
pub async fn read_string(
    device: &dyn UsbDevice,
    index: u8,
    language: u16,
    timeout: Duration,
) -> Result<Vec<u8>, TransferError> {
    let ask = |length| request(device, standard::get_string_descriptor(index, language, length), timeout);
    match ask(STRING_HEAD).await {
        Ok(head) if is_string_head(&head) => ask(head[0]).await,
        Ok(_) | Err(TransferError::Stall) => ask(LONGEST_STRING).await,
        failed => failed,
    }
}

/// The first language the device offers, or US English.
///
/// # Errors
/// [`TransferError::Timeout`] and [`TransferError::Disconnected`], after which other strings need not be asked for.
pub async fn first_language(device: &dyn UsbDevice, timeout: Duration) -> Result<u16, TransferError> {
    match read_string(device, 0, 0, timeout).await {
        Ok(raw) if raw.len() >= 4 && raw[1] == STRING_DESCRIPTOR => Ok(u16::from_le_bytes([raw[2], raw[3]])),
        Err(e @ (TransferError::Timeout | TransferError::Disconnected)) => Err(e),
        _ => Ok(US_ENGLISH),
    }
}

/// Reads the strings that the device descriptor `raw` names. A device that refuses a string has none, and one that does
/// not answer for a string is asked for no more of them.
pub async fn read_strings(device: &dyn UsbDevice, raw: &[u8], into: &mut Descriptors) {
    let Some(parsed) = DeviceDescriptor::new(raw) else { return };
    let fields = [
        (parsed.manufacturer_string_index(), &mut into.manufacturer),
        (parsed.product_string_index(), &mut into.product),
        (parsed.serial_number_string_index(), &mut into.serial_number),
    ];
    let mut language = None;
    for (index, field) in fields {
        let Some(index) = index else { continue };
        match read_text(device, index, &mut language).await {
            Ok(text) => *field = text,
            Err(_) => return,
        }
    }
}

/// The text of a string; `None` where the device refuses it.
async fn read_text(
    device: &dyn UsbDevice,
    index: NonZeroU8,
    language: &mut Option<u16>,
) -> Result<Option<String>, TransferError> {
    let language = match *language {
        Some(known) => known,
        None => *language.insert(first_language(device, DESCRIPTOR_TIMEOUT).await?),
    };
    match read_string(device, index.get(), language, DESCRIPTOR_TIMEOUT).await {
        Ok(raw) => Ok(decode_string(&raw)),
        Err(e @ (TransferError::Timeout | TransferError::Disconnected)) => Err(e),
        Err(_) => Ok(None),
    }
}

async fn request(device: &dyn UsbDevice, setup: Setup, timeout: Duration) -> Result<Vec<u8>, TransferError> {
    device.control(setup, Vec::new(), timeout).await
}

/// Whether these bytes say how long a string descriptor is.
fn is_string_head(head: &[u8]) -> bool {
    matches!(head, [length, STRING_DESCRIPTOR, ..] if *length >= STRING_HEAD)
}

/// How long a device may take over one descriptor before it is taken for silent.
pub const DESCRIPTOR_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a configuration descriptor without what belongs to it: USB 2.0, 9.6.3.
const CONFIGURATION_HEAD: u16 = 9;
/// bLength and bDescriptorType.
const STRING_HEAD: u8 = 2;
const LONGEST_STRING: u8 = 255;
const US_ENGLISH: u16 = 0x0409;

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::usb::descriptors::{Endpoint, Speed};
    use crate::usb::{BoxFuture, OpenError, Pipe};

    /// Answers GET_DESCRIPTOR as devices do that were seen to break a host.
    struct Odd {
        descriptors: Arc<Descriptors>,
        /// By wValue.
        answers: Vec<(u16, Vec<u8>)>,
        /// The longest wLength that it takes.
        most: u16,
        /// The only wLength that it takes for a string.
        only: Option<u16>,
        asked: Mutex<Vec<(u16, u16)>>,
    }

    impl Odd {
        fn new(answers: Vec<(u16, Vec<u8>)>) -> Self {
            let descriptors = Arc::new(Descriptors::parse(&DEVICE, &EMPTY, Speed::Full).unwrap());
            Self { descriptors, answers, most: u16::MAX, only: None, asked: Mutex::default() }
        }

        /// An answer of whole packets that is shorter than wLength has no end, as without a ZLP.
        fn answer(&self, setup: Setup) -> Result<Vec<u8>, TransferError> {
            self.asked.lock().unwrap().push((setup.value, setup.length));
            let is_refused = setup.length > self.most
                || setup.value & 0xff00 == 0x0300 && self.only.is_some_and(|only| only != setup.length);
            let found = self.answers.iter().find(|(value, _)| *value == setup.value && !is_refused);
            let (_, bytes) = found.ok_or(TransferError::Stall)?;
            let wanted = usize::from(setup.length);
            if bytes.len() < wanted && bytes.len().is_multiple_of(PACKET) {
                return Err(TransferError::Timeout);
            }
            Ok(bytes[..bytes.len().min(wanted)].to_vec())
        }

        fn asked(&self) -> Vec<(u16, u16)> {
            self.asked.lock().unwrap().clone()
        }
    }

    impl UsbDevice for Odd {
        fn descriptors(&self) -> &Arc<Descriptors> {
            &self.descriptors
        }

        fn control(&self, setup: Setup, _: Vec<u8>, _: Duration) -> BoxFuture<'_, Result<Vec<u8>, TransferError>> {
            let answer = self.answer(setup);
            Box::pin(async { answer })
        }

        fn open_pipe(&self, _: &Endpoint) -> Result<Box<dyn Pipe>, OpenError> {
            Err(OpenError::NotFound("it has none".to_owned()))
        }

        fn set_alt_setting(&self, _: u8, _: u8) -> BoxFuture<'_, Result<(), TransferError>> {
            Box::pin(async { Ok(()) })
        }

        fn clear_halt(&self, _: u8) -> BoxFuture<'_, Result<(), TransferError>> {
            Box::pin(async { Ok(()) })
        }

        fn reset(&self) -> BoxFuture<'_, Result<(), TransferError>> {
            Box::pin(async { Ok(()) })
        }

        fn gone(&self) -> BoxFuture<'_, String> {
            Box::pin(pending())
        }
    }

    /// A configuration of this length.
    fn configuration(length: usize) -> Vec<u8> {
        let mut raw = EMPTY.to_vec();
        raw.resize(length, 0);
        raw[2..4].copy_from_slice(&(length as u16).to_le_bytes());
        raw
    }

    fn string(text: &str) -> Vec<u8> {
        let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        [&[units.len() as u8 + 2, 3], &units[..]].concat()
    }

    fn strings() -> Vec<(u16, Vec<u8>)> {
        // 62 bytes of text make a descriptor of one whole packet.
        vec![(0x0300, vec![4, 3, 9, 4]), (0x0301, string("maker")), (0x0302, string(&"x".repeat(31)))]
    }

    #[tokio::test]
    async fn a_configuration_is_asked_for_with_nine_bytes_and_then_with_its_own_length() {
        for length in [9, 32, PACKET, 4 * PACKET] {
            let mut device = Odd::new(vec![(0x0200, configuration(length))]);
            device.most = 4096;
            let read = read_configuration(&device, 0, DESCRIPTOR_TIMEOUT).await;
            assert_eq!(read, Ok(configuration(length)), "{length} bytes");
            let expected = [(0x0200, 9), (0x0200, length as u16)];
            assert_eq!(device.asked(), expected[..if length > 9 { 2 } else { 1 }]);
        }
    }

    #[tokio::test]
    async fn a_string_that_fills_its_last_packet_is_read_whole() {
        let device = Odd::new(strings());
        let mut into = Descriptors::parse(&DEVICE, &EMPTY, Speed::Full).unwrap();
        read_strings(&device, &DEVICE, &mut into).await;
        assert_eq!((into.manufacturer.as_deref(), into.product.as_deref()), (Some("maker"), Some(&*"x".repeat(31))));
    }

    #[tokio::test]
    async fn a_string_that_is_refused_in_part_is_asked_for_at_the_longest() {
        let mut device = Odd::new(strings());
        device.only = Some(255);
        assert_eq!(read_string(&device, 1, US_ENGLISH, DESCRIPTOR_TIMEOUT).await, Ok(string("maker")));
        assert_eq!(device.asked(), [(0x0301, 2), (0x0301, 255)]);
    }

    #[tokio::test]
    async fn after_a_string_that_never_comes_no_other_is_asked_for() {
        // Two bytes that are no head of a string, and then nothing.
        let device = Odd::new(vec![(0x0300, vec![0; PACKET])]);
        let mut into = Descriptors::parse(&DEVICE, &EMPTY, Speed::Full).unwrap();
        read_strings(&device, &DEVICE, &mut into).await;
        assert_eq!((into.manufacturer, device.asked()), (None, vec![(0x0300, 2), (0x0300, 255)]));
    }

    const PACKET: usize = 64;
    const DEVICE: [u8; 18] = [18, 1, 0, 2, 0, 0, 0, 64, 0x09, 0x12, 0x03, 0, 0, 1, 1, 2, 0, 1];
    const EMPTY: [u8; 9] = [9, 2, 9, 0, 0, 1, 0, 0x80, 50];
}
