//! Whether an opened device is still there: its node says so, or a transfer that failed because it has gone.

use std::path::{Path, PathBuf};

use tokio::sync::watch;

use super::Hotplug;

/// The presence of one device, from its opening on.
pub struct Presence {
    node: PathBuf,
    hotplug: Hotplug,
    lost: watch::Sender<bool>,
}

impl Presence {
    /// Of the device with this node.
    pub fn new(node: PathBuf, hotplug: Hotplug) -> Self {
        Self { node, hotplug, lost: watch::channel(false).0 }
    }

    /// The node.
    pub fn node(&self) -> &Path {
        &self.node
    }

    /// A transfer failed because the device has gone.
    pub fn set_lost(&self) {
        self.lost.send_if_modified(|lost| !std::mem::replace(lost, true));
    }

    /// Whether it has not gone yet.
    pub fn is_there(&self) -> bool {
        !*self.lost.borrow() && self.node.exists()
    }

    /// Resolves when the device has gone, with the reason in words.
    pub async fn gone(&self) -> String {
        let mut lost = self.lost.subscribe();
        let node_gone = async {
            let Ok(mut news) = self.hotplug.news() else { return std::future::pending().await };
            while self.node.exists() {
                news.next().await;
            }
        };
        tokio::select! {
            _ = lost.wait_for(|lost| *lost) => {}
            () = node_gone => {}
        }
        "unplugged".to_owned()
    }
}
