//! The `usbip` backend: a USB/IP client in user space, without root and without a kernel module.
//!
//! ```text
//!   UsbipDevice ──┐ commands                       ┌─ Inbound: bytes → completed transfers
//!   UsbipPipe  ───┼────────────► Link (one task) ──┤  Table:   transfers in flight by sequence number
//!   UsbipPipe  ───┘ ◄──────────  completions       └─ Outbound: transfers → bytes
//! ```
//!
//! One task owns the socket and every transfer in flight; pipes reach it through channels, so nothing is locked.

mod client;
mod device;
mod inbound;
mod link;
mod outbound;
mod table;

pub use client::{Exported, list};
pub use device::{UsbipDevice, open};
