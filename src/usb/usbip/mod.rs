//! The `usbip` backend: a USB/IP client in user space, without root and without a kernel module.
//!
//! ```text
//!   UsbipDevice ──┐ commands                          ┌─ Inbound: bytes → completed transfers
//!   UsbipPipe  ───┼────────────► Link ── Protocol ────┤  Table:   transfers in flight by sequence number
//!   UsbipPipe  ───┘ ◄──────────  (task)  (no I/O)     └─ Outbound: transfers → bytes
//!                   completions
//! ```
//!
//! One task owns the socket and every transfer in flight; pipes reach it through channels, so nothing is locked. Each transfer
//! is an `InFlight` (`in_flight.rs`), which comes back to its pipe even when it is dropped.

mod client;
mod device;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod in_flight;
mod inbound;
mod link;
mod outbound;
mod protocol;
mod table;
mod timer;

pub use client::{Exported, list};
pub use device::{UsbipDevice, open};
