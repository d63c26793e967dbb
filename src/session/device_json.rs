//! `device.json`: what is known of a device, beside its outlets.

use serde::Serialize;

use super::DeviceStatus;
use crate::printable::pretty_json;
use crate::usb::descriptors::Descriptors;

#[derive(Serialize)]
struct DeviceJson<'a> {
    name: &'a str,
    state: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<&'a Descriptors>,
    outlets: Vec<Outlet<'a>>,
}

#[derive(Serialize)]
struct Outlet<'a> {
    endpoint: &'a str,
    outlet: &'a str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tty: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rfc2217: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp: Option<&'a str>,
}

/// The content of the file.
pub(super) fn render(status: &DeviceStatus, descriptors: Option<&Descriptors>) -> Vec<u8> {
    let pipes = status.pipes.iter();
    let outlets = pipes.map(|p| Outlet {
        endpoint: &p.endpoint,
        outlet: &p.outlet,
        path: &p.path,
        socket: p.socket.as_deref(),
        tty: p.tty.as_deref(),
        rfc2217: p.rfc2217.as_deref(),
        tcp: p.tcp.as_deref(),
    });
    let json = DeviceJson {
        name: &status.name,
        state: &status.state,
        backend: status.backend.as_deref(),
        place: status.place.as_deref(),
        device: descriptors,
        outlets: outlets.collect(),
    };
    let mut text = pretty_json(&json).unwrap_or_default();
    text.push('\n');
    text.into_bytes()
}
