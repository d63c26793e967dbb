//! An opened device as libusb has it: context, handle, claims, and whether it is still there.
//!
//! It belongs to the device, its pipes, its events and every transfer; the last of them closes it. It never closes while
//! a transfer is in flight, because each transfer holds it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rusb::{Context, DeviceHandle};
use tokio::sync::watch;

use super::claims::Claims;
use super::system::{self, Node};
use crate::usb::OpenError;
use crate::usb::descriptors::Descriptors;
use crate::usb::local::LocalDevice;

/// An opened device.
pub(super) struct Link {
    pub(super) claims: Claims,
    pub(super) handle: DeviceHandle<Context>,
    /// After the handle, which uses it.
    _node: Node,
    pub(super) place: String,
    pub(super) descriptors: Arc<Descriptors>,
    gone: watch::Sender<Option<String>>,
    /// Nobody handles libusb's events any more, so that no transfer ends.
    without_events: AtomicBool,
}

impl Link {
    /// Blocks.
    ///
    /// # Errors
    /// See [`super::open`].
    pub(super) fn open(found: &LocalDevice) -> Result<Self, OpenError> {
        let (handle, node) = system::open(found)?;
        let descriptors = Arc::new(found.descriptors()?);
        Ok(Self {
            claims: Claims::default(),
            handle,
            _node: node,
            place: found.place.clone(),
            descriptors,
            gone: watch::channel(None).0,
            without_events: AtomicBool::new(false),
        })
    }

    /// Takes note that transfers in flight do not end any more.
    pub(super) fn events_ended(&self) {
        self.without_events.store(true, Relaxed);
    }

    /// Whether transfers in flight do not end any more.
    pub(super) fn is_without_events(&self) -> bool {
        self.without_events.load(Relaxed)
    }

    /// Takes note that the device has gone; the first reason counts.
    pub(super) fn tell_gone(&self, reason: &str) {
        self.gone.send_if_modified(|known| {
            let is_new = known.is_none();
            known.get_or_insert_with(|| reason.to_owned());
            is_new
        });
    }

    /// `Some` with the reason once the device has gone.
    pub(super) fn gone(&self) -> watch::Receiver<Option<String>> {
        self.gone.subscribe()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.give_back();
    }
}
