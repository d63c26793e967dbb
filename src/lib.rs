//! usbpipe: USB pipes and CDC serial as ordinary pipes of the operating system.

pub mod bridge;
pub mod capture;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod name;
pub mod outlet;
pub mod reactor;
pub mod request;
pub mod selector;
pub mod serial;
pub mod session;
pub mod usb;
