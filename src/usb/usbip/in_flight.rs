//! Hot path. A transfer that is in flight, as a value that cannot be lost.
//!
//! Whoever has it completes it. One that is dropped, by an early return or by a panic, completes as disconnected, so that no
//! pipe ever waits for a transfer that nobody has. It decides nothing about how a transfer ends.

use tokio::sync::mpsc::UnboundedSender;

use crate::usb::{Transfer, TransferError};

/// A transfer that has ended, and its place among those of its pipe. Cancelled ones come newest first, and what a peer
/// sends for one of them afterwards comes with its place once more.
pub(super) type Completion = (u64, Transfer);

/// A transfer on its way.
pub(super) struct InFlight {
    pub(super) transfer: Transfer,
    ordinal: u64,
    /// `None` when the pipe has it back already.
    completions: Option<UnboundedSender<Completion>>,
}

impl InFlight {
    /// The transfer with this ordinal of the pipe that receives `completions`.
    pub(super) fn new(transfer: Transfer, ordinal: u64, completions: UnboundedSender<Completion>) -> Self {
        Self { transfer, ordinal, completions: Some(completions) }
    }

    /// Room for what comes for a transfer that its pipe has back.
    pub(super) fn returned(transfer: Transfer, ordinal: u64) -> Self {
        Self { transfer, ordinal, completions: None }
    }

    /// Its place among the transfers of its pipe.
    pub(super) fn ordinal(&self) -> u64 {
        self.ordinal
    }

    /// Gives it back as it is. One that was given back before is dropped.
    pub(super) fn complete(mut self) {
        self.give_back(|transfer| transfer);
    }

    /// Gives it back as failed.
    pub(super) fn fail(mut self, error: TransferError) {
        self.give_back(|transfer| transfer.fail(error));
    }

    /// The transfer itself, which is not given back.
    pub(super) fn into_transfer(mut self) -> Transfer {
        self.completions = None;
        std::mem::replace(&mut self.transfer, Transfer::new(0))
    }

    fn give_back(&mut self, ended: impl FnOnce(Transfer) -> Transfer) {
        if let Some(completions) = self.completions.take() {
            let transfer = std::mem::replace(&mut self.transfer, Transfer::new(0));
            // A pipe that has been closed wants it no more.
            let _ = completions.send((self.ordinal, ended(transfer)));
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.give_back(|transfer| transfer.fail(TransferError::Disconnected));
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    #[test]
    fn each_comes_back_once_and_one_that_is_dropped_as_disconnected_with_its_memory() {
        let (completions, mut ended) = unbounded_channel();
        let flight = |n| InFlight::new(Transfer::new(4), n, completions.clone());
        flight(0).complete();
        flight(1).fail(TransferError::Cancelled);
        drop(flight(2));
        let ends: Vec<_> = std::iter::from_fn(|| ended.try_recv().ok()).collect();
        let expected = [(0, Ok(())), (1, Err(TransferError::Cancelled)), (2, Err(TransferError::Disconnected))];
        assert!(ends.iter().map(|(n, t)| (*n, t.status)).eq(expected));
        assert!(ends.iter().all(|(_, transfer)| transfer.buffer.len() == 4));
    }
}
