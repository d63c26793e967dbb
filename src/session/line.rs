//! What every line has: one endpoint and its outlet, for as long as the outlet stands.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::Events;
use crate::bridge::Counters;
use crate::usb::descriptors::Endpoint;
use crate::usb::{TransferError, UsbDevice};

/// Becomes true when everything shall end in order.
pub type Stop = watch::Receiver<bool>;

/// Resolves when `stop` has become true, or when nobody can say so any more.
pub(super) async fn stopped(stop: &mut Stop) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// How a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The device is there.
    Attached,
    /// It has gone: what `unplug` says happens.
    Gone,
    /// It was given to another program: outlets wait, whatever `unplug` says.
    Released,
}

/// The device's side of a line, for one session.
#[derive(Clone)]
pub(super) struct Attachment {
    pub(super) device: Arc<dyn UsbDevice>,
    pub(super) endpoint: Endpoint,
    pub(super) phase: watch::Receiver<Phase>,
    /// Dropped with the attachment; when all are, nobody uses the device any more.
    pub(super) _in_use: mpsc::Sender<()>,
}

impl Attachment {
    /// Resolves when the session is over.
    pub(super) fn over(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut phase = self.phase.clone();
        async move {
            let _ = phase.wait_for(|phase| *phase != Phase::Attached).await;
        }
    }

    /// Whether outlets of `unplug = "eof"` end now.
    pub(super) fn is_gone(&self) -> bool {
        *self.phase.borrow() != Phase::Released
    }
}

/// What a line knows besides its outlet.
pub(super) struct Context {
    /// The device's name.
    pub(super) device: String,
    /// The outlet's name.
    pub(super) outlet: String,
    pub(super) events: Events,
    pub(super) counters: Arc<Counters>,
    /// `unplug = "eof"`.
    pub(super) eof: bool,
    /// The attachment of the moment. A line that is late simply misses the sessions in between.
    pub(super) attachments: watch::Receiver<Option<Attachment>>,
    pub(super) stop: Stop,
}

impl Context {
    pub(super) fn tell(&self, event: &str, text: impl Into<String>) {
        self.events.tell(event, &self.device, Some(&self.outlet), text);
    }

    /// The next session's attachment; `None` when there will be no more.
    pub(super) async fn next_attachment(&mut self) -> Option<Attachment> {
        loop {
            tokio::select! {
                changed = self.attachments.changed() => changed.ok()?,
                () = stopped(&mut self.stop) => return None,
            }
            let attachment = self.attachments.borrow_and_update().clone();
            if attachment.is_some() {
                return attachment;
            }
        }
    }

    /// A future for pumps: the daemon stops, or the session is over.
    pub(super) fn stop_or_over(&self, attachment: &Attachment) -> impl Future<Output = ()> + Send + 'static {
        let mut stop = self.stop.clone();
        let over = attachment.over();
        async move {
            tokio::select! {
                () = stopped(&mut stop) => {}
                () = over => {}
            }
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits, but not longer than the session lasts.
    pub(super) async fn pause(&self, attachment: &Attachment, time: Duration) {
        let _ = tokio::time::timeout(time, self.stop_or_over(attachment)).await;
    }

    /// Says that a transfer failed, and why that matters.
    pub(super) fn tell_failure(&self, error: TransferError) {
        self.counters.add_error();
        self.tell("error", format!("{error}; the bridge goes on"));
    }

    /// Counts a halt, says so and ends it on the device.
    pub(super) async fn clear_halt(&self, attachment: &Attachment) {
        let address = attachment.endpoint.address;
        match attachment.device.clear_halt(address).await {
            Ok(()) | Err(TransferError::Disconnected) => {}
            Err(e) => self.tell("error", format!("the halt of endpoint {address:#04x} could not be cleared: {e}")),
        }
    }
}

/// The first and the longest pause after a failed transfer, or after halts that follow one another without a byte.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(10);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(1);
