//! Requests of the control pipe, carried out on a device.

use std::time::Duration;

use super::refused;
use crate::request::hex;
use crate::request::{Answer, ControlRequest, DescriptorKind, ErrorName};
use crate::usb::descriptors::Descriptors;
use crate::usb::errno::EBUSY;
use crate::usb::{Setup, TransferError, UsbDevice, enumerate};

/// Carries out one request of the text grammar.
pub async fn execute(device: &dyn UsbDevice, request: &ControlRequest, timeout: Duration) -> Answer {
    let mut result = attempt(device, request, timeout).await;
    if result == Err(TransferError::Io(EBUSY)) {
        match refused::claim(device, request).await {
            Ok(true) => result = attempt(device, request, timeout).await,
            Ok(false) => {}
            Err(answer) => return answer,
        }
    }
    result.unwrap_or_else(|error| refused::explain(device, request, error))
}

async fn attempt(device: &dyn UsbDevice, request: &ControlRequest, timeout: Duration) -> Result<Answer, TransferError> {
    match request {
        ControlRequest::Descriptor(kind) => descriptor(device, *kind, timeout).await.map(hex_answer),
        ControlRequest::ClearHalt(endpoint) => clear_halt(device, *endpoint).await,
        ControlRequest::Alt { interface, setting } => {
            device.set_alt_setting(*interface, *setting).await.map(empty_answer)
        }
        ControlRequest::Reset => device.reset().await.map(empty_answer),
        ControlRequest::Status => Ok(status(device)),
        ControlRequest::In { .. } | ControlRequest::Out { .. } => {
            transfer(device, request, timeout).await.map(hex_answer)
        }
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
async fn clear_halt(device: &dyn UsbDevice, endpoint: u8) -> Result<Answer, TransferError> {
    let known = endpoint & 0x0f == 0 || device.descriptors().find_endpoint(endpoint, None, None).is_some();
    if known {
        return device.clear_halt(endpoint).await.map(empty_answer);
    }
    let text = format!("the device has no endpoint {endpoint:#04x}; `usbpipe list` shows those it has");
    Ok(Answer::Error { name: ErrorName::Invalid, text })
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

fn hex_answer(data: Vec<u8>) -> Answer {
    Answer::Ok(hex::encode(&data))
}

fn empty_answer((): ()) -> Answer {
    Answer::Ok(String::new())
}

/// The recipient in bmRequestType: USB 2.0, table 9-2.
pub(super) const RECIPIENT: u8 = 0x1f;
pub(super) const TO_INTERFACE: u8 = 1;
pub(super) const TO_ENDPOINT: u8 = 2;

fn status(device: &dyn UsbDevice) -> Answer {
    let d = device.descriptors();
    Answer::Ok(format!(
        "state=attached vid={:04x} pid={:04x} speed={} configuration={}",
        d.vendor_id, d.product_id, d.speed, d.configuration_value
    ))
}
