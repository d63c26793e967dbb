//! Windows tells nobody who opens and closes what is somebody else's: nothing is watched here, and who asks is told so.

use std::io;
use std::path::Path;

/// Watches nothing.
#[derive(Clone)]
pub struct Watcher(());

/// News of one place. There are none, so that it has no value.
pub enum Changes {}

impl Watcher {
    /// Starts nothing.
    ///
    /// # Errors
    /// None.
    pub fn new() -> io::Result<Self> {
        Ok(Self(()))
    }

    /// Refuses.
    ///
    /// # Errors
    /// `Unsupported`, always.
    pub fn watch(&self, _path: &Path) -> io::Result<Changes> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Changes {
    /// Resolves when it was opened or closed since the last time.
    pub async fn changed(&mut self) {
        match *self {}
    }

    /// How much more often it was opened than closed.
    pub fn balance(&self) -> i64 {
        match *self {}
    }
}

/// Processes that have a FIFO open, of which there are none.
pub async fn openers(_path: &Path) -> Vec<u32> {
    Vec::new()
}
