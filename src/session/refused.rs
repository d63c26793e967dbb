//! Why a request of the control pipe was refused, as far as the descriptors and the system tell, and what to do about it.

use std::collections::BTreeSet;

use super::control::{RECIPIENT, TO_ENDPOINT, TO_INTERFACE, addressed_interface, error_name};
use crate::request::{Answer, ControlRequest, ErrorName};
use crate::usb::descriptors::Descriptors;
use crate::usb::errno::{EBUSY, EINVAL, ENOENT};
use crate::usb::{OpenError, TransferError, UsbDevice, advice};

/// What a request is about.
enum Target {
    Device,
    Interface(u8),
    Setting(u8, u8),
    Endpoint(u8),
}

impl Target {
    fn of(request: &ControlRequest) -> Self {
        match *request {
            ControlRequest::In { request_type, index, .. } | ControlRequest::Out { request_type, index, .. } => {
                match request_type & RECIPIENT {
                    TO_INTERFACE => Self::Interface(index as u8),
                    TO_ENDPOINT => Self::Endpoint(index as u8),
                    _ => Self::Device,
                }
            }
            ControlRequest::Alt { interface, setting } => Self::Setting(interface, setting),
            ControlRequest::ClearHalt(endpoint) => Self::Endpoint(endpoint),
            ControlRequest::Descriptor(_) | ControlRequest::Reset | ControlRequest::Status => Self::Device,
        }
    }
}

/// Takes the interface that a request is about, which the system has refused because it is somebody else's. True if it is
/// free now, so that the request is worth another try.
///
/// # Errors
/// Who has the interface, and what to do.
pub(super) async fn claim(device: &dyn UsbDevice, request: &ControlRequest) -> Result<bool, Answer> {
    let Some(interface) = addressed_interface(request, device.descriptors()) else { return Ok(false) };
    match device.claim(interface, false).await {
        Ok(()) => Ok(true),
        Err(OpenError::Busy(text)) => Err(Answer::Error { name: ErrorName::Io, text }),
        Err(_) => Ok(false),
    }
}

/// The answer to a request that failed.
pub(super) fn explain(device: &dyn UsbDevice, request: &ControlRequest, error: TransferError) -> Answer {
    let text = match error {
        TransferError::Stall => "the device refused the request (stall)".to_owned(),
        other => other.to_string(),
    };
    let is_refusal =
        matches!(error, TransferError::Stall | TransferError::Invalid | TransferError::Io(ENOENT | EINVAL | EBUSY));
    let why = is_refusal.then(|| missing(device.descriptors(), &Target::of(request))).flatten();
    let text = why.map_or_else(|| text.clone(), |why| format!("{text}: {why}"));
    Answer::Error { name: error_name(error), text }
}

/// What the device does not have, or does not have now.
fn missing(d: &Descriptors, target: &Target) -> Option<String> {
    match *target {
        Target::Device => None,
        Target::Interface(interface) => missing_interface(d, interface),
        Target::Setting(interface, setting) => missing_interface(d, interface).or_else(|| {
            let of_interface = d.alt_settings.iter().filter(|s| s.interface == interface);
            let settings: BTreeSet<u8> = of_interface.map(|s| s.setting).collect();
            let text =
                || format!("interface {interface} has no alternate setting {setting}; it has {}", list(&settings));
            (!settings.contains(&setting)).then(text)
        }),
        Target::Endpoint(address) => advice::endpoint_not_selected(d, address),
    }
}

fn missing_interface(d: &Descriptors, interface: u8) -> Option<String> {
    let interfaces: BTreeSet<u8> = d.alt_settings.iter().map(|s| s.interface).collect();
    let text = || format!("the device has no interface {interface}; it has {}", list(&interfaces));
    (!interfaces.contains(&interface)).then(text)
}

fn list(numbers: &BTreeSet<u8>) -> String {
    match numbers.is_empty() {
        true => "none".to_owned(),
        false => numbers.iter().map(u8::to_string).collect::<Vec<_>>().join(", "),
    }
}
