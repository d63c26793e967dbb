//! Hot path. What waits to be written to the peer: headers, OUT data and packet descriptors.
//!
//! Data is never copied here: it is written from the transfer in the table. It refuses to look at the socket; it
//! offers slices and is told how many of their bytes went out.

use std::collections::VecDeque;
use std::io::IoSlice;

use usbip_wire::{HEADER_LEN, ISO_PACKET_LEN};

use super::table::Table;

/// Messages in the order in which they must go out.
#[derive(Default)]
pub(super) struct Outbound {
    queue: VecDeque<Message>,
    /// Bytes of the front message that are out already.
    written: usize,
    /// Emptied buffers of packet descriptors, for reuse.
    spare: Vec<Vec<u8>>,
}

struct Message {
    header: [u8; HEADER_LEN],
    /// The submit whose data follows the header.
    data: Option<(u32, usize)>,
    /// Isochronous packet descriptors.
    packets: Vec<u8>,
    /// The submit that is complete on the wire once this message is.
    marks_sent: Option<u32>,
}

impl Message {
    fn len(&self) -> usize {
        HEADER_LEN + self.data.map_or(0, |(_, n)| n) + self.packets.len()
    }
}

impl Outbound {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Queues an unlink.
    pub(super) fn push_header(&mut self, header: [u8; HEADER_LEN]) {
        self.queue.push_back(Message { header, data: None, packets: Vec::new(), marks_sent: None });
    }

    /// Queues the submit `seqnum`, which is in the table, with `data` bytes of its transfer.
    pub(super) fn push_submit(&mut self, header: [u8; HEADER_LEN], seqnum: u32, data: usize, table: &Table) {
        let mut packets = self.spare.pop().unwrap_or_default();
        if let Some(entry) = table.get(seqnum) {
            packets.reserve(entry.transfer.packets.len() * ISO_PACKET_LEN);
            for p in &entry.transfer.packets {
                let wire = usbip_wire::IsoPacket {
                    offset: p.offset as u32,
                    length: p.length as u32,
                    actual_length: 0,
                    status: 0,
                };
                packets.extend_from_slice(&wire.encode());
            }
        }
        let data = (data > 0).then_some((seqnum, data));
        self.queue.push_back(Message { header, data, packets, marks_sent: Some(seqnum) });
    }

    /// Fills `slices` with what to write next and says how many of them are filled.
    pub(super) fn slices<'a>(&'a self, table: &'a Table, slices: &mut [IoSlice<'a>; MAX_SLICES]) -> usize {
        let mut skip = self.written;
        let mut filled = 0;
        for message in &self.queue {
            let data: &[u8] = match message.data {
                Some((seqnum, n)) => table.get(seqnum).map_or(&[], |e| &e.transfer.buffer[..n]),
                None => &[],
            };
            for part in [&message.header[..], data, &message.packets[..]] {
                let rest = &part[skip.min(part.len())..];
                skip = skip.saturating_sub(part.len());
                if rest.is_empty() {
                    continue;
                }
                if filled == MAX_SLICES {
                    return filled;
                }
                slices[filled] = IoSlice::new(rest);
                filled += 1;
            }
        }
        filled
    }

    /// Takes note that `n` bytes went out.
    pub(super) fn advance(&mut self, n: usize, table: &mut Table) {
        self.written += n;
        while let Some(front) = self.queue.front() {
            let len = front.len();
            if self.written < len {
                return;
            }
            self.written -= len;
            let Some(mut message) = self.queue.pop_front() else { return };
            if let Some(entry) = message.marks_sent.and_then(|seqnum| table.get_mut(seqnum)) {
                entry.sent = true;
            }
            if message.packets.capacity() > 0 && self.spare.len() < MAX_SPARE {
                message.packets.clear();
                self.spare.push(message.packets);
            }
        }
    }
}

/// Slices a write: enough for eight submits with data.
pub(super) const MAX_SLICES: usize = 16;
const MAX_SPARE: usize = 64;

#[cfg(test)]
mod tests {
    use super::super::table::Entry;
    use super::*;
    use crate::usb::Transfer;

    fn flatten(outbound: &Outbound, table: &Table) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let n = outbound.slices(table, &mut slices);
        slices[..n].iter().flat_map(|s| s.to_vec()).collect()
    }

    #[test]
    fn a_submit_cut_anywhere_goes_on_where_it_stopped_and_is_then_marked_as_sent() {
        for cut in 0..HEADER_LEN + 5 {
            let mut table = Table::default();
            let mut transfer = Transfer::new(5);
            transfer.buffer.copy_from_slice(b"hello");
            let entry =
                Entry { transfer, pipe: 0, ordinal: 0, is_in: false, sent: false, unlinking: false, late: false };
            table.insert(1, entry);
            let mut outbound = Outbound::default();
            outbound.push_submit([7; HEADER_LEN], 1, 5, &table);
            let whole = flatten(&outbound, &table);
            outbound.advance(cut, &mut table);
            assert!(!table.get(1).unwrap().sent);
            assert_eq!(flatten(&outbound, &table), whole[cut..]);
            outbound.advance(whole.len() - cut, &mut table);
            assert!(table.get(1).unwrap().sent);
            assert!(outbound.is_empty());
        }
    }
}
