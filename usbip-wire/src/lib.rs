//! The messages of USB/IP 1.1.1 as bytes, for a client and for a server.
//!
//! One job: turn the structures of the protocol into their big-endian form and back, checking what can be
//! checked without context. It refuses to do I/O, to allocate for a length that came from the wire, and to
//! know what a transfer means; whoever holds the socket bounds lengths and matches sequence numbers.
//!
//! Source: `Documentation/usb/usbip_protocol.rst` of the Linux kernel.

mod op;
mod urb;

pub use op::{
    DEVICE_RECORD_LEN, DeviceRecord, INTERFACE_RECORD_LEN, InterfaceRecord, OP_HEADER_LEN, OpCode, OpHeader, Speed,
    decode_busid, encode_busid,
};
pub use urb::{Direction, HEADER_LEN, Header, ISO_PACKET_LEN, IsoPacket, RetSubmit, Submit, flags, status};

/// The protocol version spoken here, 1.1.1 as binary-coded decimal.
pub const VERSION: u16 = 0x0111;

/// The TCP port registered for USB/IP.
pub const PORT: u16 = 3240;

/// Length in bytes of the bus id field, NUL-padded.
pub const BUSID_LEN: usize = 32;

/// Length in bytes of the sysfs path field, NUL-padded.
pub const PATH_LEN: usize = 256;

/// A message that cannot be one of the protocol's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireError {
    /// The version field is not [`VERSION`].
    Version(u16),
    /// The operation or command code is none of the protocol's.
    Code(u32),
    /// The direction field is neither 0 (OUT) nor 1 (IN).
    Direction(u32),
    /// The endpoint number is above 15.
    Endpoint(u32),
}

impl std::fmt::Display for WireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Version(v) => write!(f, "USB/IP version {v:#06x}, expected {VERSION:#06x}"),
            Self::Code(c) => write!(f, "unknown USB/IP command {c:#x}"),
            Self::Direction(d) => write!(f, "USB/IP direction {d}, expected 0 or 1"),
            Self::Endpoint(e) => write!(f, "USB/IP endpoint number {e}, expected 0 to 15"),
        }
    }
}

impl std::error::Error for WireError {}

/// Copies text into a NUL-padded field, cutting it at a character boundary so that a NUL always remains.
fn put_text(field: &mut [u8], text: &str) {
    let mut end = text.len().min(field.len() - 1);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    field[..end].copy_from_slice(&text.as_bytes()[..end]);
}

/// Reads a NUL-padded field; what is not UTF-8 is replaced, what follows the first NUL is ignored.
fn get_text(field: &[u8]) -> String {
    let end = field.iter().position(|&b| b == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

/// The big-endian u16 at `at`; the caller's fixed-size array makes it in range.
fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The big-endian u32 at `at`; the caller's fixed-size array makes it in range.
fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
