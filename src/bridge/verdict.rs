//! How a pump ends.

use std::io::{self, IoSlice};
use std::task::{Context, Poll};

use super::Counters;
use crate::outlet::{InFifo, Sink};
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

/// A sink that throws everything away until a program opens the FIFO behind it: `idle = "drain"`.
pub struct Discard<'a> {
    /// The FIFO that nobody reads at the moment.
    pub fifo: &'a mut InFifo,
    /// Where the bytes are counted.
    pub counters: &'a Counters,
}

impl Sink for Discard<'_> {
    fn poll_write(&mut self, _cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let n = slices.iter().map(|s| s.len()).sum();
        self.counters.add_discarded(n);
        Poll::Ready(Ok(n))
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.fifo.poll_opened(cx)
    }
}
