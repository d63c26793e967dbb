//! Control transfers by an interface that is claimed already: WinUSB has none for a device as a whole. It claims nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use ::nusb::transfer::{ControlIn, ControlOut, TransferError};
use ::nusb::{Device, Interface};

use crate::usb::Setup;

/// The way of control transfers to one device.
pub(super) struct Control(Interface);

impl Control {
    /// By the interface that a request is for, or else the first claimed one; `None` while there is none.
    pub(super) fn of(_device: &Device, claimed: &BTreeMap<u8, Interface>, setup: Setup) -> Option<Self> {
        let [number, _] = setup.index.to_le_bytes();
        let own = claimed.get(&number).filter(|_| setup.request_type & RECIPIENT == INTERFACE);
        own.or_else(|| claimed.values().next()).cloned().map(Self)
    }

    pub(super) async fn receive(&self, wanted: ControlIn, timeout: Duration) -> Result<Vec<u8>, TransferError> {
        self.0.control_in(wanted, timeout).await
    }

    pub(super) async fn send(&self, sent: ControlOut<'_>, timeout: Duration) -> Result<(), TransferError> {
        self.0.control_out(sent, timeout).await
    }
}

/// Bits of bmRequestType: USB 2.0, table 9-2.
const RECIPIENT: u8 = 0x1f;
const INTERFACE: u8 = 1;
