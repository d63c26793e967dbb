//! Hot path. What one capture has not been given yet: bounded, and what does not fit is left out and counted.

use std::time::Duration;

use super::pcapng;
use super::usbmon::Event;

/// The spool of one capture.
pub(super) struct Spool {
    bytes: Vec<u8>,
    /// The longest record.
    limit: usize,
    began: Duration,
    seen: u64,
    dropped: u64,
    /// Those since the last record that was kept.
    gap: u64,
}

impl Spool {
    /// Holds the beginning of the capture.
    pub(super) fn new(name: &str, description: &str, limit: u32) -> Self {
        let mut bytes = Vec::with_capacity(CAPACITY);
        pcapng::begin(&mut bytes, name, description, limit);
        Self { bytes, limit: limit as usize, began: pcapng::now(), seen: 0, dropped: 0, gap: 0 }
    }

    /// Takes one event, if there is room.
    pub(super) fn push(&mut self, event: &Event<'_>, time: Duration) {
        self.seen += 1;
        if self.bytes.len() + event.kept(self.limit) + BLOCK > CAPACITY {
            self.dropped += 1;
            self.gap += 1;
            return;
        }
        let gap = std::mem::take(&mut self.gap);
        let limit = self.limit;
        pcapng::packet(&mut self.bytes, time, gap, |out| event.write(out, time, limit));
    }

    /// Gives away what there is, and goes on with `empty`.
    pub(super) fn take(&mut self, mut empty: Vec<u8>) -> Vec<u8> {
        empty.clear();
        empty.reserve(CAPACITY);
        std::mem::replace(&mut self.bytes, empty)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Appends the end of the capture.
    pub(super) fn finish(&mut self) {
        pcapng::statistics(&mut self.bytes, self.began, pcapng::now(), self.seen, self.dropped);
    }
}

/// Bytes that wait at most; as many again are on their way to the reader.
const CAPACITY: usize = 4 << 20;
/// What a block has beside its record.
const BLOCK: usize = 64;

#[cfg(test)]
mod tests {
    use super::super::blocks::{Blocks, Kind};
    use super::super::usbmon::Urb;
    use super::*;
    use crate::usb::descriptors::TransferType;

    fn event(buffer: &[u8]) -> Event<'_> {
        let urb = Urb { id: 1, transfer_type: TransferType::Bulk, endpoint: 0x81, device: 1, interval: 0 };
        Event { urb, is_submit: false, setup: None, status: Ok(()), length: buffer.len(), buffer, packets: &[] }
    }

    #[test]
    fn what_does_not_fit_is_counted_in_the_next_record_and_at_the_end() {
        let (mut spool, data) = (Spool::new("zero", "", 262_144), vec![7; 100_000]);
        for _ in 0..50 {
            spool.push(&event(&data), Duration::ZERO);
        }
        let first = spool.take(Vec::new());
        assert!(first.len() <= CAPACITY && first.capacity() == CAPACITY, "no memory beyond the bound");
        spool.push(&event(b"next"), Duration::ZERO);
        spool.finish();
        let mut blocks = Blocks::default();
        blocks.push(&[first, spool.take(Vec::new())].concat());
        let (mut records, mut dropped, mut end) = (0, 0, None);
        while let Some(block) = blocks.next().unwrap() {
            match block.kind {
                Kind::Header => {}
                Kind::Record { dropped: n } => (records, dropped) = (records + 1, dropped + n),
                Kind::Statistics { seen, dropped } => end = Some((seen, dropped)),
            }
        }
        assert_eq!((records + dropped, end), (51, Some((51, dropped))));
        assert!(dropped > 0);
    }
}
