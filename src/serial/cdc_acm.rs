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
    let settings = &descriptors.alt_settings;
    let is_control = |s: &&AltSetting| s.class == CLASS_COMMUNICATION && s.subclass == SUBCLASS_ACM;
    let control = settings.iter().filter(is_control).find(|s| interface.is_none_or(|i| s.interface == i))?;
    let after = settings.iter().filter(|s| s.interface > control.interface);
    let before = settings.iter().filter(|s| s.interface < control.interface);
    let data =
        after.chain(before).find(|s| s.class == CLASS_DATA && bulk(s, true).is_some() && bulk(s, false).is_some())?;
    Some(Function {
        control_interface: control.interface,
        data_interface: data.interface,
        data_alt: data.setting,
        notification: control
            .endpoints
            .iter()
            .copied()
            .find(|e| e.is_in() && e.transfer_type == TransferType::Interrupt),
        bulk_in: bulk(data, true)?,
        bulk_out: bulk(data, false)?,
    })
}

fn bulk(setting: &AltSetting, is_in: bool) -> Option<Endpoint> {
    setting.endpoints.iter().copied().find(|e| e.transfer_type == TransferType::Bulk && e.is_in() == is_in)
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
const CLASS_DATA: u8 = 0x0a;
const TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_coding_has_the_bytes_of_the_specification_and_reads_back() {
        let coding = LineCoding { baud: 115_200, mode: "7E2".parse().unwrap() };
        assert_eq!(coding.to_bytes(), [0x00, 0xc2, 0x01, 0x00, 2, 2, 7]);
        assert_eq!(LineCoding::from_bytes(&coding.to_bytes()), coding);
    }
}
