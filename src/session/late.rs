//! Interfaces that somebody else had when a session began: waits until they are free, and says when.
//!
//! A program lets go of an interface without any news, so there is a look now and then while one has any; a kernel
//! driver is waited for by news of plugging alone.

use std::collections::BTreeSet;
use std::future::pending;
use std::time::Duration;

use super::backoff::Backoff;
use super::claim::Claim;
use crate::usb::local::Hotplug;

/// What is still to be claimed.
pub(super) struct Late {
    interfaces: BTreeSet<u8>,
    backoff: Backoff,
}

impl Late {
    pub(super) fn new(interfaces: BTreeSet<u8>) -> Self {
        Self { interfaces, backoff: Backoff::new(FIRST_LOOK, LONGEST_LOOK) }
    }

    /// The next interface that could be claimed. Never resolves when there is nothing to wait for.
    pub(super) async fn next(&mut self, claim: &Claim<'_>, hotplug: &Hotplug) -> u8 {
        if self.interfaces.is_empty() {
            return pending().await;
        }
        let mut news = hotplug.news().ok();
        while !self.interfaces.is_empty() {
            let look = self.interfaces.iter().any(|&i| !claim.has_driver(i)).then(|| self.backoff.step());
            tokio::select! {
                () = async { match look { Some(time) => tokio::time::sleep(time).await, None => pending().await } } => {}
                () = async { match &mut news { Some(news) => news.next().await, None => pending().await } } => {}
            }
            for interface in self.interfaces.clone() {
                if claim.one(interface).await.is_ok() {
                    self.interfaces.remove(&interface);
                    return interface;
                }
            }
        }
        pending().await
    }
}

const FIRST_LOOK: Duration = Duration::from_secs(1);
const LONGEST_LOOK: Duration = Duration::from_secs(5);
