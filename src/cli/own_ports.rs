//! What `list` shows of this machine's serial ports: whose they are and where they are bridged.
//!
//! It opens no port.

use serde::Serialize;

use crate::serial::board_name;
use crate::serial::port::{self, PortInfo};
use crate::session::DeviceStatus;
use crate::usb::local;

/// One serial port.
#[derive(Serialize)]
pub(super) struct Port {
    /// Its node, which is a selector.
    path: String,
    /// `vvvv:pppp` of the USB device behind it, and what else is known of that.
    id: Option<String>,
    /// What the ids say, of a known board.
    board: Option<String>,
    manufacturer: Option<String>,
    product: Option<String>,
    serial: Option<String>,
    /// The device's place on the bus.
    port: Option<String>,
    interface: Option<u8>,
    /// The name under which the running daemon bridges it.
    bridged: Option<String>,
    /// What to do, where this user may not open it.
    refused: Option<String>,
}

/// The ports that there are.
pub(super) fn ports(bridged: &[DeviceStatus]) -> Vec<Port> {
    port::list().into_iter().map(|port| Port::new(port, bridged)).collect()
}

impl Port {
    fn new(PortInfo { path, usb }: PortInfo, bridged: &[DeviceStatus]) -> Self {
        let shown = path.display().to_string();
        let by = bridged.iter().find(|d| d.state == "attached" && d.place.as_ref() == Some(&shown));
        let usb = usb.as_ref();
        Self {
            id: usb.map(|usb| format!("{:04x}:{:04x}", usb.vid, usb.pid)),
            board: usb.and_then(|usb| board_name(usb.vid, usb.pid)),
            manufacturer: usb.and_then(|usb| usb.manufacturer.clone()),
            product: usb.and_then(|usb| usb.product.clone()),
            serial: usb.and_then(|usb| usb.serial.clone()),
            port: usb.and_then(|usb| usb.place.clone()),
            interface: usb.and_then(|usb| usb.interface),
            bridged: by.map(|d| d.name.clone()),
            refused: (!local::is_usable(&path)).then(|| port::permission_advice(&path)),
            path: shown,
        }
    }

    /// For people: a line for the port, and what to do about it.
    pub(super) fn lines(&self) -> Vec<String> {
        let quoted = |text: &Option<String>| text.as_ref().map(|t| format!("{t:?}"));
        let words = [
            Some(self.path.clone()),
            self.id.clone(),
            self.board.clone(),
            quoted(&self.product),
            quoted(&self.serial),
            self.port.as_ref().map(|port| format!("at {port}")),
            self.bridged.as_ref().map(|name| format!("bridged as {name}")),
        ];
        let head = words.into_iter().flatten().collect::<Vec<_>>().join("  ");
        let refused = self.refused.as_ref().map(|advice| format!("  no permission: {advice}"));
        std::iter::once(head).chain(refused).collect()
    }
}
