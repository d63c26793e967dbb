//! Stories on a real Linux USB stack: the real program beside the kernel's own drivers, in the guest that
//! `tests/lab/run` boots. A module is a suite. Outside of the guest every story says that it is skipped.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on fails, and says why")]

#[path = "../common/mod.rs"]
mod common;
mod guest;
#[path = "../common/odd.rs"]
mod table;
#[path = "../common/vitals.rs"]
mod vitals;

mod acm;
mod bulk;
mod claim;
mod errors;
mod hid;
mod hotplug;
mod iso;
mod libusb;
mod list;
mod odd;
mod permission;
mod qemu;
mod service;
mod usbipd;
