//! Programs that open and close the data outlets of a serial line, and the reset that follows from it: `reset` in the
//! configuration.
//!
//! ```text
//!   nobody ── an outlet is opened: the board is reset, if the policy says so ──► somebody ── another is opened ─┐
//!     ▲                                                                            │  ▲                         │
//!     └──────────────────────────── the last one is closed ───────────────────────┘  └─────────────────────────┘
//! ```
//!
//! It resets nothing itself: it shuts the gate, so that no byte overtakes the reset, has what the board sent before the
//! reset thrown away, and leaves the rest to whoever has the other end of its channel.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::lock::lock;
use crate::bridge::InputPolicy;
use crate::config::ResetPolicy;
use crate::serial::{Gate, Hold};

/// Who has the data outlets of one serial line open.
pub(super) struct Openings {
    gate: Arc<Gate>,
    /// What becomes of what the board sends.
    pub(super) input: Arc<InputPolicy>,
    resets: mpsc::Sender<Hold>,
    state: Mutex<State>,
    /// Lives in each [`Unreset`] as well.
    unreset: Arc<()>,
}

/// A program that came beside others, so that its opening did not reset the board, for as long as it is there.
pub(super) struct Unreset(#[expect(dead_code, reason = "it is counted")] Arc<()>);

struct State {
    policy: ResetPolicy,
    usage: Usage,
    /// Whether the board has been plugged in since the daemon's start.
    was_away: bool,
    /// Whether it was told that a program came beside others.
    is_unreset_told: bool,
}

impl Openings {
    /// Nobody has anything open. Each due reset arrives at the other end, with the gate shut until it is dropped there.
    pub(super) fn new(policy: ResetPolicy, gate: Arc<Gate>, input: Arc<InputPolicy>) -> (Self, mpsc::Receiver<Hold>) {
        let (resets, due) = mpsc::channel(1);
        let state = Mutex::new(State { policy, usage: Usage::default(), was_away: false, is_unreset_told: false });
        (Self { gate, input, resets, state, unreset: Arc::default() }, due)
    }

    /// A program has opened a terminal and finds others at the line, or none. Where a reset could have been expected, says
    /// whether that is news: it is told once until a program finds none.
    pub(super) fn beside_others(&self, has_others: bool) -> Option<(Unreset, bool)> {
        let mut state = lock(&self.state);
        if state.policy == ResetPolicy::Never {
            return None;
        }
        let is_news = !std::mem::replace(&mut state.is_unreset_told, has_others);
        has_others.then(|| (Unreset(self.unreset.clone()), is_news))
    }

    /// What an uploader would miss among the programs that are there now.
    pub(super) fn problem(&self) -> Option<String> {
        let is_any = Arc::strong_count(&self.unreset) > 1;
        is_any.then(|| format!("a program is at serial.tty beside others: {UNRESET}"))
    }

    /// From now on the board is reset when this policy says so.
    pub(super) fn set_policy(&self, policy: ResetPolicy) {
        lock(&self.state).policy = policy;
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
        let first = state.usage.change(outlet, open, self.input.last_arrival(), Instant::now());
        let is_due = match (state.policy, first) {
            (ResetPolicy::OnOpen, Some(_)) | (ResetPolicy::IfIdle, Some(Line::Silent)) => may_reset,
            (ResetPolicy::Never, _) | (ResetPolicy::IfIdle, Some(Line::InUse)) | (_, None) => false,
        };
        if is_due {
            self.input.mute();
            // One that is waiting already serves this opening as well.
            if let Err(TrySendError::Closed(_)) = self.resets.try_send(self.gate.hold()) {
                self.input.unmute();
            }
        }
    }
}

/// Which outlets are open, and since when none was.
#[derive(Default)]
struct Usage {
    open: BTreeSet<String>,
    /// When the last one was closed.
    closed: Option<Instant>,
}

/// What the first program finds that opens an outlet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// A moment ago somebody used it, or the board sent something.
    InUse,
    Silent,
}

impl Usage {
    /// An outlet is open, or is not; what nobody read came last at `arrival`. Tells what was found if nobody had any open
    /// before.
    fn change(&mut self, outlet: &str, open: bool, arrival: Option<Instant>, now: Instant) -> Option<Line> {
        let was_open = !self.open.is_empty();
        if open {
            self.open.insert(outlet.to_owned());
            return (!was_open).then(|| self.found(arrival, now));
        }
        self.open.remove(outlet);
        if was_open && self.open.is_empty() {
            self.closed = Some(now);
        }
        None
    }

    fn found(&self, arrival: Option<Instant>, now: Instant) -> Line {
        let is_recent = |when: Instant| now.duration_since(when) < SILENCE;
        // A board that has sent something before any program came has only come up.
        match self.closed {
            Some(closed) if is_recent(closed) || arrival.is_some_and(is_recent) => Line::InUse,
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

    fn input() -> Arc<InputPolicy> {
        Arc::new(InputPolicy::new(None, None))
    }

    #[test]
    fn only_who_comes_when_nobody_is_there_is_the_first() {
        let (mut usage, now) = (Usage::default(), Instant::now());
        let mut change = |outlet, open| usage.change(outlet, open, None, now).is_some();
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
        assert_eq!(usage.change("serial.rx", true, None, now), Some(Line::Silent));
        usage.change("serial.rx", false, None, now);
        assert_eq!(usage.change("serial.rx", true, None, now + SILENCE / 2), Some(Line::InUse));
        usage.change("serial.rx", false, None, now + SILENCE);
        assert_eq!(usage.change("serial.rx", true, None, now + 2 * SILENCE), Some(Line::Silent));
        usage.change("serial.rx", false, None, now + 3 * SILENCE);
        let late = Some(now + 3 * SILENCE + SILENCE / 10);
        assert_eq!(usage.change("serial.rx", true, late, now + 5 * SILENCE), Some(Line::Silent), "a late answer");
        usage.change("serial.rx", false, late, now + 6 * SILENCE);
        let recent = Some(now + 7 * SILENCE + SILENCE / 2);
        assert_eq!(usage.change("serial.rx", true, recent, now + 8 * SILENCE), Some(Line::InUse), "the board goes on");
    }

    #[test]
    fn who_comes_beside_others_is_told_once_and_shown_while_it_is_there() {
        let (openings, _due) = Openings::new(ResetPolicy::OnOpen, Arc::default(), input());
        assert!(openings.beside_others(false).is_none() && openings.problem().is_none());
        let (first, is_news) = openings.beside_others(true).unwrap();
        assert!(is_news && openings.problem().unwrap().contains("`lock = false`"));
        let (second, is_news) = openings.beside_others(true).unwrap();
        assert!(!is_news);
        drop((first, second));
        assert!(openings.problem().is_none() && openings.beside_others(false).is_none());
        assert!(openings.beside_others(true).unwrap().1, "the last one had left meanwhile");
        let (never, _due) = Openings::new(ResetPolicy::Never, Arc::default(), input());
        assert!(never.beside_others(true).is_none(), "no program expects a reset");
    }

    #[test]
    fn the_gate_is_shut_and_the_input_muted_before_anybody_resets_and_programs_found_after_a_replug_cause_no_reset() {
        let gate = Arc::<Gate>::default();
        let input = input();
        let (openings, mut due) = Openings::new(ResetPolicy::OnOpen, gate, input.clone());
        openings.found("serial.rx", true);
        assert!(due.try_recv().is_ok() && input.is_muted());
        openings.session_over();
        openings.found("serial.rx", false);
        openings.found("serial.rx", true);
        assert!(due.try_recv().is_err());
        openings.set("serial.rx", false);
        openings.set("serial.tx", true);
        assert!(due.try_recv().is_ok());
    }
}
