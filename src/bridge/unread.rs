//! Bytes of a serial line that no program has read: kept for the next reader, but not for long.
//!
//! ```text
//!   device ──► no reader ──► Unread: at most 64 KiB, each byte for at most `keep` ──► the next reader gets it first
//!                               ▲
//!   FIFO's last reader leaves ──┘ what it had not read
//! ```
//!
//! Nothing runs while time passes: what is too old is dropped when bytes arrive or a program comes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::usb::Transfer;

/// What others may change of a line's input while its pump runs.
#[derive(Debug)]
pub struct InputPolicy {
    /// When it was made; the times below count from here.
    start: Instant,
    /// Microseconds; [`FOREVER`] for ever.
    keep: AtomicU64,
    patience: AtomicU64,
    /// Whether what arrives is thrown away, and how often that has begun.
    muted: AtomicBool,
    mutes: AtomicU64,
    /// When bytes last arrived that no program read; 0 for never.
    arrived: AtomicU64,
}

impl InputPolicy {
    /// Keeps what nobody reads for `keep`, and waits for slow readers for `patience`; `None` is for ever.
    pub fn new(keep: Option<Duration>, patience: Option<Duration>) -> Self {
        Self {
            start: Instant::now(),
            keep: AtomicU64::new(micros(keep)),
            patience: AtomicU64::new(micros(patience)),
            muted: AtomicBool::default(),
            mutes: AtomicU64::default(),
            arrived: AtomicU64::default(),
        }
    }

    /// Changes both times.
    pub fn set(&self, keep: Option<Duration>, patience: Option<Duration>) {
        self.keep.store(micros(keep), Ordering::Relaxed);
        self.patience.store(micros(patience), Ordering::Relaxed);
    }

    /// Throws away what has arrived and was not read, and what arrives from now on.
    pub fn mute(&self) {
        self.mutes.fetch_add(1, Ordering::SeqCst);
        self.muted.store(true, Ordering::SeqCst);
    }

    /// What arrives counts again.
    pub fn unmute(&self) {
        self.muted.store(false, Ordering::SeqCst);
    }

    /// When bytes last arrived that no program read.
    pub fn last_arrival(&self) -> Option<Instant> {
        match self.arrived.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(self.start + Duration::from_micros(micros)),
        }
    }

    /// Whether what arrives is thrown away.
    pub fn is_muted(&self) -> bool {
        self.muted.load(Ordering::SeqCst)
    }

    pub(super) fn patience(&self) -> Option<Duration> {
        duration(self.patience.load(Ordering::Relaxed))
    }

    fn keep(&self) -> Option<Duration> {
        duration(self.keep.load(Ordering::Relaxed))
    }

    fn arrived(&self, now: Instant) {
        self.arrived.store(micros(Some(now.duration_since(self.start))).max(1), Ordering::Relaxed);
    }
}

/// The bytes themselves, oldest first.
pub(super) struct Unread {
    policy: Arc<InputPolicy>,
    bytes: VecDeque<u8>,
    /// How many of the bytes arrived together, and when.
    pieces: VecDeque<(Instant, usize)>,
    /// [`InputPolicy::mutes`] when this was last looked at.
    mutes: u64,
}

impl Unread {
    pub(super) fn new(policy: Arc<InputPolicy>) -> Self {
        let mutes = policy.mutes.load(Ordering::SeqCst);
        Self { policy, bytes: VecDeque::new(), pieces: VecDeque::new(), mutes }
    }

    pub(super) fn policy(&self) -> &InputPolicy {
        &self.policy
    }

    /// Whether nothing more is to be asked of the device, because nothing may be dropped.
    pub(super) fn is_full(&self) -> bool {
        self.policy.keep().is_none() && self.bytes.len() >= MOST
    }

    /// The device has just sent this and nobody reads. Returns how many bytes were dropped.
    pub(super) fn arrive(&mut self, bytes: &[u8], now: Instant) -> usize {
        self.policy.arrived(now);
        self.add(bytes, now)
    }

    /// Keeps bytes that arrived at `then`. Returns how many bytes were dropped, these or older ones.
    pub(super) fn add(&mut self, bytes: &[u8], then: Instant) -> usize {
        let mut dropped = self.expire(then);
        let Some(keep) = self.policy.keep() else {
            self.push(bytes, then, Duration::MAX);
            return dropped;
        };
        if keep.is_zero() {
            return dropped + bytes.len();
        }
        let newest = &bytes[bytes.len().saturating_sub(MOST)..];
        dropped += bytes.len() - newest.len();
        dropped += self.drop_oldest((self.bytes.len() + newest.len()).saturating_sub(MOST));
        self.push(newest, then, keep / PIECES);
        dropped
    }

    /// All that is not too old, for the next reader; and how many bytes were dropped.
    pub(super) fn take(&mut self, now: Instant) -> (Option<Transfer>, usize) {
        let dropped = self.expire(now);
        if self.bytes.is_empty() {
            return (None, dropped);
        }
        let mut transfer = Transfer::new(self.bytes.len());
        transfer.actual = transfer.length;
        transfer.buffer.copy_from_slice(self.bytes.make_contiguous());
        (self.bytes, self.pieces) = (VecDeque::new(), VecDeque::new());
        (Some(transfer), dropped)
    }

    /// Drops what is too old, and all from before it was last muted.
    fn expire(&mut self, now: Instant) -> usize {
        let mutes = self.policy.mutes.load(Ordering::SeqCst);
        if std::mem::replace(&mut self.mutes, mutes) != mutes {
            return self.drop_oldest(self.bytes.len());
        }
        let Some(keep) = self.policy.keep() else { return 0 };
        let is_old = |(then, _): &&(Instant, usize)| now.duration_since(*then) > keep;
        let old = self.pieces.iter().take_while(is_old).map(|(_, length)| length).sum();
        self.drop_oldest(old)
    }

    fn drop_oldest(&mut self, count: usize) -> usize {
        self.bytes.drain(..count);
        let mut left = count;
        while let Some((_, length)) = self.pieces.front_mut().filter(|_| left > 0) {
            let gone = left.min(*length);
            (*length, left) = (*length - gone, left - gone);
            if *length == 0 {
                self.pieces.pop_front();
            }
        }
        if self.bytes.is_empty() {
            self.bytes = VecDeque::new();
        }
        count
    }

    /// What arrives within `together` of a piece's beginning is of its age, so that there are only so many pieces.
    fn push(&mut self, bytes: &[u8], then: Instant, together: Duration) {
        if bytes.is_empty() {
            return;
        }
        self.bytes.extend(bytes);
        match self.pieces.back_mut() {
            Some((begin, length)) if then.duration_since(*begin) <= together => *length += bytes.len(),
            _ => self.pieces.push_back((then, bytes.len())),
        }
    }
}

fn micros(time: Option<Duration>) -> u64 {
    time.map_or(FOREVER, |time| u64::try_from(time.as_micros()).unwrap_or(FOREVER))
}

fn duration(micros: u64) -> Option<Duration> {
    (micros != FOREVER).then(|| Duration::from_micros(micros))
}

/// Bytes of one line.
const MOST: usize = 64 * 1024;
const FOREVER: u64 = u64::MAX;
/// Ages that are told apart.
const PIECES: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn keeping(keep: Option<Duration>) -> (Unread, Arc<InputPolicy>, Instant) {
        let policy = Arc::new(InputPolicy::new(keep, None));
        (Unread::new(policy.clone()), policy, Instant::now())
    }

    fn taken(unread: &mut Unread, now: Instant) -> (Vec<u8>, usize) {
        let (transfer, dropped) = unread.take(now);
        (transfer.map(|t| t.received().to_vec()).unwrap_or_default(), dropped)
    }

    #[test]
    fn what_is_too_old_is_dropped_and_the_rest_is_there_once() {
        let (mut unread, policy, start) = keeping(Some(2 * SECOND));
        assert_eq!(policy.last_arrival(), None);
        assert_eq!(unread.arrive(b"old", start), 0);
        assert_eq!(unread.arrive(b"new", start + SECOND), 0);
        assert_eq!(taken(&mut unread, start + SECOND * 5 / 2), (b"new".to_vec(), 3));
        assert_eq!(taken(&mut unread, start + SECOND * 5 / 2), (b"".to_vec(), 0));
        assert!(policy.last_arrival().is_some_and(|then| then.duration_since(start + SECOND) < SECOND / 100));
        unread.arrive(b"x", start + 3 * SECOND);
        assert_eq!(unread.arrive(b"y", start + 6 * SECOND), 1, "an arrival drops, too");
    }

    #[test]
    fn with_zero_nothing_is_kept_and_with_forever_nothing_dropped() {
        let (mut unread, _, start) = keeping(Some(Duration::ZERO));
        assert_eq!(unread.arrive(b"gone", start), 4);
        assert_eq!(taken(&mut unread, start), (vec![], 0));
        let (mut unread, _, start) = keeping(None);
        assert_eq!(unread.arrive(&[1; MOST - 1], start), 0);
        assert!(!unread.is_full());
        assert_eq!(unread.arrive(b"23", start + 1000 * SECOND), 0);
        assert!(unread.is_full(), "the device has to wait");
        assert_eq!(taken(&mut unread, start + 5000 * SECOND).0.len(), MOST + 1);
        assert!(!unread.is_full());
    }

    #[test]
    fn nothing_from_before_a_reset_is_left_but_what_comes_after_it_is() {
        let (mut unread, policy, start) = keeping(Some(2 * SECOND));
        unread.arrive(b"before", start);
        policy.mute();
        assert!(policy.is_muted());
        policy.unmute();
        assert_eq!(unread.arrive(b"READY", start), 6);
        assert_eq!(taken(&mut unread, start), (b"READY".to_vec(), 0));
    }

    #[test]
    fn a_change_of_the_time_counts_at_once() {
        let (mut unread, policy, start) = keeping(None);
        unread.arrive(b"x", start);
        policy.set(Some(SECOND), Some(SECOND));
        assert_eq!(policy.patience(), Some(SECOND));
        assert_eq!(taken(&mut unread, start + 2 * SECOND), (vec![], 1));
    }

    proptest! {
        #[test]
        fn each_byte_is_taken_or_dropped_once_and_what_is_taken_are_the_newest(
            arrivals in prop::collection::vec((0u64..900, 0usize..30_000), 0..40),
        ) {
            let (mut unread, _, start) = keeping(Some(2 * SECOND));
            let (mut now, mut sent, mut dropped) = (start, Vec::new(), 0);
            for (pause, length) in arrivals {
                now += Duration::from_millis(pause);
                let bytes: Vec<u8> = (0..length).map(|n| ((sent.len() + n) % 251) as u8).collect();
                dropped += unread.arrive(&bytes, now);
                sent.extend(bytes);
                prop_assert!(unread.bytes.len() <= MOST && unread.pieces.len() <= PIECES as usize + 2);
                prop_assert_eq!(unread.pieces.iter().map(|(_, n)| n).sum::<usize>(), unread.bytes.len());
            }
            let (rest, more) = taken(&mut unread, now);
            prop_assert_eq!(rest.len() + dropped + more, sent.len());
            prop_assert!(sent.ends_with(&rest));
        }
    }
}
