//! A witness of the machine: how long a thread that had almost nothing to do was kept from running. What happens in real
//! time, such as sound, is judged by it, so that a machine that stands still is not taken for a fault of the program.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

/// Watches from its start until it is dropped.
pub struct Witness {
    began: Instant,
    kept_us: Arc<AtomicU64>,
}

impl Witness {
    /// Starts a thread that wakes up every [`TICK`].
    pub fn start() -> Self {
        let kept_us = Arc::new(AtomicU64::new(0));
        let counted = Arc::downgrade(&kept_us);
        spawn(move || {
            let mut last = Instant::now();
            while let Some(kept_us) = counted.upgrade() {
                sleep(TICK);
                let late = last.elapsed().saturating_sub(TICK);
                last = Instant::now();
                if late > TICK {
                    kept_us.fetch_add(late.as_micros() as u64, Relaxed);
                }
            }
        });
        Self { began: Instant::now(), kept_us }
    }

    /// How long its thread was kept from running so far, in all.
    pub fn kept(&self) -> Duration {
        Duration::from_micros(self.kept_us.load(Relaxed))
    }

    /// Fails if more time than `limit` has passed since the start, the time in which this process did not run aside.
    pub fn assert_within(&self, limit: Duration) {
        let (took, kept) = (self.began.elapsed(), self.kept());
        assert!(took < limit + kept, "it took {took:?}, where {limit:?} are allowed; {kept:?} of it nothing ran here");
    }

    /// The same in clock ticks of 10 ms. A simulated processor that stands still looks as if it had worked.
    pub fn kept_ticks(&self) -> u64 {
        self.kept().as_millis() as u64 / 10
    }

    /// Whether `lost` packets of a millisecond are the machine's doing, which the output then mentions. None is nobody's.
    /// Fails if they are not.
    pub fn explains_loss(&self, lost: u64) -> bool {
        let kept = self.kept();
        if lost > 0 {
            println!("{lost} packets were lost while this machine kept a waiting thread from running for {kept:?}");
            assert!(
                kept >= STANDSTILL && u128::from(lost) <= 2 * kept.as_millis(),
                "{lost} packets were lost without a reason"
            );
        }
        lost > 0
    }
}

/// How often it looks. Waking up later than this is late.
const TICK: Duration = Duration::from_millis(5);
/// A pause in all that explains a loss: what devices and daemons have in flight lasts longer than one of this length.
const STANDSTILL: Duration = Duration::from_millis(100);
