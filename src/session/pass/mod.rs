//! Descriptors for programs that open nothing themselves: makes a pair, seats one end of it at a line, and gives the other
//! away. It starts no program and sends nothing.
//!
//! ```text
//!   exec, run = …, admin.sock ──► pass(line, kind) ──► pair: one end ──► the line's hub
//!                      ▲                                  other end
//!                      └──────────────────────────────────────┘
//! ```

#[cfg(unix)]
#[path = "own_unix.rs"]
mod own;
#[cfg(windows)]
#[path = "own_windows.rs"]
mod own;
#[cfg(unix)]
#[path = "pair_unix.rs"]
mod pair;
#[cfg(windows)]
#[path = "pair_windows.rs"]
mod pair;

use serde::{Deserialize, Serialize};

use super::hub::Via;
use super::shared::Shared;
use crate::config::PACKET_SOCKET_MAX;
use crate::name::is_serial_line;
use crate::outlet::{Connection, Peer};

#[cfg(unix)]
pub use own::keep_descriptors;
#[cfg(windows)]
pub use own::keep_handles;
pub use pair::End;
pub(super) use pair::pipe;

/// What a program is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pass {
    /// An end of a pipe, in the line's direction. With `framing = "packet"` in packet mode, pipe(2).
    Pipe,
    /// An end of a pair of stream sockets; of `serial` for both directions.
    Socket,
    /// The same of SEQPACKET sockets: a message for each transfer. Only with `framing = "packet"` is a message that fills
    /// its last packet closed by a ZLP.
    Packet,
}

impl Shared {
    /// An end for a program that becomes a reader or writer of this line, or both of `serial`.
    ///
    /// # Errors
    /// Why there can be none, in words for the program's user.
    pub(super) fn pass(&self, line: &str, kind: Pass, peer: Peer) -> Result<End, String> {
        let (ours, theirs) = match kind {
            Pass::Pipe => self.pipe(line)?,
            Pass::Socket => pair::stream()?,
            Pass::Packet => {
                self.check_messages(line)?;
                pair::packets()?
            }
        };
        self.adopt(line, ours, Via::Descriptor, peer)?;
        Ok(theirs)
    }

    fn pipe(&self, line: &str) -> Result<(Connection, End), String> {
        if is_serial_line(line) {
            return Err("a pipe goes one way, and serial both: ask for serial.rx and serial.tx, or for a socket".into());
        }
        let hub = self.hub(line).ok_or_else(|| self.no_outlet(line))?;
        pipe(hub.is_in(), hub.rules().packets)
    }

    /// A transfer that is no message of a socket could only be lost.
    fn check_messages(&self, line: &str) -> Result<(), String> {
        let transfer = self.hub(line).map_or(0, |hub| hub.rules().transfer);
        if transfer <= PACKET_SOCKET_MAX {
            return Ok(());
        }
        Err(format!(
            "transfers of {line} have up to {transfer} bytes, and a message has at most {PACKET_SOCKET_MAX}; lower its \
             `transfer`, or ask for a socket"
        ))
    }
}
