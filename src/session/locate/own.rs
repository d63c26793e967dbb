//! Finds and opens a device of this machine's own USB.

use std::sync::Arc;

use super::{Found, Own};
use crate::config::{Backend, DeviceConfig, Match};
use crate::usb::local::{self, Combined, LocalDevice, isochronous_interfaces};
use crate::usb::{OpenError, UsbDevice, libusb, nusb};

/// Opens the one device that fits and that no other keeper has.
pub(super) async fn locate(config: &DeviceConfig, own: &Own) -> Result<Found, OpenError> {
    let present = local::list()?;
    let device = choose(&present, &config.matches, own)?;
    let taken = own.taken.take(&device.place).into_iter().collect();
    let place = device.place.clone();
    let (device, backend) = open(device, config.backend, own).await?;
    Ok(Found { device, backend, port: Some(place.clone()), place, taken })
}

async fn open(
    device: &LocalDevice,
    backend: Backend,
    own: &Own,
) -> Result<(Arc<dyn UsbDevice>, &'static str), OpenError> {
    if backend == Backend::Libusb {
        return Ok((Arc::new(libusb::open(device).await?), "libusb"));
    }
    let main = Arc::new(nusb::open(device, &own.hotplug).await?);
    let needs_libusb = isochronous_interfaces(main.descriptors()).next().is_some();
    if backend == Backend::Nusb || !needs_libusb {
        return Ok((main, "nusb"));
    }
    let isochronous = Arc::new(libusb::open(device).await?);
    Ok((Arc::new(Combined::new(main, isochronous)), "auto"))
}

fn choose<'a>(present: &'a [LocalDevice], wanted: &Match, own: &Own) -> Result<&'a LocalDevice, OpenError> {
    let fitting: Vec<&LocalDevice> = present.iter().filter(|d| fits(d, wanted)).collect();
    let free: Vec<&&LocalDevice> = fitting.iter().filter(|d| !own.taken.contains(&d.place)).collect();
    match (free.as_slice(), fitting.len()) {
        ([only], _) => Ok(only),
        ([], 0) => {
            Err(OpenError::NotFound(format!("{wanted} is not plugged in; there is {}", local::in_words(present))))
        }
        ([], _) => Err(OpenError::Busy(format!("{wanted} is bridged under another name already"))),
        (several, _) => {
            let one = |d: &&&LocalDevice| match &d.serial_number {
                Some(serial) => format!("{} (serial:{serial})", d.place),
                None => d.place.clone(),
            };
            let there: Vec<String> = several.iter().map(one).collect();
            let text = format!(
                "several devices fit {wanted}: {}; name the one that is meant so, in a configuration by `port` or \
                 `serial` in its `match`",
                there.join(", ")
            );
            Err(OpenError::NotFound(text))
        }
    }
}

/// Whether this is a device that was meant.
pub fn fits(device: &LocalDevice, wanted: &Match) -> bool {
    let LocalDevice { vendor_id, product_id, serial_number, product, place, .. } = device;
    wanted.fits(*vendor_id, *product_id, serial_number.as_deref(), product.as_deref())
        && wanted.port.as_ref().is_none_or(|port| port == place)
}
