//! Programs that open and close the data outlets of a serial line, and the reset that follows from it: `reset` in the
//! configuration.
//!
//! ```text
//!   nobody ── an outlet is opened: the board is reset, if the policy says so ──► somebody ── another is opened ─┐
//!     ▲                                                                            │  ▲                         │
//!     └──────────────────────────── the last one is closed ───────────────────────┘  └─────────────────────────┘
//! ```
//!
//! It resets nothing itself: it shuts the gate, so that no byte overtakes the reset, and leaves the rest to whoever has
//! the other end of its channel.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::lock::lock;
use crate::bridge::Counters;
use crate::config::ResetPolicy;
use crate::serial::{Gate, Hold};

/// Who has the data outlets of one serial line open.
pub(super) struct Openings {
    policy: ResetPolicy,
    gate: Arc<Gate>,
    resets: mpsc::Sender<Hold>,
    state: Mutex<State>,
    /// Lives in each [`Unreset`] as well.
    unreset: Arc<()>,
}

/// A program that came beside others, so that its opening did not reset the board, for as long as it is there.
pub(super) struct Unreset(#[expect(dead_code, reason = "it is counted")] Arc<()>);

#[derive(Default)]
struct State {
    /// Of every line, to tell whether the board has spoken while nobody listened.
    counters: Vec<Arc<Counters>>,
    usage: Usage,
    /// Whether the board has been plugged in since the daemon's start.
    was_away: bool,
    /// Whether it was told that a program came beside others.
    is_unreset_told: bool,
}

impl Openings {
    /// Nobody has anything open. Each due reset arrives at the other end, with the gate shut until it is dropped there.
    pub(super) fn new(policy: ResetPolicy, gate: Arc<Gate>) -> (Self, mpsc::Receiver<Hold>) {
        let (resets, due) = mpsc::channel(1);
        (Self { policy, gate, resets, state: Mutex::default(), unreset: Arc::default() }, due)
    }

    /// A program has opened a terminal and finds others at the line, or none. Where a reset could have been expected, says
    /// whether that is news: it is told once until a program finds none.
    pub(super) fn beside_others(&self, has_others: bool) -> Option<(Unreset, bool)> {
        if self.policy == ResetPolicy::Never {
            return None;
        }
        let is_news = !std::mem::replace(&mut lock(&self.state).is_unreset_told, has_others);
        has_others.then(|| (Unreset(self.unreset.clone()), is_news))
    }

    /// What an uploader would miss among the programs that are there now.
    pub(super) fn problem(&self) -> Option<String> {
        let is_any = Arc::strong_count(&self.unreset) > 1;
        is_any.then(|| format!("a program is at serial.tty beside others: {UNRESET}"))
    }

    /// A line of this function, whose counters these are.
    pub(super) fn add_line(&self, counters: &Arc<Counters>) {
        lock(&self.state).counters.push(counters.clone());
    }

    /// A session is over. The next one begins with a board that has just come up.
    pub(super) fn session_over(&self) {
        lock(&self.state).was_away = true;
    }

    /// What a line finds when a session begins. A program that came while the board was away finds it booting, so that
    /// only what is found by the first session is an opening.
    pub(super) fn found(&self, outlet: &str, open: bool) {
        let was_away = lock(&self.state).was_away;
        self.change(outlet, open, !was_away);
    }

    /// The first program has opened this outlet, or the last one has closed it.
    pub(super) fn set(&self, outlet: &str, open: bool) {
        self.change(outlet, open, true);
    }

    fn change(&self, outlet: &str, open: bool, may_reset: bool) {
        let mut state = lock(&self.state);
        let moved = state.counters.iter().map(|counters| counters.transfers()).sum();
        let first = state.usage.change(outlet, open, moved, Instant::now());
        let is_due = match (self.policy, first) {
            (ResetPolicy::OnOpen, Some(_)) | (ResetPolicy::IfIdle, Some(Line::Silent)) => may_reset,
            (ResetPolicy::Never, _) | (ResetPolicy::IfIdle, Some(Line::InUse)) | (_, None) => false,
        };
        if is_due {
            // One that is waiting already serves this opening as well.
            let _ = self.resets.try_send(self.gate.hold());
        }
    }
}

/// Which outlets are open, and since when none was.
#[derive(Default)]
struct Usage {
    open: BTreeSet<String>,
    /// When the last one was closed, and how many transfers there had been by then.
    closed: Option<(Instant, u64)>,
}

/// What the first program finds that opens an outlet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// A moment ago somebody used it, or the board has sent something since.
    InUse,
    Silent,
}

impl Usage {
    /// After so many transfers an outlet is open, or is not. Tells what was found if nobody had any open before.
    fn change(&mut self, outlet: &str, open: bool, moved: u64, now: Instant) -> Option<Line> {
        let was_open = !self.open.is_empty();
        if open {
            self.open.insert(outlet.to_owned());
            return (!was_open).then(|| self.found(moved, now));
        }
        self.open.remove(outlet);
        if was_open && self.open.is_empty() {
            self.closed = Some((now, moved));
        }
        None
    }

    fn found(&self, moved: u64, now: Instant) -> Line {
        match self.closed {
            Some((when, then)) if now.duration_since(when) < SILENCE || moved != then => Line::InUse,
            _ => Line::Silent,
        }
    }
}

/// What that means for uploads.
pub(super) const UNRESET: &str = "only the first program to open the line resets the board, so that an upload through \
    serial.tty fails; run the uploader by `usbpipe release`, which gives it the board's own port for that time, or set \
    `lock = false` and let it open that port itself";
/// A line that nobody has used for so long is idle.
const SILENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_comes_when_nobody_is_there_is_the_first() {
        let (mut usage, now) = (Usage::default(), Instant::now());
        let mut change = |outlet, open| usage.change(outlet, open, 0, now).is_some();
        assert!(change("serial.rx", true));
        assert!(!change("serial.tx", true));
        assert!(!change("serial.rx", true), "what is told twice counts once");
        assert!(!change("serial.rx", false));
        assert!(!change("serial.rx", true));
        assert!(!change("serial.rx", false) && !change("serial.tx", false));
        assert!(change("serial.tx", true));
    }

    #[test]
    fn a_line_is_silent_some_time_after_the_last_program_unless_the_board_goes_on() {
        let (mut usage, now) = (Usage::default(), Instant::now());
        assert_eq!(usage.change("serial.rx", true, 0, now), Some(Line::Silent));
        usage.change("serial.rx", false, 7, now);
        assert_eq!(usage.change("serial.rx", true, 7, now + SILENCE / 2), Some(Line::InUse));
        usage.change("serial.rx", false, 9, now + SILENCE);
        assert_eq!(usage.change("serial.rx", true, 9, now + 2 * SILENCE), Some(Line::Silent));
        usage.change("serial.rx", false, 9, now + 3 * SILENCE);
        assert_eq!(usage.change("serial.rx", true, 10, now + 5 * SILENCE), Some(Line::InUse), "it is drained");
    }

    #[test]
    fn who_comes_beside_others_is_told_once_and_shown_while_it_is_there() {
        let (openings, _due) = Openings::new(ResetPolicy::OnOpen, Arc::default());
        assert!(openings.beside_others(false).is_none() && openings.problem().is_none());
        let (first, is_news) = openings.beside_others(true).unwrap();
        assert!(is_news && openings.problem().unwrap().contains("`lock = false`"));
        let (second, is_news) = openings.beside_others(true).unwrap();
        assert!(!is_news);
        drop((first, second));
        assert!(openings.problem().is_none() && openings.beside_others(false).is_none());
        assert!(openings.beside_others(true).unwrap().1, "the last one had left meanwhile");
        let (never, _due) = Openings::new(ResetPolicy::Never, Arc::default());
        assert!(never.beside_others(true).is_none(), "no program expects a reset");
    }

    #[test]
    fn the_gate_is_shut_before_anybody_resets_and_programs_found_after_a_replug_cause_no_reset() {
        let gate = Arc::<Gate>::default();
        let (openings, mut due) = Openings::new(ResetPolicy::OnOpen, gate);
        openings.found("serial.rx", true);
        assert!(due.try_recv().is_ok());
        openings.session_over();
        openings.found("serial.rx", false);
        openings.found("serial.rx", true);
        assert!(due.try_recv().is_err());
        openings.set("serial.rx", false);
        openings.set("serial.tx", true);
        assert!(due.try_recv().is_ok());
    }
}
