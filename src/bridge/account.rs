//! What one program got from a pipe or gave to it, for `status`. Written on the hot path without locks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::counters::add;

/// Counters of one program at an outlet, since it came.
#[derive(Debug, Default)]
pub struct Account {
    /// Of a FIFO: whether any program has it open.
    pub(super) open: AtomicBool,
    pub(super) bytes: AtomicU64,
    pub(super) lost_bytes: AtomicU64,
    pub(super) lost_transfers: AtomicU64,
    pub(super) lost_packets: AtomicU64,
}

/// The values of an [`Account`] at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Bytes it took or gave, with what the framing adds.
    pub bytes: u64,
    /// Bytes from the device that it did not get, because it was too slow.
    pub lost_bytes: u64,
    /// Transfers that it did not get.
    pub lost_transfers: u64,
    /// Isochronous packets that it did not get.
    pub lost_packets: u64,
}

impl Account {
    /// The values now.
    pub fn tally(&self) -> Tally {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Tally {
            bytes: get(&self.bytes),
            lost_bytes: get(&self.lost_bytes),
            lost_transfers: get(&self.lost_transfers),
            lost_packets: get(&self.lost_packets),
        }
    }

    /// Of a FIFO: whether any program has it open. Others are open for as long as they are there.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// A program has opened the FIFO: counts from nothing.
    pub(super) fn begin(&self) {
        for counter in [&self.bytes, &self.lost_bytes, &self.lost_transfers, &self.lost_packets] {
            counter.store(0, Ordering::Relaxed);
        }
        self.open.store(true, Ordering::Relaxed);
    }

    /// The last program has closed the FIFO.
    pub(super) fn end(&self) {
        self.open.store(false, Ordering::Relaxed);
    }

    pub(super) fn moved(&self, bytes: usize) {
        add(&self.bytes, bytes);
    }

    pub(super) fn lost_transfers(&self, transfers: usize, bytes: usize) {
        add(&self.lost_transfers, transfers);
        add(&self.lost_bytes, bytes);
    }

    pub(super) fn lost_packets(&self, packets: usize, bytes: usize) {
        add(&self.lost_packets, packets);
        add(&self.lost_bytes, bytes);
    }
}
