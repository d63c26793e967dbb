//! What a fuzzer does with the framings: any bytes in any pieces, and what is framed read back.

use std::io;
use std::task::{Context, Poll, Waker};

use super::cutter::Cutter;
use super::frame::{Frame, Framing, Meta};
use super::{Counters, Refusals};
use crate::outlet::Source;

/// The first three bytes choose the framing, the length of the pieces and the room for a message.
///
/// # Panics
/// When the pieces change what is decoded, or what was framed is decoded as something else.
pub fn deframers(data: &[u8]) {
    let [framing, piece, room, bytes @ ..] = data else { return };
    let framing = FRAMINGS[usize::from(*framing) % FRAMINGS.len()];
    let (piece, room) = (usize::from(*piece) + 1, usize::from(*room) + 1);
    let cut = decoded(framing, bytes, piece, room);
    if matches!(framing, Framing::Length | Framing::Hex) {
        assert_eq!(cut, decoded(framing, bytes, bytes.len().max(1), room), "{framing:?} in pieces of {piece}");
    }
    let messages: Vec<Vec<u8>> = bytes.chunks(room).map(<[u8]>::to_vec).collect();
    let framed: Vec<u8> = messages.iter().flat_map(|message| framed(framing, message, piece)).collect();
    match framing {
        Framing::Length | Framing::Hex => {
            assert_eq!(decoded(framing, &framed, piece, room), (messages, Refusals::default()));
        }
        Framing::Jsonl => {
            let lines = serde_json::Deserializer::from_slice(&framed).into_iter::<serde_json::Value>();
            assert_eq!(lines.filter(Result::is_ok).count(), messages.len());
        }
        Framing::Stream | Framing::Packet => assert_eq!(framed, bytes),
    }
}

/// The messages of a writer that is read in pieces and then goes, and how many were refused.
fn decoded(framing: Framing, bytes: &[u8], piece: usize, room: usize) -> (Vec<Vec<u8>>, Refusals) {
    let (mut cutter, counters) = (Cutter::new(framing, room), Counters::default());
    let (mut source, mut out) = (Pieces { bytes, piece }, vec![0; room]);
    let mut messages = Vec::new();
    let cx = &mut Context::from_waker(Waker::noop());
    while let Poll::Ready(Ok(Some(n))) = cutter.poll_message(cx, &mut source, &mut out, &counters) {
        messages.push(out[..n].to_vec());
    }
    cutter.end(&counters);
    (messages, counters.refusals())
}

/// A message as a program reads it, so many bytes at a time.
fn framed(framing: Framing, message: &[u8], step: usize) -> Vec<u8> {
    let (mut frame, mut out) = (Frame::default(), Vec::new());
    let meta = Meta { endpoint: 0x81, seq: 7, status: Ok(()), lost: 0 };
    loop {
        frame.begin(framing, message, &meta);
        let part: Vec<u8> = frame.slices(message).iter().flat_map(|slice| slice.to_vec()).take(step).collect();
        if part.is_empty() {
            return out;
        }
        frame.advance(part.len());
        out.extend(part);
    }
}

/// A program that has written these bytes and is gone.
struct Pieces<'a> {
    bytes: &'a [u8],
    piece: usize,
}

impl Source for Pieces<'_> {
    fn poll_read(&mut self, _cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let n = self.piece.min(self.bytes.len()).min(buffer.len());
        let (piece, rest) = self.bytes.split_at(n);
        buffer[..n].copy_from_slice(piece);
        self.bytes = rest;
        Poll::Ready(Ok(n))
    }
}

const FRAMINGS: [Framing; 5] = [Framing::Stream, Framing::Packet, Framing::Length, Framing::Hex, Framing::Jsonl];
