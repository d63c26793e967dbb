//! Control transfers of a device as a whole. It claims nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use ::nusb::transfer::{ControlIn, ControlOut, TransferError};
use ::nusb::{Device, Interface};

use crate::usb::Setup;

/// The way of control transfers to one device.
pub(super) struct Control(Device);

impl Control {
    /// To this device; its claimed interfaces are of no interest.
    pub(super) fn of(device: &Device, _claimed: &BTreeMap<u8, Interface>, _setup: Setup) -> Option<Self> {
        Some(Self(device.clone()))
    }

    pub(super) async fn receive(&self, wanted: ControlIn, timeout: Duration) -> Result<Vec<u8>, TransferError> {
        self.0.control_in(wanted, timeout).await
    }

    pub(super) async fn send(&self, sent: ControlOut<'_>, timeout: Duration) -> Result<(), TransferError> {
        self.0.control_out(sent, timeout).await
    }
}
