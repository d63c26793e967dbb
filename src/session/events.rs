//! Events: what happens to devices and pipes, as lines for `usbpipe events` and for the log.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::broadcast;

use super::limiter::{Limiter, Subject};
use super::lock::lock;
use crate::printable;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Seconds since 1970.
    pub time: f64,
    /// What kind: `attach`, `detach`, `pause`, `resume`, `open`, `close`, `refuse`, `loss`, `stall`, `error`, `warning`,
    /// `line`, `reset`, `start`, `end`.
    pub event: String,
    /// The device's name.
    pub device: String,
    /// The outlet's name, such as `ep_81`, where one is concerned.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outlet: Option<String>,
    /// In words.
    pub text: String,
}

/// Where events are emitted, and where one can listen.
#[derive(Debug, Clone)]
pub struct Events {
    sender: broadcast::Sender<Arc<Event>>,
    limiter: Arc<Mutex<Limiter>>,
}

impl Default for Events {
    fn default() -> Self {
        Self { sender: broadcast::channel(CAPACITY).0, limiter: Arc::default() }
    }
}

impl Events {
    /// Emits an event to whoever listens, and to the log. What comes too fast is emitted once a second, with its number.
    pub fn tell(&self, event: &str, device: &str, outlet: Option<&str>, text: impl Into<String>) {
        self.limited(event, device, outlet, text.into(), false);
    }

    /// The same for what a device can cause as often as it likes: no text is emitted twice within a second.
    pub(super) fn emit_repeatedly(&self, event: &str, device: &str, outlet: &str, text: String) {
        self.limited(event, device, Some(outlet), text, true);
    }

    fn limited(&self, event: &str, device: &str, outlet: Option<&str>, text: String, merges: bool) {
        let subject: Subject = (event.to_owned(), device.to_owned(), outlet.map(str::to_owned));
        let mut limiter = lock(&self.limiter);
        let was_busy = limiter.is_busy();
        if !limiter.admits(subject, &text, merges) {
            return;
        }
        drop(limiter);
        self.emit(event, device, outlet, text);
        if !was_busy {
            self.start_seconds();
        }
    }

    /// Lets seconds pass for the limiter, for as long as it has something to forget.
    fn start_seconds(&self) {
        let Ok(runtime) = Handle::try_current() else { return lock(&self.limiter).clear() };
        let events = self.clone();
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(SECOND).await;
                let (reports, is_busy) = {
                    let mut limiter = lock(&events.limiter);
                    (limiter.second(), limiter.is_busy())
                };
                for ((event, device, outlet), text) in reports {
                    events.emit(&event, &device, outlet.as_deref(), text);
                }
                if !is_busy {
                    return;
                }
            }
        });
    }

    fn emit(&self, event: &str, device: &str, outlet: Option<&str>, text: String) {
        let name = outlet.map_or_else(|| device.to_owned(), |o| format!("{device}/{o}"));
        let shown = printable::line(&text);
        match event {
            "error" | "warning" | "loss" | "stall" | "refuse" => tracing::warn!("{name}: {event}: {shown}"),
            "open" | "close" => tracing::debug!("{name}: {event}: {shown}"),
            _ => tracing::info!("{name}: {event}: {shown}"),
        }
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let outlet = outlet.map(str::to_owned);
        // Nobody listening is fine.
        let _ = self.sender.send(Arc::new(Event {
            time,
            event: event.to_owned(),
            device: device.to_owned(),
            outlet,
            text,
        }));
    }

    /// Events from now on.
    pub fn listen(&self) -> broadcast::Receiver<Arc<Event>> {
        self.sender.subscribe()
    }
}

/// Events that a slow listener may be behind before it misses some.
const CAPACITY: usize = 1024;
const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_comes_too_fast_is_emitted_once_a_second_with_its_number() {
        let events = Events::default();
        let mut heard = events.listen();
        (0..7000).for_each(|_| events.emit_repeatedly("line", "d", "serial", "overrun".to_owned()));
        assert_eq!(heard.recv().await.unwrap().text, "overrun");
        assert_eq!(heard.recv().await.unwrap().text, "overrun (6999 times more within a second)");
        assert!(heard.try_recv().is_err());
    }
}
