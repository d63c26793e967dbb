//! Requests of the control pipe, carried out on a device.

use std::time::Duration;

use crate::request::hex;
use crate::request::{Answer, ControlRequest, DescriptorKind, ErrorName};
use crate::usb::descriptors::Descriptors;
use crate::usb::{Setup, TransferError, UsbDevice, enumerate};

/// Carries out one request of the text grammar.
pub async fn execute(device: &dyn UsbDevice, request: &ControlRequest, timeout: Duration) -> Answer {
    match request {
        ControlRequest::Descriptor(kind) => hex_answer(descriptor(device, *kind, timeout).await),
        ControlRequest::ClearHalt(endpoint) => clear_halt(device, *endpoint).await,
        ControlRequest::Alt { interface, setting } => done(device.set_alt_setting(*interface, *setting).await),
        ControlRequest::Reset => done(device.reset().await),
        ControlRequest::Status => status(device),
        ControlRequest::In { .. } | ControlRequest::Out { .. } => match transfer(device, request, timeout).await {
            Ok(data) if data.is_empty() => Answer::Ok(String::new()),
            result => hex_answer(result),
        },
    }
}

/// The interface that a request is about, which has to be free of kernel drivers for it: USB 2.0, 9.3.
pub fn addressed_interface(request: &ControlRequest, descriptors: &Descriptors) -> Option<u8> {
    let of_endpoint =
        |address: u8| descriptors.find_endpoint(address, None, None).map(|(setting, _)| setting.interface);
    match request {
        ControlRequest::In { request_type, index, .. } | ControlRequest::Out { request_type, index, .. } => {
            let [low, _] = index.to_le_bytes();
            match request_type & RECIPIENT {
                TO_INTERFACE => Some(low),
                TO_ENDPOINT => of_endpoint(low),
                _ => None,
            }
        }
        ControlRequest::Alt { interface, .. } => Some(*interface),
        ControlRequest::ClearHalt(endpoint) => of_endpoint(*endpoint),
        ControlRequest::Descriptor(_) | ControlRequest::Reset | ControlRequest::Status => None,
    }
}

async fn descriptor(device: &dyn UsbDevice, kind: DescriptorKind, timeout: Duration) -> Result<Vec<u8>, TransferError> {
    match kind {
        DescriptorKind::Device => enumerate::read_device(device, timeout).await,
        DescriptorKind::Config(index) => enumerate::read_configuration(device, index, timeout).await,
        DescriptorKind::String(index) => {
            let language = if index == 0 { 0 } else { enumerate::first_language(device, timeout).await? };
            enumerate::read_string(device, index, language, timeout).await
        }
    }
}

/// Carries out a request that is a plain control transfer and gives back what was received.
pub(super) async fn transfer(
    device: &dyn UsbDevice,
    request: &ControlRequest,
    timeout: Duration,
) -> Result<Vec<u8>, TransferError> {
    let (setup, data) = match request {
        ControlRequest::In { request_type, request, value, index, length } => (
            Setup { request_type: *request_type, request: *request, value: *value, index: *index, length: *length },
            vec![],
        ),
        ControlRequest::Out { request_type, request, value, index, data } => {
            let length = u16::try_from(data.len()).map_err(|_| TransferError::Invalid)?;
            let setup = Setup { request_type: *request_type, request: *request, value: *value, index: *index, length };
            (setup, data.clone())
        }
        _ => return Err(TransferError::Invalid),
    };
    device.control(setup, data, timeout).await
}

/// A device need not refuse an endpoint that it does not have, so it is not asked: USB 2.0, 9.4.1.
async fn clear_halt(device: &dyn UsbDevice, endpoint: u8) -> Answer {
    let known = endpoint & 0x0f == 0 || device.descriptors().find_endpoint(endpoint, None, None).is_some();
    if known {
        return done(device.clear_halt(endpoint).await);
    }
    let text = format!("the device has no endpoint {endpoint:#04x}; `usbpipe list` shows those it has");
    Answer::Error { name: ErrorName::Invalid, text }
}

/// The answer to any request while the device is away.
pub(super) fn disconnected(device: &str) -> Answer {
    let text = format!("{device} is not connected; the request was not sent, repeat it when it is back");
    Answer::Error { name: ErrorName::Disconnected, text }
}

/// The name in answers for what went wrong on the bus.
pub(super) fn error_name(error: TransferError) -> ErrorName {
    match error {
        TransferError::Stall => ErrorName::Stall,
        TransferError::Timeout => ErrorName::Timeout,
        TransferError::Disconnected | TransferError::Cancelled => ErrorName::Disconnected,
        TransferError::Overflow => ErrorName::Overflow,
        TransferError::Invalid => ErrorName::Invalid,
        TransferError::Io(_) => ErrorName::Io,
    }
}

pub(super) fn done(result: Result<(), TransferError>) -> Answer {
    match result {
        Ok(()) => Answer::Ok(String::new()),
        Err(e) => failed(e),
    }
}

fn failed(error: TransferError) -> Answer {
    let text = match error {
        TransferError::Stall => "the device refused the request (stall)".to_owned(),
        other => other.to_string(),
    };
    Answer::Error { name: error_name(error), text }
}

fn hex_answer(result: Result<Vec<u8>, TransferError>) -> Answer {
    match result {
        Ok(data) => Answer::Ok(hex::encode(&data)),
        Err(e) => failed(e),
    }
}

/// The recipient in bmRequestType: USB 2.0, table 9-2.
const RECIPIENT: u8 = 0x1f;
const TO_INTERFACE: u8 = 1;
const TO_ENDPOINT: u8 = 2;

fn status(device: &dyn UsbDevice) -> Answer {
    let d = device.descriptors();
    Answer::Ok(format!(
        "state=attached vid={:04x} pid={:04x} speed={} configuration={}",
        d.vendor_id, d.product_id, d.speed, d.configuration_value
    ))
}
