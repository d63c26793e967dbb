//! Hot path. One reader's place in the ring: which transfer it gets next, and how much of that is out.
//!
//! ```text
//!                 held others up for longer than it may
//!   keeping up ─────────────────────────────────────────► behind: holds nothing; what goes by is lost and counted
//!        ▲                                                   │
//!        └──── what it had begun is out, and it takes more ──┘
//! ```
//!
//! It knows one sink at a time and nobody else's place.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::frame::{Frame, Framing, Meta};
use super::ring::Ring;
use super::{Account, Counters};
use crate::outlet::Sink;
use crate::usb::Transfer;

/// What every record of a pipe has in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub(super) endpoint: u8,
    pub(super) framing: Framing,
}

impl Style {
    /// A sink that keeps messages needs no lengths around them.
    pub(super) fn for_sink(self, sink: &dyn Sink) -> Self {
        let framing = match self.framing {
            Framing::Length | Framing::Stream if sink.keeps_messages() => Framing::Packet,
            other => other,
        };
        Self { framing, ..self }
    }
}

/// Where one reader is.
#[derive(Default)]
pub(super) struct Place {
    /// The number of the transfer of the ring that comes next.
    pub(super) at: u64,
    pub(super) frame: Frame,
    /// What comes before the ring and is nobody else's: the transfer that it had begun when it fell behind, or what a
    /// FIFO's last reader left.
    own: VecDeque<Transfer>,
    /// The number of the first of them.
    own_at: u64,
    /// Transfers lost directly before the next one.
    lost: u64,
    behind: bool,
    /// Whether it holds others up at the moment, and for how long it has altogether.
    holds: bool,
    held: Duration,
    /// When it last held others up or lost something.
    offended: Option<Instant>,
    /// Isochronous: the packet of the transfer that comes next.
    pub(super) packet: usize,
    /// Isochronous: what must be written before anything else.
    pub(super) carry: Vec<u8>,
    pub(super) carry_written: usize,
    /// Isochronous: packets lost since the last one that was written.
    pub(super) gap: u64,
    /// Isochronous: packets written.
    pub(super) seq: u64,
}

impl Place {
    /// Takes its place before the transfer of this number. What is its own stays.
    pub(super) fn join(&mut self, at: u64) {
        let own = std::mem::take(&mut self.own);
        let frame = if own.is_empty() { Frame::default() } else { std::mem::take(&mut self.frame) };
        *self = Self { at, frame, own, own_at: self.own_at, ..Self::default() };
    }

    /// Whether nothing waits for it.
    pub(super) fn is_done(&self, ring: &Ring) -> bool {
        self.own.is_empty() && self.at >= ring.end() && self.carry.is_empty() && self.gap == 0
    }

    /// Whether others may have to wait for it.
    pub(super) fn is_keeping_up(&self) -> bool {
        !self.behind
    }

    /// Writes what waits until the sink is full.
    pub(super) fn write(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut dyn Sink,
        ring: &Ring,
        style: Style,
        account: &Account,
    ) -> io::Result<()> {
        let Style { endpoint, framing } = style.for_sink(sink);
        let messages = sink.keeps_messages();
        loop {
            let (transfer, seq) = match self.own.front() {
                Some(own) => (own, self.own_at),
                None => match ring.get(self.at) {
                    Some(transfer) => (transfer, self.at),
                    None => return Ok(()),
                },
            };
            let meta = Meta { endpoint, seq, status: transfer.status, lost: self.lost };
            self.frame.begin(framing, transfer.received(), &meta);
            let slices = self.frame.slices(transfer.received());
            if messages || slices.iter().any(|s| !s.is_empty()) {
                let Poll::Ready(written) = sink.poll_write(cx, &slices) else { return Ok(()) };
                let n = written?;
                account.moved(n);
                self.frame.advance(n);
                if self.own.is_empty() && std::mem::take(&mut self.behind) {
                    self.offended = Some(Instant::now());
                }
                if !messages {
                    continue;
                }
            }
            self.frame.finish();
            self.lost = 0;
            match self.own.pop_front() {
                Some(_) => self.own_at += 1,
                None => self.at += 1,
            }
        }
    }

    /// The transfer of this number goes. A reader that is behind and has not passed it loses it.
    pub(super) fn pass(&mut self, number: u64, transfer: &Transfer, account: &Account, counters: &Counters) {
        if self.at > number {
            return;
        }
        self.at = number + 1;
        self.lost += 1;
        if self.own.is_empty() {
            self.frame.finish();
        }
        account.lost_transfers(1, transfer.actual);
        counters.add_lost_bytes(transfer.actual);
        counters.loss.notify_one();
    }

    /// Leaves the ring to the others; of a transfer that it has begun it keeps a copy.
    pub(super) fn fall_behind(&mut self, ring: &Ring) {
        self.keep_begun(ring);
        self.behind = true;
        self.holds = false;
    }

    /// Nobody else is there any more, so that it is waited for again.
    pub(super) fn catch_up(&mut self) {
        self.behind = false;
    }

    fn keep_begun(&mut self, ring: &Ring) {
        if !self.own.is_empty() {
            return;
        }
        match ring.get(self.at) {
            Some(begun) if self.frame.is_split() => {
                self.own.push_back(copy(begun));
                self.own_at = self.at;
                self.at += 1;
            }
            _ => self.frame.finish(),
        }
    }

    /// The ring goes on without this place. Of a transfer that was begun the rest is kept; says how many bytes of the
    /// others are thrown away.
    pub(super) fn leave(&mut self, ring: &Ring) -> usize {
        self.keep_begun(ring);
        let unread = (self.at..ring.end()).filter_map(|at| ring.get(at)).map(|transfer| transfer.actual).sum();
        self.at = ring.end();
        unread
    }

    /// Transfers and their bytes that it has not got, or not as a whole.
    pub(super) fn unread(&self, ring: &Ring) -> (usize, usize) {
        let waiting = (self.at..ring.end()).filter_map(|at| ring.get(at));
        let all = self.own.iter().chain(waiting).map(|transfer| transfer.actual);
        all.fold((0, 0), |(transfers, bytes), actual| (transfers + 1, bytes + actual))
    }

    /// Takes what the ring has for itself, at most `limit` transfers; says how many bytes that made it throw away.
    pub(super) fn take_all(&mut self, ring: &mut Ring, limit: usize) -> usize {
        if self.own.is_empty() {
            self.own_at = self.at;
        }
        let passed = self.at.saturating_sub(ring.first());
        let waiting = std::iter::from_fn(|| ring.pop()).skip(usize::try_from(passed).unwrap_or(usize::MAX));
        self.own.extend(waiting);
        self.at = ring.end();
        if !self.frame.is_split() {
            self.frame.finish();
        }
        let begun = usize::from(self.frame.is_split());
        let mut discarded = 0;
        while self.own.len() > limit.max(begun) {
            discarded += self.own.remove(begun).map_or(0, |transfer| transfer.actual);
        }
        discarded
    }

    /// What nobody else is to get comes before the ring.
    pub(super) fn give(&mut self, transfer: Transfer) {
        if self.own.is_empty() {
            self.own_at = self.at;
        }
        self.own.push_back(transfer);
    }

    /// Takes from it, for `keep`, what was its own and the rest of the transfer that it had begun.
    pub(super) fn take_begun(&mut self, ring: &Ring, mut keep: impl FnMut(&[u8])) {
        let mut out = if self.frame.is_split() { self.frame.written() } else { 0 };
        for own in self.own.drain(..) {
            keep(own.received().get(std::mem::take(&mut out)..).unwrap_or_default());
        }
        if let (Some(begun), true) = (ring.get(self.at), out > 0) {
            keep(begun.received().get(out..).unwrap_or_default());
            self.at += 1;
        }
        self.frame.finish();
    }

    /// Forgets what was its own and what it had begun; says how many bytes that were.
    pub(super) fn forget(&mut self, at: u64) -> usize {
        let own = self.own.drain(..).map(|transfer| transfer.actual).sum();
        self.frame.finish();
        self.frame.release();
        self.join(at);
        own
    }

    /// Gives memory back while nothing is under way.
    pub(super) fn release(&mut self) {
        self.frame.release();
    }

    /// Others cannot go on while this reader is not done. Says how long it may still hold them up, nothing when it is
    /// none of those that do.
    pub(super) fn hold(
        &mut self,
        ring: &Ring,
        now: Instant,
        since_last: Duration,
        limit: Duration,
    ) -> Option<Duration> {
        if self.behind || self.is_done(ring) {
            self.holds = false;
            return None;
        }
        let kept_up = self.offended.is_none_or(|then| now.duration_since(then) >= limit);
        if std::mem::replace(&mut self.holds, true) {
            self.held += since_last;
        } else if kept_up {
            self.held = Duration::ZERO;
        }
        self.offended = Some(now);
        Some(limit.saturating_sub(self.held))
    }

    /// Others can go on again.
    pub(super) fn let_go(&mut self, since_last: Duration) {
        if std::mem::take(&mut self.holds) {
            self.held += since_last;
        }
    }
}

fn copy(transfer: &Transfer) -> Transfer {
    let mut copy = Transfer::new(transfer.actual);
    copy.buffer.copy_from_slice(transfer.received());
    Transfer { actual: transfer.actual, status: transfer.status, ..copy }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(1);
    const HALF: Duration = Duration::from_millis(500);

    /// A place that has not got the one transfer of the ring.
    fn slow() -> (Place, Ring) {
        let mut ring = Ring::with_capacity(1);
        ring.push(Transfer::new(4));
        (Place::default(), ring)
    }

    #[test]
    fn patience_is_used_up_piece_by_piece() {
        let ((mut place, ring), start) = (slow(), Instant::now());
        assert_eq!(place.hold(&ring, start, Duration::ZERO, LIMIT), Some(LIMIT));
        place.let_go(HALF);
        assert_eq!(place.hold(&ring, start + HALF, Duration::ZERO, LIMIT), Some(HALF), "a moment later");
        assert_eq!(place.hold(&ring, start + 2 * HALF, HALF, LIMIT), Some(Duration::ZERO));
    }

    #[test]
    fn holding_on_and_on_is_no_keeping_up() {
        let ((mut place, ring), start) = (slow(), Instant::now());
        place.hold(&ring, start, Duration::ZERO, LIMIT);
        assert_eq!(place.hold(&ring, start + 3 * LIMIT, 3 * LIMIT, LIMIT), Some(Duration::ZERO));
    }

    #[test]
    fn who_has_kept_up_for_as_long_has_its_patience_again() {
        let ((mut place, ring), start) = (slow(), Instant::now());
        place.hold(&ring, start, Duration::ZERO, LIMIT);
        place.let_go(HALF);
        let later = start + HALF + LIMIT;
        assert_eq!(place.hold(&ring, later, Duration::ZERO, LIMIT), Some(LIMIT));
    }

    #[test]
    fn who_is_done_or_behind_holds_nobody_up() {
        let ((mut place, mut ring), start) = (slow(), Instant::now());
        place.fall_behind(&ring);
        assert_eq!(place.hold(&ring, start, Duration::ZERO, LIMIT), None);
        assert!(!place.is_keeping_up());
        let (account, counters) = (Account::default(), Counters::default());
        let transfer = ring.pop().unwrap();
        place.pass(0, &transfer, &account, &counters);
        assert_eq!(account.tally().lost_transfers, 1);
        place.catch_up();
        assert_eq!(place.hold(&ring, start, Duration::ZERO, LIMIT), None, "nothing is left for it");
    }
}
