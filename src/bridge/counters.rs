//! What a bridge has done, for `status`. Written on the hot path without locks, read whenever somebody asks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::usb::TransferError;

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
    /// Those of the bad messages that were longer than a transfer may be.
    pub(crate) long_messages: AtomicU64,
    /// Isochronous packets that failed on the bus, and how the last of them did.
    pub(crate) failed_packets: AtomicU64,
    packet_error: AtomicU64,
    pub(crate) opens: AtomicU64,
    pub(crate) open: AtomicBool,
    /// Notified when isochronous packets are lost or messages refused, so that another task can report it.
    pub(crate) loss: Notify,
}

/// What was refused, or failed in part, so far; totals since the daemon's start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Messages longer than a transfer may be.
    pub long_messages: u64,
    /// Other messages that are none of the framing's.
    pub bad_messages: u64,
    /// Isochronous packets that failed on the bus.
    pub failed_packets: u64,
    /// Isochronous packets that did not.
    pub packets: u64,
    /// Bytes that did not arrive.
    pub lost_bytes: u64,
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

    /// What was refused or failed so far.
    pub fn refusals(&self) -> Refusals {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let long_messages = get(&self.long_messages);
        Refusals {
            long_messages,
            bad_messages: get(&self.bad_messages).saturating_sub(long_messages),
            failed_packets: get(&self.failed_packets),
            packets: get(&self.packets),
            lost_bytes: get(&self.lost_bytes),
        }
    }

    /// How the last isochronous packet failed that did.
    pub fn packet_error(&self) -> TransferError {
        unpack(self.packet_error.load(Ordering::Relaxed))
    }

    /// A message was refused: it is none of the framing's, or longer than a transfer may be.
    pub(crate) fn refuse_message(&self, is_long: bool) {
        add(&self.long_messages, is_long.into());
        add(&self.bad_messages, 1);
        self.loss.notify_one();
    }

    /// Isochronous packets failed on the bus, the last of them so. They count as lost, too.
    pub(crate) fn fail_packets(&self, packets: usize, error: TransferError) {
        add(&self.failed_packets, packets);
        add(&self.lost_packets, packets);
        self.packet_error.store(pack(error), Ordering::Relaxed);
        self.loss.notify_one();
    }

    /// Resolves when isochronous packets were lost or messages refused since the last time.
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

/// An error as a number, so that it needs no lock.
fn pack(error: TransferError) -> u64 {
    match error {
        TransferError::Stall => STALL,
        TransferError::Cancelled => CANCELLED,
        TransferError::Disconnected => DISCONNECTED,
        TransferError::Overflow => OVERFLOW,
        TransferError::Timeout => TIMEOUT,
        TransferError::Invalid => INVALID,
        TransferError::Io(errno) => u64::from(errno as u32),
    }
}

fn unpack(number: u64) -> TransferError {
    match number {
        STALL => TransferError::Stall,
        CANCELLED => TransferError::Cancelled,
        DISCONNECTED => TransferError::Disconnected,
        OVERFLOW => TransferError::Overflow,
        TIMEOUT => TransferError::Timeout,
        INVALID => TransferError::Invalid,
        errno => TransferError::Io(errno as u32 as i32),
    }
}

/// Beyond every errno.
const STALL: u64 = 1 << 32;
const CANCELLED: u64 = STALL + 1;
const DISCONNECTED: u64 = STALL + 2;
const OVERFLOW: u64 = STALL + 3;
const TIMEOUT: u64 = STALL + 4;
const INVALID: u64 = STALL + 5;

pub(super) fn add(counter: &AtomicU64, n: usize) {
    counter.fetch_add(n as u64, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_packet_failed_reads_back() {
        use TransferError::{Cancelled, Disconnected, Invalid, Io, Overflow, Stall, Timeout};
        let counters = Counters::default();
        for error in [Stall, Cancelled, Disconnected, Overflow, Timeout, Invalid, Io(71), Io(-1)] {
            counters.fail_packets(2, error);
            assert_eq!(counters.packet_error(), error);
        }
        assert_eq!((counters.refusals().failed_packets, counters.lost_packets()), (16, 16));
    }

    #[test]
    fn long_messages_are_told_from_malformed_ones() {
        let counters = Counters::default();
        [true, false, true].into_iter().for_each(|is_long| counters.refuse_message(is_long));
        let Refusals { long_messages, bad_messages, .. } = counters.refusals();
        assert_eq!((long_messages, bad_messages, counters.snapshot().bad_messages), (2, 1, 3));
    }
}
