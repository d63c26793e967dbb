//! Events that a device can cause as fast as it likes: each is emitted at once the first time, and then once a second with
//! its number.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Events;
use super::lock::lock;

/// What was emitted within the last second about one outlet.
#[derive(Clone, Default)]
pub(super) struct Repeats(Arc<Mutex<Recent>>);

/// By event and text: how often it came again. The texts are those of the program and few.
type Recent = BTreeMap<(&'static str, String), u64>;

impl Repeats {
    /// Emits an event, or counts it if the same was emitted a moment ago. Runs no timer unless something happened.
    pub(super) fn emit(&self, events: &Events, device: &str, outlet: &str, event: &'static str, text: String) {
        let mut recent = lock(&self.0);
        if let Some(suppressed) = recent.get_mut(&(event, text.clone())) {
            *suppressed += 1;
            return;
        }
        let is_first = recent.is_empty();
        recent.insert((event, text.clone()), 0);
        drop(recent);
        events.tell(event, device, Some(outlet), text);
        if is_first {
            let (recent, events, device, outlet) = (self.clone(), events.clone(), device.to_owned(), outlet.to_owned());
            tokio::spawn(async move {
                while recent.is_busy() {
                    tokio::time::sleep(SECOND).await;
                    for (event, text) in recent.second() {
                        events.tell(event, &device, Some(&outlet), text);
                    }
                }
            });
        }
    }

    fn is_busy(&self) -> bool {
        !lock(&self.0).is_empty()
    }

    /// A second has passed: what is to be emitted. What did not come again is forgotten.
    fn second(&self) -> Vec<(&'static str, String)> {
        let mut recent = lock(&self.0);
        recent.retain(|_, suppressed| *suppressed > 0);
        let again = recent.iter_mut().map(|((event, text), suppressed)| {
            let count = std::mem::take(suppressed);
            let times = if count == 1 { "once more" } else { "times more" };
            let number = if count == 1 { String::new() } else { format!("{count} ") };
            (*event, format!("{text} ({number}{times} within a second)"))
        });
        again.collect()
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_same_event_is_emitted_once_and_then_once_a_second_with_its_number() {
        let (events, repeats) = (Events::default(), Repeats::default());
        let mut heard = events.listen();
        let emit = |text: &str| repeats.emit(&events, "d", "ep_81", "stall", text.to_owned());
        (0..30).for_each(|_| emit("halted"));
        emit("other");
        let mut texts = Vec::new();
        while let Ok(event) = heard.try_recv() {
            texts.push(event.text.clone());
        }
        assert_eq!(texts, ["halted", "other"]);
        assert_eq!(repeats.second(), [("stall", "halted (29 times more within a second)".to_owned())]);
        emit("halted");
        assert_eq!(repeats.second(), [("stall", "halted (once more within a second)".to_owned())]);
        assert!(repeats.second().is_empty() && !repeats.is_busy());
        emit("halted");
        assert_eq!(heard.try_recv().unwrap().text, "halted", "it is news again");
    }
}
