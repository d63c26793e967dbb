//! When it is worth while to look for a device again: news of plugging, and time where no news can be had.

use std::future::pending;
use std::path::Path;
use std::time::Duration;

use super::backoff::Backoff;
use super::locate::Own;
use crate::config::DeviceConfig;
use crate::usb::OpenError;
use crate::usb::local::News;

/// What has happened since a keeper began to look.
pub struct Arrivals {
    /// `None` for devices of another machine, of which nobody tells.
    news: Option<News>,
}

impl Arrivals {
    /// From now on.
    pub fn new(config: &DeviceConfig, own: &Own) -> Self {
        let news = match (&config.remote, config.matches.tty()) {
            (Some(_), _) => None,
            (None, Some(path)) => own.hotplug.news_of(Path::new(path)).ok(),
            (None, None) => own.hotplug.news().ok(),
        };
        Self { news }
    }

    /// Resolves when looking again makes sense after `refused`, or after a session that ended well.
    pub(super) async fn wait(&mut self, refused: Option<OpenError>, backoff: &mut Backoff) {
        let time = match (&self.news, &refused) {
            // Whoever watches the port of one that is held knows better.
            (Some(_), Some(OpenError::NotFound(_) | OpenError::Denied(_) | OpenError::Held(..))) => None,
            // Nobody tells when an interface is free again.
            (Some(_), Some(_)) => Some(BUSY_PAUSE.max(backoff.step())),
            _ => Some(backoff.step()),
        };
        tokio::select! {
            () = sleep(time) => {}
            () = self.next() => {}
        }
    }

    /// Resolves when something was plugged in or out since the last time.
    pub async fn next(&mut self) {
        match &mut self.news {
            Some(news) => news.next().await,
            None => pending().await,
        }
    }
}

async fn sleep(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => pending().await,
    }
}

const BUSY_PAUSE: Duration = Duration::from_secs(1);
