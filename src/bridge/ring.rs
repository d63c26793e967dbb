//! Hot path. Completed transfers that some reader has not passed yet, each with its number. It decides nothing.

use std::collections::VecDeque;

use crate::usb::Transfer;

/// Completed transfers, oldest first.
pub(super) struct Ring {
    transfers: VecDeque<Transfer>,
    /// The number of the oldest.
    first: u64,
}

impl Ring {
    pub(super) fn with_capacity(transfers: usize) -> Self {
        Self { transfers: VecDeque::with_capacity(transfers), first: 0 }
    }

    pub(super) fn get(&self, number: u64) -> Option<&Transfer> {
        self.transfers.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The number that the next transfer will have.
    pub(super) fn end(&self) -> u64 {
        self.first + self.transfers.len() as u64
    }

    pub(super) fn push(&mut self, transfer: Transfer) {
        self.transfers.push_back(transfer);
    }

    pub(super) fn pop(&mut self) -> Option<Transfer> {
        let oldest = self.transfers.pop_front()?;
        self.first += 1;
        Some(oldest)
    }

    /// The oldest with its number.
    pub(super) fn pop_numbered(&mut self) -> Option<(u64, Transfer)> {
        let number = self.first;
        self.pop().map(|transfer| (number, transfer))
    }

    pub(super) fn len(&self) -> usize {
        self.transfers.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.transfers.is_empty()
    }

    /// Throws all of it away, and says how many bytes that were.
    pub(super) fn clear(&mut self) -> usize {
        std::iter::from_fn(|| self.pop()).map(|transfer| transfer.actual).sum()
    }
}
