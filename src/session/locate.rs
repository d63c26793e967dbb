//! Finds and opens the device that a configuration means.

use std::sync::Arc;

use crate::config::{DeviceConfig, Match};
use crate::selector::Remote;
use crate::usb::descriptors::Descriptors;
use crate::usb::usbip::{self, Exported};
use crate::usb::{OpenError, UsbDevice};

/// An opened device.
pub struct Found {
    /// The device itself.
    pub device: Arc<dyn UsbDevice>,
    /// How it is reached: the backend's name.
    pub backend: &'static str,
    /// Where it is, in the backend's terms.
    pub place: String,
}

/// Opens the device that `config` means.
///
/// # Errors
/// [`OpenError`]; all of its kinds may pass by themselves.
pub async fn locate(config: &DeviceConfig) -> Result<Found, OpenError> {
    let Some(remote) = &config.remote else {
        let text = "this version reaches devices through USB/IP only; give it `remote = \"usbip://host/busid\"`";
        return Err(OpenError::NotFound(text.to_owned()));
    };
    let busid = match &remote.busid {
        Some(busid) => busid.clone(),
        None => choose(&usbip::list(remote).await?, config, remote)?,
    };
    let device = usbip::open(remote, &busid).await?;
    check(device.descriptors(), &config.matches)?;
    let place = Remote { busid: Some(busid), ..remote.clone() }.to_string();
    Ok(Found { device: Arc::new(device), backend: "usbip", place })
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

/// Whether an opened device is the one that was meant.
fn check(found: &Descriptors, wanted: &Match) -> Result<(), OpenError> {
    let text_fits = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
    if wanted.vid.is_none_or(|v| v == found.vendor_id)
        && (wanted.pid.is_empty() || wanted.pid.contains(&found.product_id))
        && text_fits(&wanted.serial, &found.serial_number)
        && text_fits(&wanted.product, &found.product)
    {
        return Ok(());
    }
    Err(OpenError::NotFound(format!(
        "another device is there: {:04x}:{:04x}, product {:?}, serial {:?}",
        found.vendor_id, found.product_id, found.product, found.serial_number
    )))
}
