//! Hot path. Replies on their way to the socket.
//!
//! One job: hold replies as few, long pieces that one vectored write can send. It refuses to copy bulk data: a
//! payload is moved in, or named by its length when it is the constant pattern.
//!
//! Being the last stop before the wire, it is also where replies are falsified (see [`Lie`]).

use std::collections::VecDeque;
use std::io::IoSlice;

use usbip_wire::{Header, IsoPacket, RetSubmit, status};

use crate::direct::pattern;
use crate::fault::Lie;
use crate::function::Payload;

/// The replies not yet written.
#[derive(Default)]
pub(crate) struct Outbox {
    pieces: VecDeque<Piece>,
    /// Headers and small payloads; the inline pieces lie in it one after the other, from `start` on.
    inline: Vec<u8>,
    start: usize,
    backlog: usize,
    lies: Vec<Lie>,
    silent: bool,
}

enum Piece {
    Inline(usize),
    Bytes { bytes: Vec<u8>, sent: usize },
    Pattern { from: usize, len: usize },
}

impl Outbox {
    /// Bytes not yet written.
    pub(crate) fn backlog(&self) -> usize {
        self.backlog
    }

    /// Falsifies what comes next.
    pub(crate) fn lie(&mut self, lie: Lie) {
        match lie {
            Lie::Silence => self.silent = true,
            lie => self.lies.push(lie),
        }
    }

    /// The end of a transfer, with IN data and isochronous packets.
    pub(crate) fn submit_reply(&mut self, mut reply: RetSubmit, payload: Payload, packets: &[IsoPacket]) {
        if self.falsify() {
            return;
        }
        if payload.len() > 0 && self.take_lie(Lie::Length) {
            reply.actual_length = LIED_LENGTH;
        }
        self.push_inline(&Header::RetSubmit(reply).encode());
        self.push_payload(payload);
        for packet in packets {
            self.push_inline(&packet.encode());
        }
    }

    /// The answer to an unlink.
    pub(crate) fn unlink_reply(&mut self, seqnum: u32, status: i32) {
        if !self.falsify() {
            self.push_inline(&Header::RetUnlink { seqnum, status }.encode());
        }
    }

    /// Fills `slices` with what is to be written next, and says how many it filled.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        let mut put = |slice: &'a [u8]| {
            if let Some(slot) = slices.get_mut(filled) {
                *slot = IoSlice::new(slice);
                filled += 1;
            }
            filled < slices.len()
        };
        let mut inline = &self.inline[self.start..];
        for piece in &self.pieces {
            let more = match piece {
                Piece::Inline(len) => {
                    let (slice, rest) = inline.split_at(*len);
                    inline = rest;
                    put(slice)
                }
                Piece::Bytes { bytes, sent } => put(&bytes[*sent..]),
                Piece::Pattern { from, len } => {
                    let mut rest = pattern::slices(*from, *len);
                    loop {
                        match rest.next() {
                            None => break true,
                            Some(slice) if !put(slice) => break false,
                            Some(_) => {}
                        }
                    }
                }
            };
            if !more {
                break;
            }
        }
        filled
    }

    /// `count` bytes have been written.
    pub(crate) fn written(&mut self, mut count: usize) {
        self.backlog -= count;
        while let Some(piece) = self.pieces.front_mut() {
            let step = count.min(piece.len());
            match piece {
                Piece::Inline(len) => {
                    *len -= step;
                    self.start += step;
                }
                Piece::Bytes { sent, .. } => *sent += step,
                Piece::Pattern { from, len } => {
                    *from += step;
                    *len -= step;
                }
            }
            count -= step;
            if piece.len() > 0 {
                break;
            }
            self.pieces.pop_front();
        }
        if self.start == self.inline.len() || self.start > COMPACT {
            self.inline.drain(..self.start);
            self.start = 0;
        }
    }

    fn push_inline(&mut self, bytes: &[u8]) {
        self.inline.extend_from_slice(bytes);
        self.backlog += bytes.len();
        match self.pieces.back_mut() {
            Some(Piece::Inline(len)) => *len += bytes.len(),
            _ => self.pieces.push_back(Piece::Inline(bytes.len())),
        }
    }

    fn push_payload(&mut self, payload: Payload) {
        let piece = match payload {
            Payload::Bytes(bytes) if bytes.len() <= INLINE => return self.push_inline(&bytes),
            Payload::Bytes(bytes) => Piece::Bytes { bytes, sent: 0 },
            Payload::Pattern(len) => Piece::Pattern { from: 0, len },
        };
        if piece.len() > 0 {
            self.backlog += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// Tells the lies that any reply can carry; true when they take its place.
    fn falsify(&mut self) -> bool {
        if self.silent {
            return true;
        }
        if self.take_lie(Lie::Seqnum) {
            let bogus = RetSubmit {
                seqnum: LIED_SEQNUM,
                status: status::OK,
                actual_length: 0,
                start_frame: 0,
                packets: Some(0),
                error_count: 0,
            };
            self.push_inline(&Header::RetSubmit(bogus).encode());
        }
        let garbled = self.take_lie(Lie::Garbage);
        if garbled {
            self.push_inline(&garbage());
        }
        garbled
    }

    fn take_lie(&mut self, lie: Lie) -> bool {
        let found = self.lies.iter().position(|&told| told == lie);
        found.map(|at| self.lies.remove(at)).is_some()
    }
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::Inline(len) | Self::Pattern { len, .. } => *len,
            Self::Bytes { bytes, sent } => bytes.len() - sent,
        }
    }
}

/// Bytes that look random and begin with no command of the protocol; xorshift32.
fn garbage() -> [u8; 256] {
    let mut state = 0x9e37_79b9u32;
    std::array::from_fn(|_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 24) as u8
    })
}

/// Payloads up to this length are copied: that is cheaper than a piece of their own.
const INLINE: usize = 2048;
/// Written bytes in front of the inline buffer are given up when there are more than this.
const COMPACT: usize = 64 * 1024;
const LIED_LENGTH: u32 = 0x7fff_ffff;
const LIED_SEQNUM: u32 = 0xdead_beef;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use usbip_wire::HEADER_LEN;

    fn reply(seqnum: u32, actual_length: u32) -> RetSubmit {
        RetSubmit { seqnum, status: 0, actual_length, start_frame: 0, packets: None, error_count: 0 }
    }

    fn drain(outbox: &mut Outbox, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while outbox.backlog() > 0 {
            let mut slices = [IoSlice::new(&[]); 3];
            let filled = outbox.slices(&mut slices);
            let bytes: Vec<u8> = slices[..filled].iter().flat_map(|s| s.iter().copied()).take(step).collect();
            assert!(!bytes.is_empty());
            outbox.written(bytes.len());
            all.extend(bytes);
        }
        all
    }

    proptest! {
        #[test]
        fn however_writes_are_cut_the_bytes_are_the_same(
            lengths in prop::collection::vec((0usize..5000, any::<bool>()), 0..20),
            step in 1usize..4000,
        ) {
            let mut outbox = Outbox::default();
            let mut expected = Vec::new();
            for (&(len, constant), seqnum) in lengths.iter().zip(1..) {
                let header = reply(seqnum, len as u32);
                expected.extend(Header::RetSubmit(header).encode());
                let payload = if constant { Payload::Pattern(len) } else { Payload::Bytes(vec![seqnum as u8; len]) };
                match constant {
                    true => expected.extend(pattern::slices(0, len).flatten()),
                    false => expected.extend(vec![seqnum as u8; len]),
                }
                outbox.submit_reply(header, payload, &[]);
            }
            prop_assert_eq!(outbox.backlog(), expected.len());
            prop_assert_eq!(drain(&mut outbox, step), expected);
            prop_assert!(outbox.pieces.is_empty());
        }
    }

    #[test]
    fn small_replies_share_one_piece() {
        let mut outbox = Outbox::default();
        outbox.submit_reply(reply(1, 0), Payload::EMPTY, &[]);
        outbox.submit_reply(reply(2, 64), Payload::Bytes(vec![5; 64]), &[]);
        outbox.unlink_reply(3, 0);
        assert_eq!(outbox.pieces.len(), 1);
    }

    #[test]
    fn a_lie_about_the_length_waits_for_a_reply_with_data() {
        let mut outbox = Outbox::default();
        outbox.lie(Lie::Length);
        outbox.submit_reply(reply(1, 0), Payload::EMPTY, &[]);
        outbox.submit_reply(reply(2, 3), Payload::Bytes(vec![1, 2, 3]), &[]);
        let bytes = drain(&mut outbox, usize::MAX);
        assert_eq!(bytes.len(), 2 * HEADER_LEN + 3);
        assert_eq!(bytes[HEADER_LEN + 24..HEADER_LEN + 28], LIED_LENGTH.to_be_bytes());
    }

    #[test]
    fn a_foreign_sequence_number_comes_before_the_real_reply() {
        let mut outbox = Outbox::default();
        outbox.lie(Lie::Seqnum);
        outbox.submit_reply(reply(1, 0), Payload::EMPTY, &[]);
        let bytes = drain(&mut outbox, usize::MAX);
        assert_eq!(bytes[4..8], LIED_SEQNUM.to_be_bytes());
        assert_eq!(bytes[HEADER_LEN + 4..HEADER_LEN + 8], 1u32.to_be_bytes());
    }

    #[test]
    fn garbage_is_no_header_and_silence_is_for_good() {
        let mut outbox = Outbox::default();
        outbox.lie(Lie::Garbage);
        outbox.submit_reply(reply(1, 0), Payload::EMPTY, &[]);
        let bytes = drain(&mut outbox, usize::MAX);
        let header: &[u8; HEADER_LEN] = bytes.first_chunk().expect("longer than a header");
        assert!(Header::decode(header).is_err());
        outbox.lie(Lie::Silence);
        outbox.submit_reply(reply(2, 0), Payload::EMPTY, &[]);
        outbox.unlink_reply(3, 0);
        assert_eq!(outbox.backlog(), 0);
    }
}
