//! Hot path. A transfer and its buffer: they move into a backend and move back when it is done.

use super::{Buffer, TransferError};

/// One transfer. The buffer is allocated once and reused for as long as a pump runs.
#[derive(Debug)]
pub struct Transfer {
    /// Bytes to send, or room for what comes. Its length never changes.
    pub buffer: Buffer,
    /// OUT: how many bytes of `buffer` to send. IN: the most to receive; at most `buffer.len()`.
    pub length: usize,
    /// How many bytes went over the bus.
    pub actual: usize,
    /// How it ended.
    pub status: Result<(), TransferError>,
    /// Isochronous only: one entry a packet, else empty.
    pub packets: Vec<IsoPacket>,
}

/// One packet of an isochronous transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IsoPacket {
    /// Where its bytes begin in the buffer, once the transfer is complete for IN.
    pub offset: usize,
    /// Bytes to send, or the most to receive.
    pub length: usize,
    /// Bytes that went over the bus.
    pub actual: usize,
    /// How this packet ended.
    pub status: Result<(), TransferError>,
}

impl Transfer {
    /// A transfer with a zeroed buffer of `size` bytes, ready to receive that many.
    pub fn new(size: usize) -> Self {
        Self::with(Buffer::new(size))
    }

    /// A transfer with this buffer, ready to fill it.
    pub fn with(buffer: Buffer) -> Self {
        Self { length: buffer.len(), buffer, actual: 0, status: Ok(()), packets: Vec::new() }
    }

    /// An isochronous transfer of `count` packets of `size` bytes each.
    pub fn isochronous(count: usize, size: usize) -> Self {
        let packet = |n| IsoPacket { offset: n * size, length: size, actual: 0, status: Ok(()) };
        Self { packets: (0..count).map(packet).collect(), ..Self::new(count * size) }
    }

    /// What was received.
    pub fn received(&self) -> &[u8] {
        &self.buffer[..self.actual]
    }

    /// Marks the transfer as ended without a byte moved.
    pub fn fail(mut self, error: TransferError) -> Self {
        self.mark_failed(error);
        self
    }

    /// The same, where it is.
    pub(super) fn mark_failed(&mut self, error: TransferError) {
        self.actual = 0;
        self.status = Err(error);
        for packet in &mut self.packets {
            packet.actual = 0;
            packet.status = Err(error);
        }
    }
}
