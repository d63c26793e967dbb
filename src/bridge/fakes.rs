//! Ends for pumps in tests: a pipe that plays a script, a sink and a source in memory.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::mpsc::unbounded_channel;

use super::{Counters, Readers, ReadersPolicy, Writers};
use crate::outlet::{Sink, Source, StandingSink, StandingSource};
use crate::usb::{Pipe, Transfer, TransferError};

/// A stop that never comes.
pub(super) fn forever() -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(pending())
}

/// Completes IN transfers with the messages it was given and then disconnects; accepts OUT transfers.
#[derive(Default)]
pub(super) struct FakePipe {
    messages: VecDeque<Vec<u8>>,
    queued: VecDeque<Transfer>,
    is_out: bool,
    cancelled: bool,
    /// Nothing completes before this many transfers are in flight.
    pub(super) batch: usize,
    /// Says that it moves bytes when it is polled.
    pub(super) is_lazy: bool,
    /// Transfers completed with data so far.
    pub(super) sent: usize,
    /// What OUT transfers carried.
    pub(super) received: Vec<Vec<u8>>,
    /// OUT: the results of the first transfers; after them all succeed.
    pub(super) results: VecDeque<Result<(), TransferError>>,
}

impl FakePipe {
    pub(super) fn sending(messages: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self { messages: messages.into_iter().collect(), ..Self::default() }
    }

    pub(super) fn receiving() -> Self {
        Self { is_out: true, ..Self::default() }
    }

    fn accept(&mut self, mut transfer: Transfer) -> Transfer {
        transfer.status = self.results.pop_front().unwrap_or(Ok(()));
        if transfer.status.is_ok() {
            transfer.actual = transfer.length;
            if transfer.packets.is_empty() {
                self.received.push(transfer.buffer[..transfer.length].to_vec());
            }
            for p in &transfer.packets {
                self.received.push(transfer.buffer[p.offset..p.offset + p.length].to_vec());
            }
        } else {
            transfer.actual = 0;
        }
        transfer
    }

    fn answer(&mut self, mut transfer: Transfer) -> Transfer {
        if self.cancelled {
            return transfer.fail(TransferError::Cancelled);
        }
        let Some(message) = self.messages.pop_front() else { return transfer.fail(TransferError::Disconnected) };
        self.sent += 1;
        transfer.buffer[..message.len()].copy_from_slice(&message);
        transfer.actual = message.len();
        transfer.status = Ok(());
        let mut left = message.len();
        for p in &mut transfer.packets {
            p.actual = left.min(p.length);
            p.status = Ok(());
            left -= p.actual;
        }
        transfer
    }
}

impl Pipe for FakePipe {
    fn submit(&mut self, transfer: Transfer) {
        self.cancelled = false;
        self.queued.push_back(transfer);
    }

    fn poll_complete(&mut self, _cx: &mut Context<'_>) -> Poll<Transfer> {
        if self.queued.len() < self.batch {
            return Poll::Pending;
        }
        self.batch = 0;
        match self.queued.pop_front() {
            None => Poll::Pending,
            Some(transfer) if self.is_out => Poll::Ready(self.accept(transfer)),
            Some(transfer) => Poll::Ready(self.answer(transfer)),
        }
    }

    fn moves_when_polled(&self) -> bool {
        self.is_lazy
    }

    fn in_flight(&self) -> usize {
        self.queued.len()
    }

    fn cancel_all(&mut self) {
        self.cancelled = true;
    }
}

/// Takes bytes until it is full or its reader leaves.
#[derive(Default)]
pub(super) struct FakeSink {
    pub(super) bytes: Vec<u8>,
    pub(super) room: Option<usize>,
    pub(super) closes_after: Option<usize>,
    /// How often it will be closed and opened, in turn, at once.
    pub(super) changes: usize,
}

impl FakeSink {
    fn poll_change(&mut self) -> Poll<()> {
        match self.changes.checked_sub(1) {
            Some(left) => {
                self.changes = left;
                Poll::Ready(())
            }
            None => Poll::Pending,
        }
    }
}

impl Sink for FakeSink {
    fn poll_write(&mut self, _cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let all: Vec<u8> = slices.iter().flat_map(|s| s.to_vec()).collect();
        let limit = self.closes_after.or(self.room).unwrap_or(usize::MAX) - self.bytes.len();
        match (all.len().min(limit), self.closes_after) {
            (0, Some(_)) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            (0, None) => Poll::Pending,
            (n, _) => {
                self.bytes.extend_from_slice(&all[..n]);
                Poll::Ready(Ok(n))
            }
        }
    }

    fn poll_closed(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        self.poll_change()
    }
}

impl StandingSink for FakeSink {
    fn is_open(&self) -> bool {
        self.closes_after.is_none_or(|most| self.bytes.len() < most)
    }

    fn poll_came(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        self.poll_change()
    }

    fn discard(&mut self) -> usize {
        0
    }

    fn take_back(&mut self) -> Vec<u8> {
        Vec::new()
    }

    fn rest(&mut self) {}
}

/// A FIFO's readers alone.
pub(super) fn reading(sink: FakeSink) -> Readers<FakeSink> {
    let (_, arrivals) = unbounded_channel();
    let policy = ReadersPolicy { patience: None, forgets: false };
    Readers::new(Some(sink), Arc::default(), arrivals, policy, Arc::<Counters>::default())
}

/// What has arrived in the FIFO.
pub(super) fn bytes(readers: &Readers<FakeSink>) -> &[u8] {
    &readers.fifo.as_ref().expect("it has one").bytes
}

/// A FIFO's writers alone.
pub(super) fn writing(source: FakeSource) -> Writers<FakeSource> {
    let (_, arrivals) = unbounded_channel();
    Writers::new(Some(source), Arc::default(), arrivals, false)
}

/// Hands out its pieces one a read, then reports that the writer has gone.
pub(super) struct FakeSource(pub(super) VecDeque<Vec<u8>>);

impl FakeSource {
    pub(super) fn of(pieces: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self(pieces.into_iter().collect())
    }
}

impl StandingSource for FakeSource {
    fn is_open(&self) -> bool {
        !self.0.is_empty()
    }

    fn poll_came(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Source for FakeSource {
    fn poll_read(&mut self, _cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let Some(mut piece) = self.0.pop_front() else { return Poll::Ready(Ok(0)) };
        if piece.len() > buffer.len() {
            self.0.push_front(piece.split_off(buffer.len()));
        }
        buffer[..piece.len()].copy_from_slice(&piece);
        Poll::Ready(Ok(piece.len()))
    }
}
