//! pcapng blocks as bytes: <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-02.html>. Little-endian on every
//! machine, which the format allows and which link type 220 then follows. It knows no file.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What begins a capture: a section header and its one interface, which is the device. `limit` is the longest record.
pub(super) fn begin(out: &mut Vec<u8>, name: &str, description: &str, limit: u32) {
    block(out, SECTION_HEADER, |out| {
        out.extend(BYTE_ORDER_MAGIC.to_le_bytes());
        out.extend(VERSION.map(u16::to_le_bytes).as_flattened());
        out.extend(u64::MAX.to_le_bytes());
        text(out, SHB_USERAPPL, concat!("usbpipe ", env!("CARGO_PKG_VERSION")));
        option(out, END_OF_OPTIONS, &[]);
    });
    block(out, INTERFACE_DESCRIPTION, |out| {
        out.extend(LINKTYPE_USB_LINUX_MMAPPED.to_le_bytes());
        out.extend([0; 2]);
        out.extend(limit.to_le_bytes());
        text(out, IF_NAME, name);
        text(out, IF_DESCRIPTION, description);
        option(out, END_OF_OPTIONS, &[]);
    });
}

/// One record, whose bytes `write` appends; it returns how long the record would be without a limit. `dropped` is how
/// many were left out right before it.
pub(super) fn packet(out: &mut Vec<u8>, time: Duration, dropped: u64, write: impl FnOnce(&mut Vec<u8>) -> usize) {
    block(out, ENHANCED_PACKET, |out| {
        out.extend(INTERFACE.to_le_bytes());
        timestamp(out, time);
        let lengths = out.len();
        out.extend([0; 8]);
        let begin = out.len();
        let original = write(out);
        let captured = out.len() - begin;
        out[lengths..lengths + 4].copy_from_slice(&word(captured));
        out[lengths + 4..lengths + 8].copy_from_slice(&word(original));
        pad(out);
        if dropped > 0 {
            option(out, EPB_DROPCOUNT, &dropped.to_le_bytes());
            option(out, END_OF_OPTIONS, &[]);
        }
    });
}

/// What ends a capture: how many records there were, and how many of them were left out.
pub(super) fn statistics(out: &mut Vec<u8>, begin: Duration, end: Duration, seen: u64, dropped: u64) {
    block(out, INTERFACE_STATISTICS, |out| {
        out.extend(INTERFACE.to_le_bytes());
        timestamp(out, end);
        for (code, time) in [(ISB_STARTTIME, begin), (ISB_ENDTIME, end)] {
            let mut value = Vec::with_capacity(8);
            timestamp(&mut value, time);
            option(out, code, &value);
        }
        option(out, ISB_IFRECV, &seen.to_le_bytes());
        option(out, ISB_IFDROP, &dropped.to_le_bytes());
        option(out, END_OF_OPTIONS, &[]);
    });
}

/// The time since 1970.
pub(super) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Type, total length, what `body` writes, and the total length again.
fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let begin = out.len();
    out.extend(kind.to_le_bytes());
    out.extend([0; 4]);
    body(out);
    let total = word(out.len() + 4 - begin);
    out[begin + 4..begin + 8].copy_from_slice(&total);
    out.extend(total);
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(LONGEST_OPTION)];
    out.extend(code.to_le_bytes());
    out.extend((value.len() as u16).to_le_bytes());
    out.extend(value);
    out.resize(out.len() + value.len().next_multiple_of(4) - value.len(), 0);
}

fn text(out: &mut Vec<u8>, code: u16, value: &str) {
    option(out, code, value.as_bytes());
}

/// Everything begins at a multiple of four, so that the end of a record is padded to one.
fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

/// Microseconds, the upper half first.
fn timestamp(out: &mut Vec<u8>, time: Duration) {
    let micros = time.as_micros() as u64;
    out.extend(((micros >> 32) as u32).to_le_bytes());
    out.extend((micros as u32).to_le_bytes());
}

fn word(n: usize) -> [u8; 4] {
    u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes()
}

/// The longest record that readers take for this link type.
pub const MOST_CAPTURED: u32 = 262_144;

pub(super) const SECTION_HEADER: u32 = 0x0a0d_0d0a;
pub(super) const INTERFACE_DESCRIPTION: u32 = 1;
pub(super) const INTERFACE_STATISTICS: u32 = 5;
pub(super) const ENHANCED_PACKET: u32 = 6;
pub(super) const EPB_DROPCOUNT: u16 = 4;
pub(super) const END_OF_OPTIONS: u16 = 0;
pub(super) const ISB_IFRECV: u16 = 4;
pub(super) const ISB_IFDROP: u16 = 5;

const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const VERSION: [u16; 2] = [1, 0];
const LINKTYPE_USB_LINUX_MMAPPED: u16 = 220;
const INTERFACE: u32 = 0;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const ISB_STARTTIME: u16 = 2;
const ISB_ENDTIME: u16 = 3;
/// A device may call itself what it likes; what is longer is cut.
const LONGEST_OPTION: usize = 1024;
