//! Hot path. One event of a transfer as the kernel's usbmon tells of it: Documentation/usb/usbmon.rst, 64-byte header.
//!
//! Isochronous data is written without the gaps that it may have in a buffer; the packet descriptors say so.

use std::time::Duration;

use crate::usb::descriptors::TransferType;
use crate::usb::{IsoPacket, TransferError};

/// Bytes of the header, which every record has whole.
pub const HEADER: usize = 64;

/// Whose transfer it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Urb {
    /// The same for both events of a transfer, and for no other.
    pub(super) id: u64,
    pub(super) transfer_type: TransferType,
    /// bEndpointAddress; the direction is that of the data, also for endpoint 0.
    pub(super) endpoint: u8,
    /// Stands for the session, as an address given by a host would.
    pub(super) device: u8,
    /// In frames or microframes; 0 where there is no period.
    pub(super) interval: u32,
}

/// What happened to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event<'a> {
    pub(super) urb: Urb,
    /// Submitted, else completed.
    pub(super) is_submit: bool,
    /// Of a control transfer that is submitted.
    pub(super) setup: Option<[u8; 8]>,
    pub(super) status: Result<(), TransferError>,
    /// Bytes wanted, or moved.
    pub(super) length: usize,
    /// The buffer. Of an event without data it is not looked at.
    pub(super) buffer: &'a [u8],
    pub(super) packets: &'a [IsoPacket],
}

impl Event<'_> {
    /// Appends header, packet descriptors and data, at most `limit` bytes (and at least the header), and returns how
    /// many there would be without a limit.
    pub(super) fn write(&self, out: &mut Vec<u8>, time: Duration, limit: usize) -> usize {
        let begin = out.len();
        let whole = self.whole();
        let kept = whole.min(limit.max(HEADER)) - HEADER;
        self.write_header(out, time, kept);
        self.packets.iter().scan(0, |end, packet| Some(self.descriptor(packet, end))).for_each(|d| out.extend(d));
        out.truncate(begin + HEADER + kept);
        if self.has_data() {
            let end = begin + HEADER + kept;
            self.pieces().for_each(|piece| out.extend(&piece[..piece.len().min(end - out.len())]));
        }
        whole
    }

    /// How many bytes [`Event::write`] appends.
    pub(super) fn kept(&self, limit: usize) -> usize {
        self.whole().min(limit.max(HEADER))
    }

    fn is_in(&self) -> bool {
        self.urb.endpoint & 0x80 != 0
    }

    /// OUT has its data when it is submitted, IN when it is complete.
    fn has_data(&self) -> bool {
        self.is_in() != self.is_submit
    }

    fn whole(&self) -> usize {
        let data = if self.has_data() { self.pieces().map(<[u8]>::len).sum() } else { 0 };
        HEADER + self.packets.len() * DESCRIPTOR + data
    }

    /// The data: all of it, or that of each packet.
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let whole = self.packets.is_empty().then(|| &self.buffer[..self.length.min(self.buffer.len())]);
        let part = |p: &IsoPacket| self.buffer.get(p.offset..p.offset + self.moved(p)).unwrap_or_default();
        whole.into_iter().chain(self.packets.iter().map(part))
    }

    fn moved(&self, packet: &IsoPacket) -> usize {
        if self.is_submit { packet.length } else { packet.actual }
    }

    fn write_header(&self, out: &mut Vec<u8>, time: Duration, kept: usize) {
        let Urb { id, transfer_type, endpoint, device, interval } = self.urb;
        let errors = self.packets.iter().filter(|p| p.status.is_err()).count() as u32;
        let count = self.packets.len() as u32;
        let setup = match self.setup {
            Some(setup) => setup,
            None if transfer_type == TransferType::Isochronous => pair(if self.is_submit { 0 } else { errors }, count),
            None => [0; 8],
        };
        out.extend(id.to_le_bytes());
        out.extend([if self.is_submit { b'S' } else { b'C' }, number(transfer_type), endpoint, device]);
        out.extend(BUS.to_le_bytes());
        out.extend([if self.setup.is_some() { PRESENT } else { b'-' }, self.data_flag()]);
        out.extend(time.as_secs().to_le_bytes());
        out.extend(time.subsec_micros().to_le_bytes());
        let status = if self.is_submit { -EINPROGRESS } else { -self.status.map_or_else(errno, |()| 0) };
        out.extend(status.to_le_bytes());
        out.extend(pair(self.length as u32, kept as u32));
        out.extend(setup);
        out.extend(pair(interval, 0));
        out.extend(pair(if self.is_in() { URB_DIR_IN } else { 0 }, count));
    }

    fn data_flag(&self) -> u8 {
        match (self.has_data(), self.is_in()) {
            (true, _) => PRESENT,
            (false, true) => b'<',
            (false, false) => b'>',
        }
    }

    /// Status, offset, length and four bytes of nothing. `end` is where the data of the packets before it ends.
    fn descriptor(&self, packet: &IsoPacket, end: &mut usize) -> [u8; DESCRIPTOR] {
        let offset = if self.has_data() { *end } else { packet.offset };
        let length = self.moved(packet);
        *end += length;
        let status = if self.is_submit { 0 } else { -packet.status.map_or_else(errno, |()| 0) };
        let mut raw = [0; DESCRIPTOR];
        raw[..4].copy_from_slice(&status.to_le_bytes());
        raw[4..12].copy_from_slice(&pair(offset as u32, length as u32));
        raw
    }
}

fn pair(first: u32, second: u32) -> [u8; 8] {
    (u64::from(second) << 32 | u64::from(first)).to_le_bytes()
}

fn number(transfer_type: TransferType) -> u8 {
    match transfer_type {
        TransferType::Isochronous => 0,
        TransferType::Interrupt => 1,
        TransferType::Control => 2,
        TransferType::Bulk => 3,
    }
}

/// Documentation/driver-api/usb/error-codes.rst.
fn errno(error: TransferError) -> i32 {
    match error {
        TransferError::Stall => EPIPE,
        TransferError::Cancelled => ECONNRESET,
        TransferError::Disconnected => ESHUTDOWN,
        TransferError::Overflow => EOVERFLOW,
        TransferError::Timeout => ETIMEDOUT,
        TransferError::Invalid => EINVAL,
        TransferError::Io(errno) => errno,
    }
}

/// Numbers of Linux, whatever the system: include/uapi/asm-generic/errno.h.
const EINVAL: i32 = 22;
const EPIPE: i32 = 32;
const EOVERFLOW: i32 = 75;
const ECONNRESET: i32 = 104;
const ESHUTDOWN: i32 = 108;
const ETIMEDOUT: i32 = 110;
const EINPROGRESS: i32 = 115;
/// Bytes of one packet descriptor.
const DESCRIPTOR: usize = 16;
/// All that is captured is on one bus, which is no bus of the host.
const BUS: u16 = 1;
const PRESENT: u8 = 0;
/// Of `transfer_flags`: include/linux/usb.h.
const URB_DIR_IN: u32 = 0x0200;

#[cfg(test)]
mod tests {
    use super::*;

    fn urb(transfer_type: TransferType, endpoint: u8) -> Urb {
        Urb { id: 0x0102_0304_0506_0708, transfer_type, endpoint, device: 5, interval: 4 }
    }

    fn event(urb: Urb, is_submit: bool, buffer: &[u8]) -> Event<'_> {
        Event { urb, is_submit, setup: None, status: Ok(()), length: buffer.len(), buffer, packets: &[] }
    }

    fn written(event: &Event<'_>, limit: usize) -> (Vec<u8>, usize) {
        let mut out = Vec::new();
        let length = event.write(&mut out, Duration::new(0x0a0b, 999_999_000), limit);
        assert_eq!(out.len(), event.kept(limit));
        (out, length)
    }

    fn word(raw: &[u8], at: usize) -> i32 {
        i32::from_le_bytes(raw[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn a_completed_bulk_in_transfer_has_a_header_of_64_bytes_and_its_data() {
        let (raw, length) = written(&event(urb(TransferType::Bulk, 0x81), false, b"hello"), 1000);
        assert_eq!((raw.len(), length), (69, 69));
        assert_eq!(raw[..16], [8, 7, 6, 5, 4, 3, 2, 1, b'C', 3, 0x81, 5, 1, 0, b'-', 0]);
        assert_eq!((raw[16], raw[17], word(&raw, 24)), (0x0b, 0x0a, 999_999));
        assert_eq!([word(&raw, 28), word(&raw, 32), word(&raw, 36), word(&raw, 48)], [0, 5, 5, 4]);
        assert_eq!(&raw[64..], b"hello");
    }

    #[test]
    fn a_transfer_that_waits_for_data_says_how_much_and_has_none() {
        let (raw, length) = written(&event(urb(TransferType::Interrupt, 0x82), true, &[0; 8]), 1000);
        assert_eq!((raw.len(), length, raw[15]), (64, 64, b'<'));
        assert_eq!((word(&raw, 28), word(&raw, 32), word(&raw, 36)), (-115, 8, 0));
    }

    #[test]
    fn a_setup_packet_goes_into_the_header_and_a_stall_is_epipe() {
        let setup = [0x40, 1, 0, 0, 3, 0, 2, 0];
        let sent = Event { setup: Some(setup), ..event(urb(TransferType::Control, 0), true, &[0xca, 0xfe]) };
        let (raw, _) = written(&sent, 1000);
        assert_eq!((raw[14], &raw[40..48], &raw[64..]), (0, &setup[..], &[0xca, 0xfe][..]));
        let refused = Event { status: Err(TransferError::Stall), ..event(urb(TransferType::Control, 0), false, &[]) };
        assert_eq!(word(&written(&refused, 1000).0, 28), -32);
    }

    #[test]
    fn isochronous_data_is_written_without_gaps_and_the_descriptors_follow() {
        let packet = |offset, actual, status| IsoPacket { offset, length: 4, actual, status };
        let packets = [packet(0, 2, Ok(())), packet(4, 0, Err(TransferError::Io(71))), packet(8, 3, Ok(()))];
        let whole = event(urb(TransferType::Isochronous, 0x83), false, b"ab..----cde.");
        let (raw, length) = written(&Event { packets: &packets, length: 5, ..whole }, 1000);
        assert_eq!((raw.len(), length), (64 + 48 + 5, 64 + 48 + 5));
        assert_eq!([word(&raw, 40), word(&raw, 44), word(&raw, 60)], [1, 3, 3], "errors, packets, descriptors");
        let described: Vec<i32> = (0..3).flat_map(|n| [0, 4, 8].map(|at| word(&raw, 64 + 16 * n + at))).collect();
        assert_eq!(described, [0, 0, 2, -71, 2, 0, 0, 2, 3]);
        assert_eq!(&raw[112..], b"abcde");
    }

    #[test]
    fn what_is_over_the_limit_is_cut_and_the_length_told() {
        let packets = [IsoPacket { offset: 0, length: 4, actual: 4, status: Ok(()) }; 3];
        let isochronous = event(urb(TransferType::Isochronous, 0x83), false, b"abcd");
        for limit in 0..140 {
            let (raw, length) = written(&Event { packets: &packets, ..isochronous }, limit);
            assert_eq!((raw.len(), length), (limit.clamp(64, 124), 124));
            assert_eq!(word(&raw, 36) as usize, raw.len() - 64);
        }
    }
}
