//! What the configuration says of one endpoint, with the defaults filled in. Reads no text and knows no descriptor.

use std::time::Duration;

use serde::Deserialize;

use super::{Access, kinds};

/// One `[[device.pipe]]`. Fields that a direction or a transfer type has no use for hold their defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct PipeConfig {
    /// Endpoint address, 0x01 to 0x0f (OUT) or 0x81 to 0x8f (IN).
    pub endpoint: u8,
    /// bInterfaceNumber; `None` finds it.
    pub interface: Option<u8>,
    /// bAlternateSetting to choose; `None` finds it.
    pub alt: Option<u8>,
    /// What programs open; never empty, no kind twice.
    pub outlets: Vec<OutletKind>,
    /// How transfers look to programs.
    pub framing: Framing,
    /// Bytes a transfer, 1 to 16 MiB, before it is rounded to wMaxPacketSize; `None` is one packet of an interrupt IN
    /// endpoint, else [`DEFAULT_TRANSFER`].
    pub transfer: Option<u32>,
    /// Transfers in flight, 1 to 256. `transfer` × `queue` is at most 64 MiB. `None` is [`DEFAULT_QUEUE`], or for an
    /// isochronous endpoint as many as its interval asks for.
    pub queue: Option<u16>,
    /// IN: what happens while nobody reads.
    pub idle: Idle,
    /// IN: what becomes of bytes that the last reader left.
    pub on_open: OnOpen,
    /// What follows a halt.
    pub stall: StallPolicy,
    /// OUT, packet framings: close messages that fill their last packet by a ZLP; `None` does so on bulk endpoints, while
    /// a report of an interrupt endpoint has a length that both sides know.
    pub zlp: Option<bool>,
    /// OUT: how long written bytes may take to reach the device at the end; 1 s.
    pub flush: Duration,
    /// IN: how long a slow reader may hold up the others; 1 s.
    pub patience: Patience,
    /// OUT: how many programs may write.
    pub writers: Writers,
    /// Isochronous OUT: how much is collected before the start; 40 ms.
    pub prebuffer: Duration,
    /// Isochronous OUT: what is sent when nothing has been written.
    pub underrun: Underrun,
    /// Isochronous OUT in stream framing: bytes a packet; `None` is wMaxPacketSize.
    pub packet: Option<u32>,
    /// Isochronous IN: how much waits for a slow reader before the oldest goes; 250 ms.
    pub buffer: Duration,
    /// Owner and permissions of its outlets.
    pub access: Access,
}

/// The local object that programs open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutletKind {
    /// A FIFO.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A pty; serial functions only.
    Tty,
    /// A named pipe of Windows.
    Pipe,
}

/// How transfers look to programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Framing {
    /// Just bytes.
    #[default]
    Stream,
    /// One transfer is one `read()` or `write()`.
    Packet,
    /// u32 little-endian length, then the bytes.
    Length,
    /// A line of hex.
    Hex,
    /// A JSON object a line; IN only.
    Jsonl,
}

/// What an IN pipe does while nobody reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Idle {
    /// Nothing; the device gets NAK.
    #[default]
    Off,
    /// Read and discard, for devices that choke otherwise.
    Drain,
}

/// What becomes of received bytes that the last reader left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnOpen {
    /// The next reader gets them first.
    #[default]
    Keep,
    /// They go.
    Discard,
}

/// What follows a halt of the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StallPolicy {
    /// Clear it, count it, go on.
    #[default]
    Clear,
    /// End the open outlets as an unplug with `eof` would.
    Stop,
}

/// How long a slow reader may hold up the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// As long as it likes.
    Forever,
    /// This long, then it loses its oldest data; 0 waits for nobody.
    After(Duration),
}

/// How many programs may write to one OUT pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Writers {
    /// Any number, message by message.
    #[default]
    Many,
    /// One; a second is refused.
    One,
}

/// What an isochronous OUT pipe sends when its writer has written nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Underrun {
    /// Zeros.
    #[default]
    Silence,
    /// Nothing, until `prebuffer` is full again.
    Stop,
}

/// Largest transfer in bytes that a FIFO in packet mode keeps whole: PIPE_BUF of Linux, pipe(2).
pub const PACKET_FIFO_MAX: u32 = 4096;

/// Largest transfer in bytes that a SEQPACKET socket keeps whole with the buffers that Linux gives it: unix(7).
pub const PACKET_SOCKET_MAX: u32 = 128 * 1024;

/// Bytes a transfer where nothing else is said.
pub const DEFAULT_TRANSFER: u32 = 65536;

/// Transfers in flight where nothing else is said.
pub const DEFAULT_QUEUE: u16 = 8;

impl Framing {
    /// All of them, by the names that they have in the configuration.
    pub const NAMED: [(&'static str, Self); 5] = [
        ("stream", Self::Stream),
        ("packet", Self::Packet),
        ("length", Self::Length),
        ("hex", Self::Hex),
        ("jsonl", Self::Jsonl),
    ];

    /// The longest transfer that outlets of these kinds keep whole.
    pub fn longest_transfer(self, outlets: &[OutletKind]) -> u32 {
        match outlets.contains(&OutletKind::Fifo) {
            _ if self != Self::Packet => u32::MAX,
            true => PACKET_FIFO_MAX,
            false => PACKET_SOCKET_MAX,
        }
    }
}

impl PipeConfig {
    /// The endpoint with this address and every default.
    pub fn new(endpoint: u8) -> Self {
        Self {
            endpoint,
            interface: None,
            alt: None,
            outlets: kinds::of_endpoint(),
            framing: Framing::default(),
            transfer: None,
            queue: None,
            idle: Idle::default(),
            on_open: OnOpen::default(),
            stall: StallPolicy::default(),
            zlp: None,
            flush: Duration::from_secs(1),
            patience: Patience::default(),
            writers: Writers::default(),
            prebuffer: Duration::from_millis(40),
            underrun: Underrun::default(),
            packet: None,
            buffer: Duration::from_millis(250),
            access: Access::default(),
        }
    }

    /// The most bytes of a transfer, whatever the endpoint is; in packet framing no more than the outlets keep together.
    pub fn longest_transfer(&self) -> u32 {
        self.transfer.unwrap_or(DEFAULT_TRANSFER).min(self.framing.longest_transfer(&self.outlets))
    }

    /// Whether bytes go from the device to programs: bit 7 of the endpoint address.
    pub fn is_in(&self) -> bool {
        self.endpoint & 0x80 != 0
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self::After(Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framings_have_the_names_of_the_configuration() {
        use serde::de::value::{Error, StrDeserializer};
        for (name, framing) in Framing::NAMED {
            assert_eq!(Framing::deserialize(StrDeserializer::<Error>::new(name)), Ok(framing));
        }
    }

    #[test]
    fn bit_seven_of_the_address_is_the_direction() {
        assert!(PipeConfig::new(0x81).is_in());
        assert!(!PipeConfig::new(0x01).is_in());
    }
}
