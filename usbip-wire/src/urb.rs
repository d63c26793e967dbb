//! The messages after an import: submit and unlink, and their replies.

use crate::{WireError, be32};

/// Length in bytes of every [`Header`]; replies are padded to it.
pub const HEADER_LEN: usize = 48;
/// Length in bytes of [`IsoPacket`].
pub const ISO_PACKET_LEN: usize = 16;

/// `number_of_packets` of a transfer that is not isochronous.
const NOT_ISO: u32 = 0xffff_ffff;

/// URB statuses, negated errno values of Linux, as they travel in replies.
pub mod status {
    /// Success.
    pub const OK: i32 = 0;
    /// `-ENOENT`: the transfer was cancelled.
    pub const ENOENT: i32 = -2;
    /// `-EIO`.
    pub const EIO: i32 = -5;
    /// `-EXDEV`: an isochronous transfer only partly completed.
    pub const EXDEV: i32 = -18;
    /// `-ENODEV`: the device is gone.
    pub const ENODEV: i32 = -19;
    /// `-EINVAL`.
    pub const EINVAL: i32 = -22;
    /// `-EPIPE`: the endpoint is halted, or a control request was refused with a stall.
    pub const EPIPE: i32 = -32;
    /// `-EPROTO`: bit stuffing, no response, unknown.
    pub const EPROTO: i32 = -71;
    /// `-EOVERFLOW`: babble, the device sent more than was asked for.
    pub const EOVERFLOW: i32 = -75;
    /// `-EILSEQ`: CRC mismatch.
    pub const EILSEQ: i32 = -84;
    /// `-ECONNRESET`: in the reply to an unlink: done, no reply to the submit will come.
    pub const ECONNRESET: i32 = -104;
    /// `-ESHUTDOWN`: the device or its host controller is gone.
    pub const ESHUTDOWN: i32 = -108;
    /// `-ETIMEDOUT`.
    pub const ETIMEDOUT: i32 = -110;
    /// `-EREMOTEIO`: short packet although the submitter forbade it.
    pub const EREMOTEIO: i32 = -121;
}

/// Transfer flags of a submit, numbered as in Linux's `usb.h`.
pub mod flags {
    /// A short packet is an error.
    pub const SHORT_NOT_OK: u32 = 0x0001;
    /// Isochronous: start as soon as possible.
    pub const ISO_ASAP: u32 = 0x0002;
    /// Bulk OUT: finish with a ZLP when the length is a multiple of the packet size.
    pub const ZERO_PACKET: u32 = 0x0040;
}

/// A transfer's direction, seen from the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Host to device.
    Out,
    /// Device to host.
    In,
}

/// Any message that travels after an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// Client: start a transfer. OUT data follows, then isochronous packet descriptors.
    Submit(Submit),
    /// Client: cancel the transfer with sequence number `victim`.
    Unlink {
        /// This message's own sequence number.
        seqnum: u32,
        /// See [`Submit::devid`].
        devid: u32,
        /// Direction of the victim.
        direction: Direction,
        /// Endpoint number of the victim, without direction bit.
        endpoint: u8,
        /// Sequence number of the submit to cancel.
        victim: u32,
    },
    /// Server: a transfer ended. IN data follows, then isochronous packet descriptors.
    RetSubmit(RetSubmit),
    /// Server: the answer to an unlink.
    RetUnlink {
        /// The unlink's sequence number.
        seqnum: u32,
        /// [`status::ECONNRESET`] when the victim was cancelled, 0 when its reply had been sent before.
        status: i32,
    },
}

/// The start of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Submit {
    /// Chosen by the client, answered by the server; never 0.
    pub seqnum: u32,
    /// [`crate::DeviceRecord::devid`].
    pub devid: u32,
    /// Direction.
    pub direction: Direction,
    /// Endpoint number, 0 to 15, without direction bit.
    pub endpoint: u8,
    /// See [`flags`].
    pub flags: u32,
    /// Bytes to send, or the most to receive.
    pub length: u32,
    /// Isochronous: first frame; ignored with [`flags::ISO_ASAP`].
    pub start_frame: u32,
    /// Isochronous: how many packet descriptors follow.
    pub packets: Option<u32>,
    /// bInterval as the host schedules it.
    pub interval: u32,
    /// The setup packet of a control transfer, else zeros.
    pub setup: [u8; 8],
}

/// The end of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetSubmit {
    /// The submit's sequence number.
    pub seqnum: u32,
    /// See [`status`].
    pub status: i32,
    /// Bytes transferred; this many follow when the direction was IN.
    pub actual_length: u32,
    /// Isochronous: the frame it began in.
    pub start_frame: u32,
    /// Isochronous: how many packet descriptors follow.
    pub packets: Option<u32>,
    /// Isochronous: packets that failed.
    pub error_count: u32,
}

impl Header {
    /// The wire form.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        let mut put = |at: usize, value: u32| out[at..at + 4].copy_from_slice(&value.to_be_bytes());
        match self {
            Self::Submit(s) => {
                put(0, CMD_SUBMIT);
                put(4, s.seqnum);
                put(8, s.devid);
                put(12, s.direction as u32);
                put(16, s.endpoint.into());
                put(20, s.flags);
                put(24, s.length);
                put(28, s.start_frame);
                put(32, s.packets.unwrap_or(NOT_ISO));
                put(36, s.interval);
                out[40..48].copy_from_slice(&s.setup);
            }
            Self::Unlink { seqnum, devid, direction, endpoint, victim } => {
                put(0, CMD_UNLINK);
                put(4, *seqnum);
                put(8, *devid);
                put(12, *direction as u32);
                put(16, (*endpoint).into());
                put(20, *victim);
            }
            Self::RetSubmit(r) => {
                put(0, RET_SUBMIT);
                put(4, r.seqnum);
                put(20, r.status as u32);
                put(24, r.actual_length);
                put(28, r.start_frame);
                put(32, r.packets.unwrap_or(NOT_ISO));
                put(36, r.error_count);
            }
            Self::RetUnlink { seqnum, status } => {
                put(0, RET_UNLINK);
                put(4, *seqnum);
                put(20, *status as u32);
            }
        }
        out
    }

    /// Reads the wire form. In replies, device id, direction and endpoint are ignored: servers send zeros.
    ///
    /// # Errors
    /// [`WireError::Code`], and for requests [`WireError::Direction`] or [`WireError::Endpoint`].
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, WireError> {
        let get = |at: usize| be32(bytes, at);
        match get(0) {
            CMD_SUBMIT => Ok(Self::Submit(Submit {
                seqnum: get(4),
                devid: get(8),
                direction: decode_direction(get(12))?,
                endpoint: decode_endpoint(get(16))?,
                flags: get(20),
                length: get(24),
                start_frame: get(28),
                packets: decode_packets(get(32)),
                interval: get(36),
                setup: std::array::from_fn(|i| bytes[40 + i]),
            })),
            CMD_UNLINK => Ok(Self::Unlink {
                seqnum: get(4),
                devid: get(8),
                direction: decode_direction(get(12))?,
                endpoint: decode_endpoint(get(16))?,
                victim: get(20),
            }),
            RET_SUBMIT => Ok(Self::RetSubmit(RetSubmit {
                seqnum: get(4),
                status: get(20) as i32,
                actual_length: get(24),
                start_frame: get(28),
                packets: decode_packets(get(32)),
                error_count: get(36),
            })),
            RET_UNLINK => Ok(Self::RetUnlink { seqnum: get(4), status: get(20) as i32 }),
            other => Err(WireError::Code(other)),
        }
    }
}

/// One packet of an isochronous transfer. Data travels without gaps: the next packet's data follows directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IsoPacket {
    /// Where the packet begins in the submitter's buffer.
    pub offset: u32,
    /// Bytes to send, or the most to receive.
    pub length: u32,
    /// Bytes transferred; 0 in a submit.
    pub actual_length: u32,
    /// See [`status`]; 0 in a submit.
    pub status: i32,
}

impl IsoPacket {
    /// The wire form.
    pub fn encode(&self) -> [u8; ISO_PACKET_LEN] {
        let mut out = [0; ISO_PACKET_LEN];
        let numbers = [self.offset, self.length, self.actual_length, self.status as u32];
        for (field, number) in out.chunks_exact_mut(4).zip(numbers) {
            field.copy_from_slice(&number.to_be_bytes());
        }
        out
    }

    /// Reads the wire form; every byte pattern is a descriptor.
    pub fn decode(bytes: &[u8; ISO_PACKET_LEN]) -> Self {
        Self {
            offset: be32(bytes, 0),
            length: be32(bytes, 4),
            actual_length: be32(bytes, 8),
            status: be32(bytes, 12) as i32,
        }
    }
}

fn decode_direction(number: u32) -> Result<Direction, WireError> {
    match number {
        0 => Ok(Direction::Out),
        1 => Ok(Direction::In),
        other => Err(WireError::Direction(other)),
    }
}

fn decode_endpoint(number: u32) -> Result<u8, WireError> {
    u8::try_from(number).ok().filter(|&e| e < 16).ok_or(WireError::Endpoint(number))
}

/// Some peers write 0 instead of 0xffffffff for a transfer that is not isochronous; both mean the same.
fn decode_packets(number: u32) -> Option<u32> {
    (number != NOT_ISO && number != 0).then_some(number)
}

const CMD_SUBMIT: u32 = 1;
const CMD_UNLINK: u32 = 2;
const RET_SUBMIT: u32 = 3;
const RET_UNLINK: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn submit() -> Submit {
        Submit {
            seqnum: 7,
            devid: 0x0001_0002,
            direction: Direction::In,
            endpoint: 1,
            flags: 0,
            length: 0x10000,
            start_frame: 0,
            packets: None,
            interval: 0,
            setup: [0; 8],
        }
    }

    #[test]
    fn a_submit_has_the_bytes_of_the_specification() {
        let bytes = Header::Submit(submit()).encode();
        assert_eq!(&bytes[..20], &[0, 0, 0, 1, 0, 0, 0, 7, 0, 1, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1]);
        assert_eq!(&bytes[24..28], &[0, 1, 0, 0]);
        assert_eq!(&bytes[32..36], &[0xff; 4]);
    }

    #[test]
    fn a_negative_status_survives_the_journey() {
        let reply = Header::RetUnlink { seqnum: 3, status: status::ECONNRESET };
        assert_eq!(Header::decode(&reply.encode()), Ok(reply));
    }

    #[test]
    fn an_endpoint_above_fifteen_is_refused() {
        let mut bytes = Header::Submit(submit()).encode();
        bytes[19] = 16;
        assert_eq!(Header::decode(&bytes), Err(WireError::Endpoint(16)));
    }

    #[test]
    fn a_direction_above_one_is_refused() {
        let mut bytes = Header::Submit(submit()).encode();
        bytes[15] = 2;
        assert_eq!(Header::decode(&bytes), Err(WireError::Direction(2)));
    }

    proptest! {
        #[test]
        fn any_48_bytes_decode_or_fail_and_what_decodes_reads_back(
            code in 0u32..6,
            rest in prop::collection::vec(any::<u8>(), HEADER_LEN - 4),
            small in any::<bool>(),
        ) {
            let mut bytes = [0u8; HEADER_LEN];
            bytes[..4].copy_from_slice(&code.to_be_bytes());
            bytes[4..].copy_from_slice(&rest);
            if small {
                bytes[12..20].copy_from_slice(&[0, 0, 0, rest[0] & 1, 0, 0, 0, rest[1] & 15]);
            }
            if let Ok(header) = Header::decode(&bytes) {
                prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
            }
        }

        #[test]
        fn packet_descriptors_read_back(bytes in any::<[u8; ISO_PACKET_LEN]>()) {
            prop_assert_eq!(IsoPacket::decode(&bytes).encode(), bytes);
        }
    }
}
