//! Hot path. Bytes from the socket, seen as requests.
//!
//! One job: find whole requests in one large buffer and lend them out in place. It refuses lengths that no
//! sensible client asks for, before making room for them.

use usbip_wire::{Direction, HEADER_LEN, Header, ISO_PACKET_LEN, Submit, WireError};

/// The receive buffer.
pub(super) struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Length of the request at `start`, as far as is known.
    wanted: usize,
}

/// A whole request.
#[derive(Debug, PartialEq)]
pub(super) enum Request<'a> {
    /// A transfer, its OUT data and its isochronous packet descriptors.
    Submit(Submit, &'a [u8], &'a [u8]),
    /// Cancels `victim`.
    Unlink { seqnum: u32, devid: u32, victim: u32 },
}

/// Bytes that no client may send.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Violation {
    /// Not a message.
    Wire(WireError),
    /// A reply, sent to a server.
    Reply,
    /// A transfer longer than [`MAX_TRANSFER`].
    Length(u32),
    /// More isochronous packets than [`MAX_PACKETS`].
    Packets(u32),
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; CAPACITY], start: 0, end: 0, wanted: HEADER_LEN }
    }

    /// Room for the next read; never empty.
    pub(super) fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.bytes.len() > CAPACITY {
                self.bytes.truncate(CAPACITY);
                self.bytes.shrink_to_fit();
            }
        }
        let tight = self.bytes.len() - self.end < MIN_SPACE || self.bytes.len() - self.start < self.wanted;
        if tight && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.bytes.len() < self.wanted || self.end == self.bytes.len() {
            self.bytes.resize(self.wanted.max(self.end + MIN_SPACE), 0);
        }
        &mut self.bytes[self.end..]
    }

    /// `count` bytes were read into [`Inbox::space`].
    pub(super) fn filled(&mut self, count: usize) {
        self.end += count;
    }

    /// The next whole request.
    ///
    /// # Errors
    /// [`Violation`]; the connection cannot go on after it.
    pub(super) fn next(&mut self) -> Result<Option<Request<'_>>, Violation> {
        let available = &self.bytes[self.start..self.end];
        let Some((header, rest)) = available.split_first_chunk::<HEADER_LEN>() else {
            self.wanted = HEADER_LEN;
            return Ok(None);
        };
        let header = Header::decode(header).map_err(Violation::Wire)?;
        let (data, packets) = tail(&header)?;
        self.wanted = HEADER_LEN + data + packets;
        if available.len() < self.wanted {
            return Ok(None);
        }
        self.start += self.wanted;
        self.wanted = HEADER_LEN;
        let (data, packets) = (&rest[..data], &rest[data..data + packets]);
        match header {
            Header::Submit(submit) => Ok(Some(Request::Submit(submit, data, packets))),
            Header::Unlink { seqnum, devid, victim, .. } => Ok(Some(Request::Unlink { seqnum, devid, victim })),
            Header::RetSubmit(_) | Header::RetUnlink { .. } => Err(Violation::Reply),
        }
    }
}

/// Lengths of the OUT data and of the packet descriptors behind a header.
fn tail(header: &Header) -> Result<(usize, usize), Violation> {
    let submit = match header {
        Header::Submit(submit) => submit,
        Header::Unlink { .. } => return Ok((0, 0)),
        Header::RetSubmit(_) | Header::RetUnlink { .. } => return Err(Violation::Reply),
    };
    let packets = submit.packets.unwrap_or(0);
    if submit.length > MAX_TRANSFER {
        return Err(Violation::Length(submit.length));
    }
    if packets > MAX_PACKETS {
        return Err(Violation::Packets(packets));
    }
    let data = if submit.direction == Direction::Out { submit.length as usize } else { 0 };
    Ok((data, packets as usize * ISO_PACKET_LEN))
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Wire(error) => write!(f, "{error}"),
            Self::Reply => f.write_str("a reply was sent to the server"),
            Self::Length(length) => write!(f, "a transfer of {length} bytes, the limit is {MAX_TRANSFER}"),
            Self::Packets(count) => write!(f, "{count} isochronous packets, the limit is {MAX_PACKETS}"),
        }
    }
}

/// Room for a few transfers of the usual 64 KiB.
const CAPACITY: usize = 256 * 1024;
/// Reads are not shorter than this for want of room.
const MIN_SPACE: usize = 64 * 1024;
const MAX_TRANSFER: u32 = 16 << 20;
const MAX_PACKETS: u32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn submit(seqnum: u32, length: usize) -> Header {
        Header::Submit(Submit {
            seqnum,
            devid: 0,
            direction: Direction::Out,
            endpoint: 1,
            flags: 0,
            length: length as u32,
            start_frame: 0,
            packets: None,
            interval: 0,
            setup: [0; 8],
        })
    }

    proptest! {
        #[test]
        fn requests_come_out_whole_however_reads_are_cut(
            lengths in prop::collection::vec(prop_oneof![0usize..100, 200_000usize..400_000], 1..6),
            step in 1usize..100_000,
        ) {
            let mut wire = Vec::new();
            for (&length, seqnum) in lengths.iter().zip(1..) {
                wire.extend(submit(seqnum, length).encode());
                wire.extend(vec![seqnum as u8; length]);
            }
            let mut inbox = Inbox::new();
            let mut seen = Vec::new();
            for chunk in wire.chunks(step) {
                let mut chunk = chunk;
                while !chunk.is_empty() {
                    let space = inbox.space();
                    let count = space.len().min(chunk.len());
                    space[..count].copy_from_slice(&chunk[..count]);
                    inbox.filled(count);
                    chunk = &chunk[count..];
                    while let Some(Request::Submit(s, data, _)) = inbox.next().unwrap() {
                        prop_assert!(data.iter().all(|&b| b == s.seqnum as u8));
                        seen.push(data.len());
                    }
                }
            }
            prop_assert_eq!(seen, lengths);
        }
    }

    #[test]
    fn lengths_beyond_the_limits_are_refused_at_the_header() {
        for (header, violation) in [
            (submit(1, 17 << 20), Violation::Length(17 << 20)),
            (Header::RetUnlink { seqnum: 1, status: 0 }, Violation::Reply),
        ] {
            let mut inbox = Inbox::new();
            inbox.space()[..HEADER_LEN].copy_from_slice(&header.encode());
            inbox.filled(HEADER_LEN);
            assert_eq!(inbox.next(), Err(violation));
        }
    }
}
