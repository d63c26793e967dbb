//! Telnet with the COM-PORT option as bytes, for a server and for a client.
//!
//! A serial line over the network is a telnet connection (RFC 854) whose data are the bytes of the line and whose
//! COM-PORT option (RFC 2217, option 44) carries its settings. This crate splits what arrives into data and control
//! items, keeps the state of the negotiated options, and turns COM-PORT messages into bytes and back. It does no I/O,
//! and its memory is bounded whatever a peer sends.
//!
//! ```text
//!   bytes ──► Decoder ──► Data ···································► the line
//!                    ├──► Negotiation ──► Options ──► the answer
//!                    └──► Subnegotiation ──► Message::decode ──► a setting
//! ```

mod com_port;
mod negotiation;
mod telnet;

pub use com_port::{Message, MessageError, Sender, control, modem_state, purge};
pub use negotiation::{Options, Side};
pub use telnet::{Decoder, Item, LONGEST_SUBNEGOTIATION, Verb, escape, option, put_negotiation, put_subnegotiation};
