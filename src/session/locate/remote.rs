//! Finds and opens a device of a USB/IP server.

use std::sync::Arc;

use super::{Found, wrong_device};
use crate::config::DeviceConfig;
use crate::selector::Remote;
use crate::usb::usbip::{self, Exported};
use crate::usb::{OpenError, UsbDevice};

/// Opens the device that `config` means there.
pub(super) async fn locate(config: &DeviceConfig, remote: &Remote) -> Result<Found, OpenError> {
    let busid = match &remote.busid {
        Some(busid) => busid.clone(),
        None => choose(&usbip::list(remote).await?, config, remote)?,
    };
    let device = usbip::open(remote, &busid).await?;
    let d = device.descriptors();
    if !config.matches.fits(d.vendor_id, d.product_id, d.serial_number.as_deref(), d.product.as_deref()) {
        return Err(wrong_device(d));
    }
    let place = Remote { busid: Some(busid.clone()), ..remote.clone() }.to_string();
    Ok(Found { device: Arc::new(device), backend: "usbip", place, port: Some(busid), taken: Vec::new() })
}

/// The bus id of the one exported device that fits, as far as a device list can tell.
fn choose(exported: &[Exported], config: &DeviceConfig, remote: &Remote) -> Result<String, OpenError> {
    let wanted = &config.matches;
    let fits = |e: &&Exported| {
        wanted.vid.is_none_or(|v| v == e.device.vendor_id)
            && (wanted.pid.is_empty() || wanted.pid.contains(&e.device.product_id))
            && wanted.port.as_ref().is_none_or(|p| *p == e.device.busid)
    };
    let mut fitting = exported.iter().filter(fits);
    match (fitting.next(), fitting.next()) {
        (Some(only), None) => Ok(only.device.busid.clone()),
        (Some(_), Some(_)) => Err(OpenError::NotFound(format!(
            "several devices of {}:{} fit; add `port`, or the bus id to `remote`: it exports {}",
            remote.host,
            remote.port,
            describe(exported)
        ))),
        (None, _) => Err(OpenError::NotFound(format!(
            "no device of {}:{} fits; it exports {}",
            remote.host,
            remote.port,
            describe(exported)
        ))),
    }
}

fn describe(exported: &[Exported]) -> String {
    let one = |e: &Exported| {
        format!("{} ({:04x}:{:04x})", e.device.busid.escape_debug(), e.device.vendor_id, e.device.product_id)
    };
    match exported {
        [] => "nothing".to_owned(),
        some => some.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}
