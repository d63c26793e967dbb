//! A byte queue of fixed size.
//!
//! One job: hold at most `N` bytes in order. It refuses bytes beyond that and says how many it took.

use core::fmt;

/// A ring of `N` bytes.
pub(super) struct Fifo<const N: usize> {
    bytes: [u8; N],
    head: usize,
    len: usize,
}

impl<const N: usize> Fifo<N> {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; N], head: 0, len: 0 }
    }

    pub(super) fn room(&self) -> usize {
        N - self.len
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// Appends what fits and says how much that was.
    pub(super) fn push(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.room());
        let tail = (self.head + self.len) % N;
        let first = count.min(N - tail);
        self.bytes[tail..tail + first].copy_from_slice(&bytes[..first]);
        self.bytes[..count - first].copy_from_slice(&bytes[first..count]);
        self.len += count;
        count
    }

    /// Copies the oldest bytes without removing them and says how many.
    pub(super) fn peek(&self, into: &mut [u8]) -> usize {
        let count = into.len().min(self.len);
        let first = count.min(N - self.head);
        into[..first].copy_from_slice(&self.bytes[self.head..self.head + first]);
        into[first..count].copy_from_slice(&self.bytes[..count - first]);
        count
    }

    /// Removes the `count` oldest bytes.
    pub(super) fn drop_front(&mut self, count: usize) {
        let count = count.min(self.len);
        self.head = (self.head + count) % N;
        self.len -= count;
    }
}

impl<const N: usize> fmt::Write for Fifo<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.push(text.as_bytes()) == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_come_out_in_the_order_they_went_in(steps in prop::collection::vec((0usize..9, 0usize..9), 0..64)) {
            let mut fifo = Fifo::<16>::new();
            let (mut next_in, mut next_out) = (0u8, 0u8);
            for (push, pop) in steps {
                let bytes: Vec<u8> = (0..push as u8).map(|i| next_in.wrapping_add(i)).collect();
                next_in = next_in.wrapping_add(fifo.push(&bytes) as u8);
                let mut out = [0; 9];
                let count = fifo.peek(&mut out[..pop]);
                fifo.drop_front(count);
                for &byte in &out[..count] {
                    prop_assert_eq!(byte, next_out);
                    next_out = next_out.wrapping_add(1);
                }
                prop_assert_eq!(fifo.len as u8, next_in.wrapping_sub(next_out));
            }
        }
    }
}
