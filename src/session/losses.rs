//! Reports what a pump refuses or loses while it goes on: messages that cannot be sent, packets that failed on the bus.
//!
//! It counts nothing itself, and reports at most once a second. What a slow reader loses is the hub's to report.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::Events;
use super::line::Context;
use super::lock::lock;
use super::problem::Problem;
use crate::bridge::{Counters, Refusals};
use crate::usb::advice;

/// The report of one pipe.
pub(super) struct Losses {
    device: String,
    outlet: String,
    events: Events,
    counters: Arc<Counters>,
    problem: Arc<Problem>,
    /// The longest message in bytes.
    longest: AtomicUsize,
    reported: Mutex<Refusals>,
}

impl Losses {
    pub(super) fn new(context: &Context) -> Arc<Self> {
        Arc::new(Self {
            device: context.device.clone(),
            outlet: context.outlet.clone(),
            events: context.events.clone(),
            counters: context.counters.clone(),
            problem: context.problem.clone(),
            longest: AtomicUsize::new(0),
            reported: Mutex::default(),
        })
    }

    /// Messages may have so many bytes from now on.
    pub(super) fn set_longest(&self, bytes: usize) {
        self.longest.store(bytes, Ordering::Relaxed);
    }

    /// Reports losses as they happen; ends only by being dropped.
    pub(super) async fn watch(&self, also: impl Fn()) {
        loop {
            self.counters.loss().await;
            tokio::time::sleep(PAUSE).await;
            self.emit();
            also();
        }
    }

    /// Reports what was not reported yet.
    pub(super) fn emit(&self) {
        let now = self.counters.refusals();
        let before = std::mem::replace(&mut *lock(&self.reported), now);
        let longest = self.longest.load(Ordering::Relaxed);
        for text in refused(now, before, longest) {
            self.events.tell("loss", &self.device, Some(&self.outlet), text);
        }
        if now.failed_packets > before.failed_packets {
            let text = self.failed(now.failed_packets - before.failed_packets);
            if now.packets == before.packets {
                // Not one of them got through.
                self.problem.limits(&text, Instant::now());
            }
            self.events.tell("loss", &self.device, Some(&self.outlet), text);
        }
    }

    fn failed(&self, packets: u64) -> String {
        let error = self.counters.packet_error();
        let advice = advice::transfer_failed(error).map_or_else(String::new, |advice| format!("; {advice}"));
        format!("{packets} packets failed on the bus and are lost: {error}{advice}")
    }
}

fn refused(now: Refusals, before: Refusals, longest: usize) -> Vec<String> {
    let long = now.long_messages - before.long_messages;
    let bad = now.bad_messages - before.bad_messages;
    let long = (long > 0).then(|| {
        format!(
            "{} refused, longer than the {longest} bytes of a transfer of this pipe; send less at once, or write a \
             larger `transfer`",
            messages(long)
        )
    });
    let bad = (bad > 0).then(|| format!("{} refused, malformed for the pipe's `framing`", messages(bad)));
    long.into_iter().chain(bad).collect()
}

/// What became of all that was written between two moments, for the event that nobody writes any more.
pub(super) fn fate(since: Refusals, now: Refusals) -> String {
    let refused = now.long_messages + now.bad_messages - since.long_messages - since.bad_messages;
    let lost = now.lost_bytes - since.lost_bytes;
    match (refused, lost) {
        (0, 0) => "all is sent".to_owned(),
        (0, bytes) => format!("all is sent but {bytes} bytes that were lost"),
        (n, 0) => format!("all is sent but what was refused: {}", count(n)),
        (n, bytes) => format!("all is sent but {bytes} bytes that were lost, and what was refused: {}", count(n)),
    }
}

fn messages(n: u64) -> String {
    format!("{} {}", count(n), if n == 1 { "was" } else { "were" })
}

fn count(n: u64) -> String {
    if n == 1 { "1 message".to_owned() } else { format!("{n} messages") }
}

/// Losses are gathered for this long before they are reported.
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_malformed_messages_are_reported_apart() {
        let before = Refusals { long_messages: 1, ..Refusals::default() };
        let now = Refusals { long_messages: 3, bad_messages: 1, ..Refusals::default() };
        let texts = refused(now, before, 8);
        assert_eq!(texts.len(), 2);
        assert!(texts[0].starts_with("2 messages were refused, longer than the 8 bytes"), "{texts:?}");
        assert!(texts[1].starts_with("1 message was refused, malformed"), "{texts:?}");
        assert!(refused(now, now, 8).is_empty());
    }

    #[test]
    fn all_is_sent_only_where_nothing_was_refused_or_lost() {
        let none = Refusals::default();
        assert_eq!(fate(none, none), "all is sent");
        let refused = Refusals { long_messages: 2, ..none };
        assert_eq!(fate(none, refused), "all is sent but what was refused: 2 messages");
        assert_eq!(fate(refused, Refusals { lost_bytes: 5, ..refused }), "all is sent but 5 bytes that were lost");
    }
}
