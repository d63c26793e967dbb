//! How many programs have a FIFO open at once, from the news of its openings and closings. Programs that read one FIFO take
//! each other's bytes, also if they are gone before anybody has looked who they are.
//!
//! Where two openings are told as one in spite of [`super::Watcher::watch_each`], one closing more comes than openings; and
//! both were open at once. It refuses to know who they are.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Tells of programs that read one FIFO at once.
#[derive(Debug, Clone, Default)]
pub struct CompetingReaders(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    changed: Notify,
    count: Mutex<Count>,
}

#[derive(Debug, Default)]
struct Count {
    open: usize,
    /// How often nobody was left.
    departures: u64,
    /// The most at once that were not told yet.
    most: usize,
    /// Whether nobody was there although by `open` somebody is: events are still to come, or were told as one.
    is_stale: bool,
    /// Whether this process opens and closes it as well.
    is_muted: bool,
}

impl CompetingReaders {
    /// Resolves when somebody has opened or closed the FIFO while others read it.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// Whether [`CompetingReaders::take`] has something to tell.
    pub fn is_any(&self) -> bool {
        self.count().most > 1
    }

    /// How many programs had the FIFO open at once, if there were several and that was not asked before.
    pub fn take(&self) -> Option<usize> {
        let mut count = self.count();
        let most = std::mem::take(&mut count.most);
        (most > 1).then_some(most)
    }

    /// Bytes come only from now on: whoever has gone took none.
    pub fn begin(&self) {
        let mut count = self.count();
        count.most = count.most.min(count.open);
    }

    /// How often the last one has closed it.
    pub(super) fn departures(&self) -> u64 {
        self.count().departures
    }

    /// How many have it open, as far as events have said.
    pub(super) fn open(&self) -> usize {
        self.count().open
    }

    pub(super) fn notify(&self) {
        self.0.changed.notify_one();
    }

    pub(super) fn opened(&self) {
        self.count().opened();
    }

    pub(super) fn closed(&self) {
        self.count().closed();
    }

    /// So many are there for certain.
    pub(super) fn start(&self, open: usize) {
        let mut count = self.count();
        *count = Count { open, departures: count.departures, ..Count::default() };
    }

    /// Nobody is there, though there may be news of that still to come.
    pub(super) fn nobody(&self) {
        let mut count = self.count();
        count.is_stale = count.open > 0;
    }

    /// This process opens and closes it too, so that nothing can be told until [`CompetingReaders::start`].
    pub(super) fn mute(&self) {
        self.count().is_muted = true;
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        self.0.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Count {
    fn opened(&mut self) {
        let before = if std::mem::take(&mut self.is_stale) { 0 } else { self.open };
        self.open = before + 1;
        self.see(self.open);
    }

    fn closed(&mut self) {
        match self.open.checked_sub(1) {
            Some(open) => {
                self.open = open;
                self.departures += u64::from(open == 0);
                self.is_stale &= open > 0;
            }
            // Two openings were told as one.
            None => self.see(2),
        }
    }

    fn see(&mut self, at_once: usize) {
        if !self.is_muted {
            self.most = self.most.max(at_once);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told after these events: `o` opened, `c` closed, `0` nobody is there.
    fn told(events: &str) -> Option<usize> {
        let readers = CompetingReaders::default();
        for event in events.chars() {
            match event {
                'o' => readers.opened(),
                'c' => readers.closed(),
                _ => readers.nobody(),
            }
        }
        readers.take()
    }

    #[test]
    fn only_those_that_were_there_at_once_compete() {
        assert_eq!(told("ococ"), None);
        assert_eq!(told("ooc"), Some(2));
        assert_eq!(told("ocooocc"), Some(3));
    }

    #[test]
    fn events_that_were_told_as_one_are_understood() {
        assert_eq!(told("occ"), Some(2), "two openings");
        assert_eq!(told("ooc0"), Some(2), "two closings");
        assert_eq!(told("0c"), Some(2));
    }

    #[test]
    fn news_that_come_late_are_no_competition() {
        assert_eq!(told("o0c"), None);
        assert_eq!(told("o0coc"), None);
        assert_eq!(told("o0o"), None, "the closing was told with another one");
        assert_eq!(told("o0oo"), Some(2));
    }

    #[test]
    fn what_was_told_is_not_told_again_and_this_process_does_not_count() {
        let readers = CompetingReaders::default();
        readers.start(1);
        readers.opened();
        assert_eq!((readers.take(), readers.take()), (Some(2), None));
        readers.opened();
        assert_eq!(readers.take(), Some(3));
        readers.mute();
        readers.opened();
        assert_eq!(readers.take(), None);
        readers.start(0);
        readers.opened();
        readers.opened();
        readers.closed();
        readers.begin();
        assert_eq!(readers.take(), None, "the other one went before there was a byte");
    }
}
