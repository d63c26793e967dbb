//! The programs that had a FIFO open when it ended. Each is to see the end before the FIFO begins anew; those that come
//! later have nothing to see. It counts closings, and refuses to know who they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many of them have not closed it yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Leaving(Arc<AtomicUsize>);

impl Leaving {
    /// The FIFO ends, and so many have it open.
    pub(super) fn start(&self, open: usize) {
        self.0.store(open, Ordering::Relaxed);
    }

    /// This process will close it once itself.
    pub(super) fn expect_own(&self) {
        if !self.is_done() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// It was closed. Who was there before is taken to leave before who came later.
    pub(super) fn closed(&self) {
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    }

    /// Whether all have left.
    pub(super) fn is_done(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_have_left_once_it_was_closed_as_often_as_it_was_open() {
        let leaving = Leaving::default();
        assert!(leaving.is_done());
        leaving.closed();
        leaving.expect_own();
        assert!(leaving.is_done(), "nobody is waited for");
        leaving.start(2);
        leaving.closed();
        leaving.expect_own();
        leaving.closed();
        assert!(!leaving.is_done());
        leaving.closed();
        assert!(leaving.is_done());
    }
}
