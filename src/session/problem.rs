//! What keeps a line from working, for `status`. The same trouble over and over is news only now and then.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::lock::lock;

/// The problem of one line, if it has one.
#[derive(Default)]
pub(super) struct Problem {
    trouble: Mutex<Option<Trouble>>,
    /// What is wrong with the outlet itself, whatever the device does.
    outlet: Mutex<Option<String>>,
}

struct Trouble {
    text: String,
    told: Instant,
    /// How many transfers there had been. `None` for what stays although transfers go on.
    transfers: Option<u64>,
}

impl Problem {
    /// The line failed after so many transfers and tries again. True when that is to be told.
    pub(super) fn failed(&self, text: &str, transfers: u64, now: Instant) -> bool {
        let mut state = lock(&self.trouble);
        let news = match &*state {
            Some(known) if known.text == text => {
                known.transfers.is_none_or(|then| then != transfers && now.duration_since(known.told) >= QUIET)
            }
            _ => true,
        };
        let told = if news { now } else { state.as_ref().map_or(now, |known| known.told) };
        *state = Some(Trouble { text: text.to_owned(), told, transfers: Some(transfers) });
        news
    }

    /// The line works, though not as it was meant to, until [`Problem::clear`]. True when that is to be told.
    pub(super) fn limits(&self, text: &str, now: Instant) -> bool {
        let trouble = Trouble { text: text.to_owned(), told: now, transfers: None };
        lock(&self.trouble).replace(trouble).is_none_or(|known| known.text != text)
    }

    /// The outlet cannot be used, or can again.
    pub(super) fn set_outlet(&self, problem: Option<String>) {
        *lock(&self.outlet) = problem;
    }

    /// There is none, unless the outlet has one.
    pub(super) fn clear(&self) {
        *lock(&self.trouble) = None;
    }

    /// The problem, unless transfers went on since; there have been so many by now.
    pub(super) fn show(&self, transfers: u64) -> Option<String> {
        if let Some(problem) = &*lock(&self.outlet) {
            return Some(problem.clone());
        }
        let state = lock(&self.trouble);
        let known = state.as_ref().filter(|known| known.transfers.is_none_or(|then| then == transfers));
        known.map(|known| known.text.clone())
    }
}

/// A problem that comes and goes is told again after this time.
const QUIET: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_failure_is_news_once_until_something_has_moved() {
        let (problem, now) = (Problem::default(), Instant::now());
        let later = now + 2 * QUIET;
        assert!(problem.failed("stuck", 5, now));
        assert!(!problem.failed("stuck", 5, later));
        assert!(problem.failed("else", 5, later));
        assert!(problem.failed("stuck", 5, later));
        assert!(!problem.failed("stuck", 6, later), "only a moment ago");
        assert!(problem.failed("stuck", 7, later + QUIET));
    }

    #[test]
    fn a_failure_is_shown_until_something_moves_and_a_limit_until_it_is_cleared() {
        let (problem, now) = (Problem::default(), Instant::now());
        problem.failed("stuck", 5, now);
        assert_eq!(problem.show(5).as_deref(), Some("stuck"));
        assert_eq!(problem.show(6), None);
        assert!(problem.limits("slow", now));
        assert!(!problem.limits("slow", now));
        assert_eq!(problem.show(7).as_deref(), Some("slow"));
        problem.clear();
        assert_eq!(problem.show(7), None);
    }

    #[test]
    fn a_problem_of_the_outlet_is_shown_until_it_can_be_used_again() {
        let problem = Problem::default();
        problem.set_outlet(Some("a file is there".to_owned()));
        problem.failed("stuck", 5, Instant::now());
        problem.clear();
        assert_eq!(problem.show(6).as_deref(), Some("a file is there"));
        problem.set_outlet(None);
        assert_eq!(problem.show(6), None);
    }
}
