//! Hot path. The two endpoints of a port: transfers that are reads and writes of its descriptor.
//!
//! A transfer from the port ends with the first bytes there are; one to the port goes on until all of it is written.
//! Nothing happens between two polls, so what was cancelled has not read anything.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::usb::{Pipe, Transfer, TransferError};

use super::opened::Opened;

/// One direction of a port.
pub(super) struct PortPipe {
    port: Arc<Opened>,
    is_in: bool,
    /// Submitted and not come out, oldest first.
    waiting: VecDeque<Transfer>,
    /// How many of the oldest were cancelled.
    cancelled: usize,
}

impl PortPipe {
    pub(super) fn new(port: Arc<Opened>, is_in: bool) -> Self {
        Self { port, is_in, waiting: VecDeque::new(), cancelled: 0 }
    }

    /// Goes on with the oldest transfer.
    fn poll_move(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransferError>> {
        let Some(transfer) = self.waiting.front_mut() else { return Poll::Pending };
        if self.cancelled > 0 {
            return Poll::Ready(Err(TransferError::Cancelled));
        }
        while transfer.actual < transfer.length {
            let rest = transfer.actual..transfer.length;
            let moved = match self.is_in {
                true => self.port.poll_read(cx, &mut transfer.buffer[rest]),
                false => self.port.poll_write(cx, &transfer.buffer[rest]),
            };
            transfer.actual += ready!(moved)?;
            if self.is_in {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Pipe for PortPipe {
    fn submit(&mut self, mut transfer: Transfer) {
        transfer.actual = 0;
        self.waiting.push_back(transfer);
    }

    fn poll_complete(&mut self, cx: &mut Context<'_>) -> Poll<Transfer> {
        let status = ready!(self.poll_move(cx));
        self.cancelled = self.cancelled.saturating_sub(1);
        match self.waiting.pop_front() {
            Some(mut transfer) => {
                transfer.status = status;
                Poll::Ready(transfer)
            }
            None => Poll::Pending,
        }
    }

    fn moves_when_polled(&self) -> bool {
        true
    }

    fn in_flight(&self) -> usize {
        self.waiting.len()
    }

    fn cancel_all(&mut self) {
        self.cancelled = self.waiting.len();
    }
}
