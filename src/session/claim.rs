//! Takes the interfaces of a session from the kernel, and says who has those that cannot be had.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::journal::Journal;
use super::shared::Shared;
use crate::usb::local;
use crate::usb::{OpenError, UsbDevice};

/// What is needed to claim.
pub(super) struct Claim<'a> {
    pub(super) device: &'a Arc<dyn UsbDevice>,
    pub(super) place: &'a str,
    pub(super) shared: &'a Shared,
    pub(super) journal: &'a Journal,
    /// `detach = true`: kernel drivers are sent away.
    pub(super) detach: bool,
}

impl Claim<'_> {
    /// Claims each of `interfaces` and returns those that somebody else has; the bridge goes on without them.
    ///
    /// # Errors
    /// The first refusal when nothing is left, and any that is not for the interface alone.
    pub(super) async fn all(&self, interfaces: BTreeSet<u8>) -> Result<BTreeSet<u8>, OpenError> {
        let mut refused = BTreeSet::new();
        let wanted = interfaces.len();
        for interface in interfaces {
            match self.one(interface).await {
                Ok(()) => {}
                Err(OpenError::Busy(text)) if refused.len() + 1 < wanted => {
                    self.shared.tell("error", text);
                    refused.insert(interface);
                }
                Err(error) => {
                    self.device.give_back().await;
                    self.journal.forget(self.place);
                    return Err(error);
                }
            }
        }
        Ok(refused)
    }

    async fn one(&self, interface: u8) -> Result<(), OpenError> {
        let configuration = self.device.descriptors().configuration_value;
        if self.detach
            && let Some(driver) = local::driver(self.place, configuration, interface)
            && driver != "usbfs"
        {
            // Written first, so that a crash at any moment leaves nobody without a driver.
            self.journal.remember(self.place, configuration, interface, &driver);
        }
        self.device.claim(interface, self.detach).await
    }
}
