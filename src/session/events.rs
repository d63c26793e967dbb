//! Events: what happens to devices and pipes, as lines for `usbpipe events` and for the log.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

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

/// Where events are told, and where one can listen.
#[derive(Debug, Clone)]
pub struct Events {
    sender: broadcast::Sender<Arc<Event>>,
}

impl Default for Events {
    fn default() -> Self {
        Self { sender: broadcast::channel(CAPACITY).0 }
    }
}

impl Events {
    /// Tells whoever listens, and the log.
    pub fn tell(&self, event: &str, device: &str, outlet: Option<&str>, text: impl Into<String>) {
        let text = text.into();
        let name = outlet.map_or_else(|| device.to_owned(), |o| format!("{device}/{o}"));
        match event {
            "error" | "warning" | "loss" | "stall" | "refuse" => tracing::warn!("{name}: {event}: {text}"),
            "open" | "close" => tracing::debug!("{name}: {event}: {text}"),
            _ => tracing::info!("{name}: {event}: {text}"),
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
