//! Hot path. Framing of IN data: what a program reads for one transfer, or one isochronous packet.
//!
//! `stream` and `packet` are the bytes themselves, `length` puts four bytes in front of them; only the text framings
//! write into the scratch buffer, which is reused.

use std::io::IoSlice;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::usb::TransferError;

/// How message boundaries appear to the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Just bytes.
    Stream,
    /// One message, one `read()`.
    Packet,
    /// u32 little-endian length, then the bytes.
    Length,
    /// One line of hex.
    Hex,
    /// One JSON object a line.
    Jsonl,
}

/// What is known of a message besides its bytes.
pub(super) struct Meta {
    pub(super) endpoint: u8,
    pub(super) seq: u64,
    pub(super) status: Result<(), TransferError>,
    /// Packets lost directly before this one.
    pub(super) lost: u64,
}

/// The message that is being written: what precedes or replaces its bytes, and how much of both is out.
#[derive(Default)]
pub(super) struct Frame {
    scratch: Vec<u8>,
    /// Whether the bytes themselves follow the scratch.
    with_data: bool,
    written: usize,
    active: bool,
}

impl Frame {
    /// Prepares the message `data`, unless it is under way already.
    pub(super) fn begin(&mut self, framing: Framing, data: &[u8], meta: &Meta) {
        if self.active {
            return;
        }
        self.active = true;
        self.written = 0;
        self.scratch.clear();
        self.with_data = matches!(framing, Framing::Stream | Framing::Packet | Framing::Length);
        match framing {
            Framing::Stream | Framing::Packet => {}
            Framing::Length => self.scratch.extend_from_slice(&(data.len() as u32).to_le_bytes()),
            Framing::Hex => {
                push_hex(&mut self.scratch, data);
                self.scratch.push(b'\n');
            }
            Framing::Jsonl => push_json(&mut self.scratch, data, meta),
        }
    }

    /// What is left to write; empty slices when nothing is.
    pub(super) fn slices<'a>(&'a self, data: &'a [u8]) -> [IoSlice<'a>; 2] {
        let data = if self.with_data { data } else { &[] };
        let from_data = self.written.saturating_sub(self.scratch.len());
        let from_scratch = self.written.min(self.scratch.len());
        [IoSlice::new(&self.scratch[from_scratch..]), IoSlice::new(&data[from_data..])]
    }

    pub(super) fn advance(&mut self, n: usize) {
        self.written += n;
    }

    /// Whether any part of the message is out while another is not.
    pub(super) fn is_split(&self) -> bool {
        self.active && self.written > 0
    }

    pub(super) fn finish(&mut self) {
        self.active = false;
    }

    /// How much of the message is out.
    pub(super) fn written(&self) -> usize {
        self.written
    }

    /// Gives memory back while no message is under way.
    pub(super) fn release(&mut self) {
        if !self.active {
            self.scratch = Vec::new();
        }
    }
}

/// Writes the marks of `lost` packets, one each, in the framings that have one: an empty record or an empty line.
pub(super) fn push_gap(framing: Framing, lost: u64, out: &mut Vec<u8>) {
    let mark: &[u8] = match framing {
        Framing::Length => &[0; 4],
        Framing::Hex => b"\n",
        Framing::Stream | Framing::Packet | Framing::Jsonl => return,
    };
    for _ in 0..lost {
        out.extend_from_slice(mark);
    }
}

fn push_hex(out: &mut Vec<u8>, data: &[u8]) {
    for byte in data {
        out.push(HEX[usize::from(byte >> 4)]);
        out.push(HEX[usize::from(byte & 15)]);
    }
}

fn push_json(out: &mut Vec<u8>, data: &[u8], meta: &Meta) {
    use std::io::Write;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let status = meta.status.map_or_else(TransferError::name, |()| "ok");
    // Writing into a Vec cannot fail.
    let _ = write!(
        out,
        "{{\"time\":{}.{:06},\"endpoint\":\"{:#04x}\",\"seq\":{},\"status\":\"{status}\",\"length\":{},\"lost\":{},\"data\":\"",
        now.as_secs(),
        now.subsec_micros(),
        meta.endpoint,
        meta.seq,
        data.len(),
        meta.lost,
    );
    push_hex(out, data);
    out.extend_from_slice(b"\"}\n");
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;

    fn written(framing: Framing, data: &[u8], step: usize) -> Vec<u8> {
        let mut frame = Frame::default();
        let meta = Meta { endpoint: 0x81, seq: 7, status: Ok(()), lost: 3 };
        let mut out = Vec::new();
        loop {
            frame.begin(framing, data, &meta);
            let part: Vec<u8> = frame.slices(data).iter().flat_map(|s| s.to_vec()).take(step).collect();
            if part.is_empty() {
                return out;
            }
            frame.advance(part.len());
            out.extend(part);
        }
    }

    #[test]
    fn a_message_written_in_any_steps_is_the_same() {
        for framing in [Framing::Stream, Framing::Packet, Framing::Length, Framing::Hex] {
            let whole = written(framing, b"abcdef", 1000);
            for step in 1..8 {
                assert_eq!(written(framing, b"abcdef", step), whole);
            }
        }
        assert_eq!(written(Framing::Length, b"ab", 9), b"\x02\0\0\0ab");
        assert_eq!(written(Framing::Hex, b"\x01\xfe", 9), b"01fe\n");
    }

    #[test]
    fn a_json_line_has_all_that_is_known_of_a_transfer() {
        let line: serde_json::Value = serde_json::from_slice(&written(Framing::Jsonl, b"\x0a", 1000)).unwrap();
        assert!(line["time"].as_f64().unwrap() > 1e9);
        assert_eq!(line["endpoint"], "0x81");
        assert_eq!(line["seq"], 7);
        assert_eq!(line["status"], "ok");
        assert_eq!(line["length"], 1);
        assert_eq!(line["data"], "0a");
        assert_eq!(line["lost"], 3);
    }
}
