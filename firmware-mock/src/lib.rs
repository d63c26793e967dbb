//! Simulated USB devices behind a USB/IP server.
//!
//! The same devices are reached by any USB/IP client: one in user space, or `usbip attach` and the kernel's
//! `vhci-hcd`. There is no hardware and nothing needs root.
//!
//! ```text
//!   client ══TCP══ server ── port ─┬─ direct    zero, tone, regs: transfers answered as such
//!                 (sockets) (URBs) └─ board ── firmware    uno, leonardo, echo, knob: packets, `usb-device`
//! ```
//!
//! One job: behave like the devices of the table in the README, faults included. It refuses to be a USB stack: a
//! device that is in neither table, that one or `odd.toml`, cannot be described from outside.
//!
//! ```no_run
//! # async fn demo() -> std::io::Result<()> {
//! use firmware_mock::{DeviceKind, Mock};
//!
//! let mock = Mock::new(&[DeviceKind::Uno, DeviceKind::Zero]);
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! mock.serve(listener, None, async { tokio::signal::ctrl_c().await.unwrap_or(()) }).await
//! # }
//! ```

mod board;
mod direct;
mod fault;
pub mod firmware;
mod function;
mod kind;
mod mock;
pub mod odd;
pub mod os;
mod outbox;
mod port;
mod server;

pub use fault::{Command, Fault, FaultError, Lie};
pub use kind::{DeviceKind, UnknownKind};
pub use mock::Mock;
