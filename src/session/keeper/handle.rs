//! What the daemon holds of a device: asks its keeper, and ends it. It does nothing to the device itself.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::capture::{Capture, Refused};
use crate::config::DeviceConfig;
use crate::outlet::{Connection, Credentials, Peer};
use crate::request::Answer;
use crate::session::DeviceStatus;
use crate::session::admission::Need;
use crate::session::hub::Via;
use crate::session::locate::Own;
use crate::session::pass::{End, Pass};
use crate::session::shared::{Offers, Shared};

/// The daemon's hold on one device.
pub struct Handle {
    pub(super) config: watch::Sender<Arc<DeviceConfig>>,
    pub(in crate::session) shared: Arc<Shared>,
    pub(in crate::session) own: Own,
    pub(super) stop: watch::Sender<bool>,
    pub(super) task: JoinHandle<()>,
}

impl Handle {
    /// The device's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// What it is configured as.
    pub fn config(&self) -> Arc<DeviceConfig> {
        self.config.borrow().clone()
    }

    /// Takes over another configuration that differs in settings of the serial line only; the future does not borrow the
    /// handle. Programs at its outlets go on.
    pub fn configure(&self, config: DeviceConfig) -> impl Future<Output = ()> + Send + use<> {
        let (serial, line) = (self.shared.serial(), config.serial.clone());
        self.config.send_replace(Arc::new(config));
        async move {
            if let (Some(serial), Some(line)) = (serial, line) {
                serial.configure(&line).await;
            }
        }
    }

    /// Its state and counters.
    pub fn status(&self) -> DeviceStatus {
        self.shared.status()
    }

    /// Whether a process with these credentials could open what is needed.
    pub fn admits(&self, need: Need<'_>, credentials: &Credentials) -> bool {
        self.shared.admits(need, credentials)
    }

    /// Answers one request of the control pipe; the future does not borrow the handle.
    pub fn control(&self, line: String) -> impl Future<Output = Answer> + Send + use<> {
        let shared = self.shared.clone();
        async move { shared.answer_control(&line).await }
    }

    /// Answers one request of the serial line.
    pub fn serial(&self, line: String) -> impl Future<Output = Answer> + Send + use<> {
        let shared = self.shared.clone();
        async move { shared.answer_serial(&line).await }
    }

    /// A place at this outlet for the program at the other end of a descriptor, see `Shared::adopt`.
    ///
    /// # Errors
    /// Why it cannot be let in, in words for its user.
    pub fn offer(&self, outlet: &str, fd: Connection, peer: Peer) -> Result<Offers, String> {
        self.shared.offer(outlet, fd, Via::Descriptor, peer)
    }

    /// An end of a new pair for a program that becomes one of this outlet, see `Shared::pass`.
    ///
    /// # Errors
    /// Why there can be none, in words for its user.
    pub fn pass(&self, outlet: &str, kind: Pass, peer: Peer) -> Result<End, String> {
        self.shared.pass(outlet, kind, peer)
    }

    /// Begins a capture of all that crosses, with records of at most `limit` bytes.
    ///
    /// # Errors
    /// [`Refused`] when too many run already.
    pub fn capture(&self, limit: u32) -> Result<Capture, Refused> {
        self.shared.capture(limit)
    }

    /// Ends in order: flushes, removes the outlets.
    pub async fn end(self) {
        self.stop.send_replace(true);
        let _ = self.task.await;
    }
}
