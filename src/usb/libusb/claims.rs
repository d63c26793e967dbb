//! The interfaces that were claimed, what was selected on them, and which kernel drivers were sent away.
//!
//! All of it blocks: it is called on helper threads. Nobody but the session decides what is claimed.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusb::Error;

use super::error::of_request;
use super::link::Link;
use crate::usb::errno::EBUSY;
use crate::usb::{OpenError, TransferError, advice, local};

/// What is claimed, by bInterfaceNumber.
#[derive(Default)]
pub(super) struct Claims(Mutex<BTreeMap<u8, Claim>>);

/// One claimed interface.
#[derive(Default)]
struct Claim {
    /// A kernel driver had it and shall get it back.
    was_detached: bool,
    /// The alternate setting that was selected, if one was.
    setting: Option<u8>,
}

impl Claims {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u8, Claim>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    /// Claims an interface; with `detach` a kernel driver is sent away, in one step where the kernel can.
    pub(super) fn claim(&self, interface: u8, detach: bool) -> Result<(), OpenError> {
        let mut claims = self.claims.lock();
        if claims.contains_key(&interface) {
            return Ok(());
        }
        let was_detached = detach && self.handle.kernel_driver_active(interface).unwrap_or(false);
        // What has no kernel drivers to detach refuses the option, and needs none.
        let _ = self.handle.set_auto_detach_kernel_driver(was_detached);
        let result = self.handle.claim_interface(interface);
        // Left on, it would also attach drivers that were not there before.
        let _ = self.handle.set_auto_detach_kernel_driver(false);
        result.map_err(|e| self.refusal(interface, e))?;
        claims.insert(interface, Claim { was_detached, setting: None });
        Ok(())
    }

    /// Gives every claimed interface back, then drivers the interfaces that they were sent away from: one driver may
    /// need several.
    pub(super) fn give_back(&self) {
        let claims = std::mem::take(&mut *self.claims.lock());
        for &interface in claims.keys() {
            match self.handle.release_interface(interface) {
                Ok(()) | Err(Error::NoDevice | Error::NotFound) => {}
                Err(e) => tracing::warn!("interface {interface} could not be released: {e}"),
            }
        }
        for (interface, _) in claims.into_iter().filter(|(_, claim)| claim.was_detached) {
            match self.handle.attach_kernel_driver(interface) {
                // Busy: the driver of another interface has taken this one along. Not found: it will be.
                Ok(()) | Err(Error::NoDevice | Error::Busy | Error::NotFound) => {}
                Err(e) => tracing::warn!("interface {interface} could not go back to its kernel driver: {e}"),
            }
        }
    }

    /// Selects an alternate setting. One that is asked for by hand may be that of an interface nobody uses yet.
    pub(super) fn set_alt_setting(&self, interface: u8, setting: u8) -> Result<(), TransferError> {
        self.claim(interface, false).map_err(|e| match e {
            OpenError::Busy(_) => TransferError::Io(EBUSY),
            _ => TransferError::Invalid,
        })?;
        let mut claims = self.claims.lock();
        self.handle.set_alternate_setting(interface, setting).map_err(of_request)?;
        claims.entry(interface).or_default().setting = Some(setting);
        Ok(())
    }

    /// Resets the device, claims what was claimed and selects what was selected before.
    pub(super) fn reset(&self) -> Result<(), TransferError> {
        let claims = self.claims.lock();
        self.handle.reset().map_err(|e| match e {
            // It came back as another device.
            Error::NotFound => TransferError::Disconnected,
            other => of_request(other),
        })?;
        for (interface, claim) in &*claims {
            if let Some(setting) = claim.setting {
                self.handle.set_alternate_setting(*interface, setting).map_err(of_request)?;
            }
        }
        Ok(())
    }

    fn refusal(&self, interface: u8, error: Error) -> OpenError {
        match error {
            Error::Busy => {
                let driver = local::driver(&self.place, self.descriptors.configuration_value, interface);
                let device = self.handle.device();
                let users = local::users(&local::node(device.bus_number(), device.address()));
                OpenError::Busy(advice::interface_busy(interface, driver.as_deref(), &users))
            }
            Error::NoDevice => OpenError::NotFound(format!("the device at {} has gone", self.place)),
            Error::NotFound => OpenError::NotFound(format!("the device has no interface {interface}")),
            Error::Access => OpenError::Denied(format!("the system forbids to claim interface {interface}")),
            other => {
                OpenError::Unreachable(format!("interface {interface} cannot be claimed"), io::Error::other(other))
            }
        }
    }
}
