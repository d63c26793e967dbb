//! usbpipe: USB pipes and CDC serial as ordinary pipes of the operating system.

// They block while nobody reads, and panic when the disk is full: see `log_writer`.
#![warn(clippy::print_stderr)]

pub mod bridge;
pub mod capture;
pub mod cli;
pub mod config;
pub mod daemon;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod log_writer;
pub mod name;
pub mod outlet;
pub mod printable;
pub mod processes;
pub mod reactor;
pub mod request;
pub mod selector;
pub mod serial;
pub mod session;
pub mod usb;
