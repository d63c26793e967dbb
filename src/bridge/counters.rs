//! What a bridge has done, for `status`. Written on the hot path without locks, read whenever somebody asks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// Counters of one bridge since the daemon's start.
#[derive(Debug, Default)]
pub struct Counters {
    pub(crate) transfers: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) packets: AtomicU64,
    pub(crate) stalls: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) lost_packets: AtomicU64,
    pub(crate) lost_bytes: AtomicU64,
    pub(crate) discarded_bytes: AtomicU64,
    pub(crate) underruns: AtomicU64,
    pub(crate) bad_messages: AtomicU64,
    pub(crate) empty_transfers: AtomicU64,
    pub(crate) opens: AtomicU64,
    pub(crate) open: AtomicBool,
    /// Told when isochronous packets are lost, so that somebody else can say so.
    pub(crate) loss: Notify,
}

/// The values of [`Counters`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Whether a program has the outlet open.
    pub open: bool,
    /// How often the outlet went from nobody to somebody.
    pub opens: u64,
    /// Transfers that ended with success.
    pub transfers: u64,
    /// Bytes over the bus.
    pub bytes: u64,
    /// Isochronous packets over the bus.
    pub packets: u64,
    /// Times the endpoint was found halted.
    pub stalls: u64,
    /// Transfers that failed otherwise.
    pub errors: u64,
    /// Isochronous packets that did not reach the outlet.
    pub lost_packets: u64,
    /// Bytes that were accepted from a program and did not reach the device, or the other way round.
    pub lost_bytes: u64,
    /// Bytes thrown away because the configuration says so (`unread`, `idle = "drain"`, `on_open = "discard"`).
    pub discarded_bytes: u64,
    /// Times an isochronous OUT stream ran dry while a writer was there.
    pub underruns: u64,
    /// Messages of a packet framing that were refused.
    pub bad_messages: u64,
    /// Transfers of a bulk IN endpoint that the device answered with a ZLP.
    #[serde(default)]
    pub empty_transfers: u64,
}

impl Counters {
    /// The values now.
    pub fn snapshot(&self) -> Snapshot {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot {
            open: self.open.load(Ordering::Relaxed),
            opens: get(&self.opens),
            transfers: get(&self.transfers),
            bytes: get(&self.bytes),
            packets: get(&self.packets),
            stalls: get(&self.stalls),
            errors: get(&self.errors),
            lost_packets: get(&self.lost_packets),
            lost_bytes: get(&self.lost_bytes),
            discarded_bytes: get(&self.discarded_bytes),
            underruns: get(&self.underruns),
            bad_messages: get(&self.bad_messages),
            empty_transfers: get(&self.empty_transfers),
        }
    }

    /// Takes note that the outlet is open now, or no longer.
    pub fn set_open(&self, open: bool) {
        if open && !self.open.swap(true, Ordering::Relaxed) {
            add(&self.opens, 1);
        } else {
            self.open.store(open, Ordering::Relaxed);
        }
    }

    /// Resolves when isochronous packets were lost since the last time.
    pub async fn loss(&self) {
        self.loss.notified().await;
    }

    /// Isochronous packets lost so far.
    pub fn lost_packets(&self) -> u64 {
        self.lost_packets.load(Ordering::Relaxed)
    }

    /// Transfers so far, to tell whether anything moved.
    pub fn transfers(&self) -> u64 {
        self.transfers.load(Ordering::Relaxed)
    }

    /// Counts a halt.
    pub fn add_stall(&self) {
        add(&self.stalls, 1);
    }

    /// Counts a failed transfer.
    pub fn add_error(&self) {
        add(&self.errors, 1);
    }

    /// Counts a transfer that the device answered with nothing.
    pub fn add_empty(&self) {
        add(&self.empty_transfers, 1);
    }

    /// Counts bytes that will not arrive.
    pub fn add_lost_bytes(&self, n: usize) {
        add(&self.lost_bytes, n);
    }

    /// Counts bytes thrown away on purpose.
    pub fn add_discarded(&self, n: usize) {
        add(&self.discarded_bytes, n);
    }
}

pub(super) fn add(counter: &AtomicU64, n: usize) {
    counter.fetch_add(n as u64, Ordering::Relaxed);
}
