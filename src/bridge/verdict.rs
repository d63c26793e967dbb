//! How a pump ends.

use std::io;

use crate::usb::TransferError;

/// Which end of a pump stopped, and why.
#[derive(Debug)]
pub enum Verdict {
    /// No program has the outlet open any more. For OUT all that was written has reached the device.
    Closed,
    /// The outlet itself failed.
    Outlet(io::Error),
    /// The device's end stopped.
    Device(TransferError),
    /// The caller asked for it.
    Stopped,
}
