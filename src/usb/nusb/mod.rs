//! The backend `nusb`: control, bulk and interrupt transfers on this machine's own USB, through the nusb crate.
//!
//! It refuses isochronous endpoints, which nusb does not know; those are libusb's.

#[cfg(unix)]
#[path = "control_unix.rs"]
mod control;
#[cfg(windows)]
#[path = "control_windows.rs"]
mod control;
mod device;
mod pipe;
mod thread;

pub use device::{NusbDevice, open};
pub use thread::watch_thread;
