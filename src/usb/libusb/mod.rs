//! The `libusb` backend: every transfer type, isochronous included, through libusb's asynchronous interface.
//!
//! ```text
//!   LibusbDevice ──┐                              ┌─ Events: asks libusb what has ended, wakes the pipes;
//!   LibusbPipe  ───┼── Link: context and handle ──┤          owns transfers whose pipe was dropped
//!   LibusbPipe  ───┘   (closed by the last of it) └─ helper threads: claim, alternate setting, reset, cancel
//! ```
//!
//! A device has a libusb context of its own, so nothing is shared between devices. On Unix libusb's descriptors are in
//! the reactor of the daemon's one thread; elsewhere a thread waits for them. Enumeration and hotplug are not done here.

mod claims;
mod device;
mod error;
#[cfg(unix)]
#[path = "events_unix.rs"]
mod events;
#[cfg(windows)]
#[path = "events_windows.rs"]
mod events;
mod flight;
mod link;
mod pipe;
#[cfg(target_os = "linux")]
#[path = "system_linux.rs"]
mod system;
#[cfg(windows)]
#[path = "system_windows.rs"]
mod system;

pub use device::{LibusbDevice, open};
