//! Takes the interfaces of a session from the kernel, and says who has those that cannot be had.

use std::collections::{BTreeMap, BTreeSet};
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
    /// Claims each of `interfaces`, and those that drivers need beside them. Returns those that somebody else has, with
    /// what to do about it; the bridge goes on without them.
    ///
    /// # Errors
    /// The first refusal when nothing is left, and any that is not for the interface alone.
    pub(super) async fn all(&self, interfaces: BTreeSet<u8>) -> Result<BTreeMap<u8, String>, OpenError> {
        let mut refused = BTreeMap::new();
        let wanted = interfaces.len();
        let companions = self.companions(&interfaces);
        for interface in interfaces {
            match self.one(interface).await {
                Ok(()) => {}
                Err(OpenError::Busy(text)) => drop(refused.insert(interface, text)),
                Err(error) => {
                    self.give_back().await;
                    return Err(error);
                }
            }
        }
        if refused.len() == wanted
            && let Some((_, text)) = refused.pop_first()
        {
            self.give_back().await;
            return Err(OpenError::Busy(text));
        }
        for text in refused.values() {
            self.shared.tell("error", format!("{text}; everything else of the device is bridged meanwhile"));
        }
        for companion in companions {
            if let Err(e) = self.one(companion).await {
                tracing::debug!("interface {companion}, which is not bridged: {e}");
            }
        }
        Ok(refused)
    }

    /// Gives everything back, and says which kernel drivers have not come back.
    pub(super) async fn give_back(&self) {
        self.device.give_back().await;
        for (interface, driver) in self.journal.forget(self.place) {
            let text = format!("interface {interface} did not go back to the kernel driver {driver}; plug it in again");
            self.shared.tell("error", text);
        }
    }

    /// What is not bridged, and goes with what is.
    fn companions(&self, interfaces: &BTreeSet<u8>) -> BTreeSet<u8> {
        if !self.detach {
            return BTreeSet::new();
        }
        let configuration = self.device.descriptors().configuration_value;
        let companions = interfaces.iter().flat_map(|&i| local::companions(self.place, configuration, i));
        companions.filter(|companion| !interfaces.contains(companion)).collect()
    }

    /// Whether a kernel driver has the interface, so that waiting for somebody to end is no use.
    pub(super) fn has_driver(&self, interface: u8) -> bool {
        let configuration = self.device.descriptors().configuration_value;
        local::driver(self.place, configuration, interface).is_some_and(|driver| driver != "usbfs")
    }

    /// Claims one interface.
    ///
    /// # Errors
    /// Those of [`UsbDevice::claim`].
    pub(super) async fn one(&self, interface: u8) -> Result<(), OpenError> {
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
