//! News of plugging, as those who wait for it have them. Where they come from is each system's.

use std::future::pending;

use tokio::sync::watch;

/// What has happened since it was made.
pub struct News(watch::Receiver<u64>);

impl News {
    /// Of what this counts, from now on.
    pub(super) fn of(counted: &watch::Receiver<u64>) -> Self {
        let mut counted = counted.clone();
        counted.mark_unchanged();
        Self(counted)
    }

    /// Resolves when something has changed since the last time.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // The listener ends only with the runtime.
            pending().await
        }
    }
}
