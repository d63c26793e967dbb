//! The one limit for what happens as often as somebody else likes: events of devices, servers and programs, and the lines of
//! the log that come from them. They are reported at once at first, and then once a second with their number.
//!
//! It runs no clock: it is told when a second has passed.

use std::collections::BTreeMap;

/// What an event is about: its kind, the device and the outlet.
pub(super) type Subject = (String, String, Option<String>);

/// What was reported within the last second.
#[derive(Debug, Default)]
pub(super) struct Limiter(BTreeMap<Subject, Recent>);

#[derive(Debug, Default)]
struct Recent {
    admitted: u32,
    /// Texts of which each is reported once, with how often it came again.
    merged: BTreeMap<String, u64>,
    /// How many came beyond the limit, and the last of them.
    others: u64,
    last: String,
}

impl Limiter {
    /// Whether this is to be reported now; else it is counted. With `merges`, no text is reported again within a second.
    pub(super) fn admits(&mut self, subject: Subject, text: &str, merges: bool) -> bool {
        let recent = self.0.entry(subject).or_default();
        if merges && let Some(again) = recent.merged.get_mut(text) {
            *again += 1;
            return false;
        }
        if recent.admitted == BURST {
            recent.others += 1;
            text.clone_into(&mut recent.last);
            return false;
        }
        recent.admitted += 1;
        if merges {
            recent.merged.insert(text.to_owned(), 0);
        }
        true
    }

    /// Whether there is anything to forget once a second has passed.
    pub(super) fn is_busy(&self) -> bool {
        !self.0.is_empty()
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// A second has passed: what is to be reported. What did not go on is forgotten.
    pub(super) fn second(&mut self) -> Vec<(Subject, String)> {
        let mut reports = Vec::new();
        self.0.retain(|subject, recent| {
            let texts = recent.second();
            reports.extend(texts.into_iter().map(|text| (subject.clone(), text)));
            recent.admitted > 0 || !recent.merged.is_empty()
        });
        reports
    }
}

impl Recent {
    fn second(&mut self) -> Vec<String> {
        self.merged.retain(|_, again| *again > 0);
        let merged = self.merged.iter_mut().map(|(text, again)| {
            let count = std::mem::take(again);
            let times = if count == 1 { "once more" } else { "times more" };
            let number = if count == 1 { String::new() } else { format!("{count} ") };
            format!("{text} ({number}{times} within a second)")
        });
        let mut texts: Vec<String> = merged.collect();
        // What comes faster than this stays beyond the limit until it has been slower for a second.
        self.admitted = if self.others > 0 { BURST } else { 0 };
        match std::mem::take(&mut self.others) {
            0 => {}
            1 => texts.push(std::mem::take(&mut self.last)),
            count => texts.push(format!("{} (the last of {count} within a second)", std::mem::take(&mut self.last))),
        }
        texts
    }
}

/// Events of one kind about one outlet that are reported at once, within a second.
const BURST: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(kind: &str) -> Subject {
        (kind.to_owned(), "d".to_owned(), Some("ep_81".to_owned()))
    }

    fn second(limiter: &mut Limiter) -> Vec<String> {
        limiter.second().into_iter().map(|((kind, ..), text)| format!("{kind}: {text}")).collect()
    }

    #[test]
    fn the_same_event_is_reported_once_and_then_once_a_second_with_its_number() {
        let mut limiter = Limiter::default();
        let mut admits = |text| limiter.admits(subject("stall"), text, true);
        assert!(admits("halted"));
        assert!((0..29).all(|_| !admits("halted")));
        assert!(admits("other"));
        assert_eq!(second(&mut limiter), ["stall: halted (29 times more within a second)"]);
        assert!(!limiter.admits(subject("stall"), "halted", true));
        assert_eq!(second(&mut limiter), ["stall: halted (once more within a second)"]);
        assert!(second(&mut limiter).is_empty() && !limiter.is_busy());
        assert!(limiter.admits(subject("stall"), "halted", true), "it is news again");
    }

    #[test]
    fn different_events_of_one_kind_are_reported_up_to_a_number_and_then_once_a_second() {
        let mut limiter = Limiter::default();
        let mut open = |n: u32| limiter.admits(subject("open"), &format!("{n} connected"), false);
        assert!((0..BURST).all(&mut open));
        assert!((0..7000).all(|n| !open(n)));
        assert!(limiter.admits(subject("close"), "another kind", false));
        assert_eq!(second(&mut limiter), ["open: 6999 connected (the last of 7000 within a second)"]);
        assert!(!limiter.admits(subject("open"), "still too fast", false));
        assert_eq!(second(&mut limiter), ["open: still too fast"]);
        assert!(second(&mut limiter).is_empty());
        assert!(second(&mut limiter).is_empty() && !limiter.is_busy());
        assert!(limiter.admits(subject("open"), "slow again", false));
    }
}
