//! Whether an opened device is still there: its node says so, or a transfer that failed because it has gone.

use std::path::{Path, PathBuf};

use tokio::sync::watch;

use super::Hotplug;
use super::system::is_plugged_in;
use crate::usb::TransferError;
use crate::usb::errno::EBUSY;

/// The presence of one device, from its opening on.
pub struct Presence {
    node: PathBuf,
    hotplug: Hotplug,
    lost: watch::Sender<Option<&'static str>>,
}

impl Presence {
    /// Of the device with this node.
    pub fn new(node: PathBuf, hotplug: Hotplug) -> Self {
        Self { node, hotplug, lost: watch::channel(None).0 }
    }

    /// The node.
    pub fn node(&self) -> &Path {
        &self.node
    }

    /// It is of no more use, for this reason: a transfer failed because the device has gone, say.
    pub fn set_lost(&self, reason: &'static str) {
        self.lost.send_if_modified(|lost| lost.is_none() && lost.replace(reason).is_none());
    }

    /// Whether it has not gone yet.
    pub fn is_there(&self) -> bool {
        self.lost.borrow().is_none() && is_plugged_in(&self.node)
    }

    /// Resolves when the device has gone, with the reason in words.
    pub async fn gone(&self) -> String {
        let mut lost = self.lost.subscribe();
        let node_gone = async {
            let Ok(mut news) = self.hotplug.news() else { return std::future::pending().await };
            while is_plugged_in(&self.node) {
                news.next().await;
            }
        };
        tokio::select! {
            lost = lost.wait_for(Option::is_some) => lost.ok().and_then(|reason| *reason).unwrap_or(UNPLUGGED),
            () = node_gone => UNPLUGGED,
        }
        .to_owned()
    }
}

/// Why a device is of no more use after a transfer that failed so, if it is.
pub fn lost_by(error: TransferError) -> Option<&'static str> {
    match error {
        TransferError::Disconnected => Some(UNPLUGGED),
        // A claim is never lost but by the kernel: when the machine wakes up, it gives interfaces to their drivers again.
        TransferError::Io(EBUSY) => Some("the kernel gave its interface to a driver"),
        _ => None,
    }
}

/// The reason that people are given.
pub const UNPLUGGED: &str = "unplugged";
