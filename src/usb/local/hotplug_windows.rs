//! News that a device may have come or gone, from Windows' own notifications through nusb. Says neither which nor how:
//! look again.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Watches for plugging. Cheap to clone; starts at the first question, so that who never asks pays nothing.
#[derive(Clone, Default)]
pub struct Hotplug(Arc<Mutex<Option<Running>>>);

struct Running {
    news: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

/// What has happened since it was made.
pub struct News(watch::Receiver<u64>);

impl Hotplug {
    /// From now on. Needs a tokio runtime.
    ///
    /// # Errors
    /// Those of CM_Register_Notification.
    pub fn news(&self) -> io::Result<News> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = &*running {
            let mut news = running.news.clone();
            news.mark_unchanged();
            return Ok(News(news));
        }
        let mut events = nusb::watch_devices().map_err(io::Error::from)?;
        let (sender, news) = watch::channel(0);
        let task = tokio::spawn(async move {
            while events.next().await.is_some() {
                sender.send_modify(|count| *count += 1);
            }
        });
        *running = Some(Running { news: news.clone(), task });
        Ok(News(news))
    }

    /// The same. A port with a driver of its own comes and goes with its device.
    ///
    /// # Errors
    /// As above.
    pub fn news_of(&self, _path: &Path) -> io::Result<News> {
        self.news()
    }
}

impl News {
    /// Resolves when something has changed since the last time.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // The listener ends only with the runtime.
            std::future::pending().await
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}
