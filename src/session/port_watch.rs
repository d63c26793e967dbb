//! Whether other programs use the port of a device, by news of opening and closing its node: no polling.
//!
//! ```text
//!   bridged ── another program opens the port ──► lent to it ── it closes the port ──► bridged
//!      └ looks who has it, at each opening            └ looks again, at each closing
//! ```
//!
//! It opens no port. Programs of other users may be out of sight in `/proc`; of those it knows as many as have opened the
//! port and not closed it since it began to watch.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::backoff::Backoff;
use crate::outlet::{Changes, Watcher};
use crate::serial::port;

/// Watches the node of one port.
pub(super) struct PortWatch {
    changes: Changes,
    path: PathBuf,
    /// How much the balance of openings is off by what this process did: it has closed the port itself.
    own: i64,
    /// For programs of which nothing but a lock is known.
    backoff: Backoff,
}

impl PortWatch {
    /// Watches the port at `path`, a link or its node.
    ///
    /// # Errors
    /// Those of inotify(7), and when the port is not there.
    pub(super) fn new(watcher: &Watcher, path: &Path) -> io::Result<Self> {
        let changes = watcher.watch(&path.canonicalize()?)?;
        Ok(Self { changes, path: path.to_owned(), own: 0, backoff: Backoff::new(FIRST_LOOK, LONGEST_LOOK) })
    }

    /// After another try to open the port: what that did to the node is not to be taken for news.
    ///
    /// # Errors
    /// As above.
    pub(super) fn renewed(self, watcher: &Watcher) -> io::Result<Self> {
        let Self { changes, path, backoff, .. } = self;
        // First, because the kernel has one watch for a node.
        drop(changes);
        Ok(Self { backoff, ..Self::new(watcher, &path)? })
    }

    /// While this process has the port: resolves when another program has opened it, with its name.
    pub(super) async fn opened(&mut self) -> String {
        loop {
            if let Some(others) = self.others().await {
                return others;
            }
            self.changes.changed().await;
        }
    }

    /// This process has closed the port.
    pub(super) fn own_close(&mut self) {
        self.own += 1;
    }

    /// Resolves when it seems that nobody has the port any more.
    pub(super) async fn is_free(&mut self) {
        while self.others().await.is_some() {
            self.changes.changed().await;
        }
        // Somebody may have it of whom only the kernel knows, or it is not quite closed.
        let _ = tokio::time::timeout(self.backoff.step(), self.changes.changed()).await;
    }

    async fn others(&self) -> Option<String> {
        let seen = self.seen().await;
        if seen.is_some() || !self.is_opened_more_than_closed() {
            return seen;
        }
        // The kernel tells of an opening before the program has its descriptor.
        tokio::time::sleep(MOMENT).await;
        let seen = self.seen().await;
        seen.or_else(|| self.is_opened_more_than_closed().then(|| port::UNSEEN.to_owned()))
    }

    async fn seen(&self) -> Option<String> {
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || port::others(&path)).await.unwrap_or_default()
    }

    fn is_opened_more_than_closed(&self) -> bool {
        self.changes.balance() + self.own > 0
    }
}

/// For a program that opens the port to be seen with it.
const MOMENT: Duration = Duration::from_millis(20);
/// The first look follows a closing, which the kernel tells a moment before it is done.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LONGEST_LOOK: Duration = Duration::from_secs(30);
