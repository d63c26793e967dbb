//! The state of a device and its pipes as `status` shows it.

use serde::{Deserialize, Serialize};

use crate::bridge::{Snapshot, Tally};

/// One device.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// Its name in the run dir.
    pub name: String,
    /// `attached`, `searching`, `released` by request, or `leased` to a program that has opened its port.
    pub state: String,
    /// Why it is not attached, if it is not and something is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// What keeps it from working as configured, and what to do about that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub problem: Option<String>,
    /// `vvvv:pppp` of the device last seen.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub id: Option<String>,
    /// What the ids say, of a known board.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub board: Option<String>,
    /// iProduct.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub product: Option<String>,
    /// iSerialNumber.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub serial: Option<String>,
    /// Signalling rate.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub speed: Option<String>,
    /// How it is reached.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub backend: Option<String>,
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub place: Option<String>,
    /// How often it was attached.
    pub sessions: u64,
    /// Its bridged pipes.
    pub pipes: Vec<PipeStatus>,
}

/// One bridged pipe.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PipeStatus {
    /// The outlet's name: `ep_81`, `serial.rx`.
    pub outlet: String,
    /// bEndpointAddress as `0x81`.
    pub endpoint: String,
    /// `in` or `out`.
    pub direction: String,
    /// Transfer type, once the device was seen.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none", default)]
    pub transfer_type: Option<String>,
    /// wMaxPacketSize, once the device was seen.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_packet_size: Option<usize>,
    /// Packets a microframe: 1, or 2 or 3 of a high-bandwidth endpoint.
    #[serde(default = "one")]
    pub packets_per_microframe: u8,
    /// Where the outlet stands: the FIFO; where there is none the socket, else the terminal.
    pub path: String,
    /// Where its Unix socket stands, if it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub socket: Option<String>,
    /// Where the link to its terminal stands, if it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tty: Option<String>,
    /// Address and port of its RFC 2217 server, if it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rfc2217: Option<String>,
    /// Address and port of its TCP server, if it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tcp: Option<String>,
    /// The programs that use it now.
    #[serde(default)]
    pub clients: Vec<ClientStatus>,
    /// What keeps it from working, or from working as configured.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub problem: Option<String>,
    /// What it did.
    #[serde(flatten)]
    pub counters: Snapshot,
}

fn one() -> u8 {
    1
}

/// One program at an outlet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClientStatus {
    /// How it came: `fifo` (all programs behind it together), `socket`, `descriptor`, `tty`, `tcp` or `rfc2217`.
    pub kind: String,
    /// Its process number when it connected, where that is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pid: Option<u32>,
    /// Its user's number.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub uid: Option<u32>,
    /// Its name, as in `ps -o comm`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub command: Option<String>,
    /// Its address and port, where it is connected over the network.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<String>,
    /// What it got or gave since it came.
    #[serde(flatten)]
    pub tally: Tally,
}
