//! Hot path. Everybody who reads one IN pipe: the programs behind its FIFO, and any number of clients.
//!
//! Each has a place of its own in the ring of completed transfers, so nothing is copied for them but into the kernel. A
//! transfer goes when all have passed it. One reader is waited for as long as it likes while it is alone; one that keeps
//! others from going on may do so for `patience`, then it is left behind, see [`super::place`]. It is renewed once the
//! reader has kept up for as long again.
//!
//! It refuses to know where clients come from: they are handed in, from any task, through [`NewReader`]s.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Sleep, sleep};

use super::place::Place;
use super::ring::Ring;
use super::unread::{InputPolicy, Unread};
use super::{Account, Counters};
use crate::outlet::{InFifo, Sink, StandingSink};

/// What others want to know of a program that uses a pipe; dropped when it no longer does.
pub trait Guest: Send {
    /// Its end failed, and it will be dropped.
    fn failed(&mut self, why: &io::Error);
}

/// A program that becomes a reader of an IN pipe.
pub struct NewReader {
    /// Where its bytes go.
    pub sink: Box<dyn Sink>,
    /// What it got and lost.
    pub account: Arc<Account>,
    /// Who it is.
    pub guest: Box<dyn Guest>,
}

/// How readers are dealt with.
#[derive(Debug, Clone, Copy)]
pub struct ReadersPolicy {
    /// How long one may hold others up; `None` for ever.
    pub patience: Option<Duration>,
    /// Whether what a FIFO's last reader left is of no use to the next one.
    pub forgets: bool,
}

/// Everybody who reads one IN pipe.
pub struct Readers<F = InFifo> {
    /// The outlet that stands, where there is one.
    pub fifo: Option<F>,
    fifo_account: Arc<Account>,
    fifo_place: Place,
    /// Whether programs read the FIFO.
    present: bool,
    /// Whether nobody reads it but what the ring has waits for the next who does.
    kept: bool,
    /// Whether somebody has left since that was last looked at.
    left: bool,
    clients: Vec<Client>,
    arrivals: UnboundedReceiver<NewReader>,
    policy: ReadersPolicy,
    /// Serial lines: what nobody has read. What was `kept` becomes part of it when the pump ends.
    unread: Option<Unread>,
    /// When the outlet that stands ended, with what its programs had not read.
    ended: Option<Instant>,
    counters: Arc<Counters>,
    /// While somebody holds others up: since when that was last looked at.
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

struct Client {
    /// Not before there is a ring: it begins with the next whole transfer.
    seated: bool,
    place: Place,
    new: NewReader,
}

impl Client {
    fn new(new: NewReader) -> Self {
        Self { seated: false, place: Place::default(), new }
    }
}

impl<F: StandingSink> Readers<F> {
    /// Readers that come through `fifo` and from `arrivals`.
    pub fn new(
        fifo: Option<F>,
        fifo_account: Arc<Account>,
        arrivals: UnboundedReceiver<NewReader>,
        policy: ReadersPolicy,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            fifo,
            fifo_account,
            fifo_place: Place::default(),
            present: false,
            kept: false,
            left: false,
            clients: Vec::new(),
            arrivals,
            policy,
            unread: None,
            ended: None,
            counters,
            since: None,
            timer: None,
        }
    }

    /// Readers of a serial line: what nobody has read is kept as this policy says, which may change.
    #[must_use]
    pub fn keeping_unread(self, policy: Arc<InputPolicy>) -> Self {
        Self { unread: Some(Unread::new(policy)), ..self }
    }

    /// Whether the device is to be read while nobody reads.
    pub fn keep_unread(&self) -> bool {
        self.unread.is_some()
    }

    /// Whether anybody reads. This looks at the outlets themselves.
    pub fn is_open(&mut self) -> bool {
        while let Ok(new) = self.arrivals.try_recv() {
            self.clients.push(Client::new(new));
        }
        !self.clients.is_empty() || self.fifo.as_ref().is_some_and(StandingSink::is_open)
    }

    /// Ready when anybody reads.
    pub fn poll_opened(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.clients.is_empty() {
            return Poll::Ready(());
        }
        if let Poll::Ready(Some(new)) = self.arrivals.poll_recv(cx) {
            self.clients.push(Client::new(new));
            return Poll::Ready(());
        }
        match &mut self.fifo {
            Some(fifo) if fifo.is_open() => Poll::Ready(()),
            Some(fifo) => fifo.poll_came(cx),
            None => Poll::Pending,
        }
    }

    /// Nobody waits for the FIFO any more: takes it out of the reactor.
    pub fn rest(&mut self) {
        if let Some(fifo) = &mut self.fifo {
            fifo.rest();
        }
    }

    /// The outlet that stands has ended. Ends the connections of all clients; each gets end of file after what it was
    /// given.
    pub fn dismiss(&mut self) {
        self.clients.clear();
        let had_readers = std::mem::take(&mut self.present);
        self.kept |= had_readers && self.unread.is_none();
        self.ended = had_readers.then(Instant::now).or(self.ended);
        self.fifo_account.end();
        self.let_go();
    }

    /// While there is neither device nor pump: programs come and go.
    pub fn poll_idle(&mut self, cx: &mut Context<'_>) {
        self.poll_changes(cx, &Ring::with_capacity(0));
    }

    /// What the last reader leaves is of no use to the next one, whatever the policy says.
    pub(super) fn forget_what_is_left(&mut self) {
        self.policy.forgets = true;
    }

    /// Throws away what the last reader left if it is of no use to the next one, or keeps it for a while.
    pub(super) fn forget_left(&mut self, ring: &mut Ring) {
        if !std::mem::take(&mut self.left) || !self.is_empty() {
            return;
        }
        match self.unread {
            Some(_) => self.keep_left(ring),
            None if self.policy.forgets => self.forget(ring),
            None => {}
        }
    }

    /// Nobody reads any more: what the ring has waits for the next reader.
    fn keep_left(&mut self, ring: &mut Ring) {
        self.kept = false;
        let passed = self.fifo_place.at;
        let now = Instant::now();
        while let Some((number, transfer)) = ring.pop_numbered() {
            if number >= passed {
                self.keep(transfer.received(), now);
            }
        }
    }

    /// Nobody reads: keeps what the device has sent.
    pub(super) fn keep_arrived(&mut self, ring: &mut Ring, spare: &mut Vec<crate::usb::Transfer>) {
        let Some(unread) = self.unread.as_mut().filter(|_| !ring.is_empty()) else { return };
        let now = Instant::now();
        while let Some(transfer) = ring.pop() {
            self.counters.add_discarded(unread.arrive(transfer.received(), now));
            spare.push(transfer);
        }
    }

    /// Whether nothing more is to be asked of the device while nobody reads.
    pub(super) fn is_unread_full(&self) -> bool {
        self.unread.as_ref().is_some_and(Unread::is_full)
    }

    /// Takes back what programs left in the FIFO when that ended.
    pub(super) fn take_back_ended(&mut self) {
        let Some(then) = self.ended.take().filter(|_| self.unread.is_some()) else { return };
        if let Some(fifo) = self.fifo.as_mut().filter(|fifo| !fifo.is_open()) {
            let bytes = fifo.take_back();
            self.keep(&bytes, then);
        }
    }

    fn keep(&mut self, bytes: &[u8], then: Instant) {
        if let Some(unread) = &mut self.unread {
            self.counters.add_discarded(unread.add(bytes, then));
        }
    }

    fn take_unread(&mut self) -> Option<crate::usb::Transfer> {
        let (transfer, dropped) = self.unread.as_mut()?.take(Instant::now());
        self.counters.add_discarded(dropped);
        transfer
    }

    /// The ring begins anew at 0.
    pub(super) fn restart(&mut self) {
        self.fifo_place.join(0);
        self.kept = false;
        self.clients.iter_mut().for_each(|client| client.place.join(0));
    }

    /// Throws away what nobody who is there will take: what waits for the FIFO's next reader, and what is in the FIFO.
    pub(super) fn forget(&mut self, ring: &mut Ring) {
        let unread = self.fifo.as_mut().map_or(0, StandingSink::discard);
        let waiting = self.discard(ring);
        self.counters.add_discarded(unread + waiting);
    }

    /// A pump starts, with `limit` transfers of memory: looks who is there.
    pub(super) fn start(&mut self, ring: &mut Ring, limit: usize) {
        self.take_back_ended();
        self.look_anew(ring);
        if self.kept && !self.present && !self.clients.is_empty() {
            self.kept = false;
            let discarded = self.fifo_place.take_all(ring, limit);
            self.counters.add_discarded(discarded);
        }
        self.seat(ring);
    }

    /// A pump starts to read for nobody: looks whether that is so, and keeps what the last reader has left.
    pub(super) fn start_keeping(&mut self, ring: &mut Ring) {
        self.take_back_ended();
        self.look_anew(ring);
        if self.is_empty() {
            self.keep_left(ring);
        }
    }

    /// Asks the FIFO itself who is there.
    fn look_anew(&mut self, ring: &Ring) {
        let is_open = self.fifo.as_ref().is_some_and(StandingSink::is_open);
        match (self.present, is_open) {
            (false, true) => self.fifo_came(ring),
            (true, false) => self.fifo_left(ring),
            _ => {}
        }
    }

    /// Whoever is new begins with the next whole transfer.
    fn seat(&mut self, ring: &Ring) {
        let Some(first) = self.clients.iter().position(|client| !client.seated) else { return };
        let is_alone = !self.present && first == 0;
        for client in self.clients.iter_mut().filter(|client| !client.seated) {
            client.seated = true;
            client.place.join(ring.end());
        }
        if is_alone && let Some(unread) = self.take_unread() {
            self.clients[first].place.give(unread);
        }
    }

    /// A pump has ended: what is left waits for the FIFO's next reader, or for those who are still there.
    pub(super) fn settle(&mut self, ring: &mut Ring) {
        self.let_go();
        self.left = false;
        self.fifo_place.release();
        self.clients.iter_mut().for_each(|client| client.place.release());
        if !self.is_empty() {
            return;
        }
        if self.unread.is_some() {
            self.keep_left(ring);
        } else if self.kept {
            // The next reader begins where the last one ended.
        } else if self.fifo.is_some() {
            self.fifo_place.at = self.fifo_place.at.max(ring.first());
            self.kept = true;
        } else {
            self.counters.add_discarded(ring.clear());
        }
    }

    /// Whether nobody reads, as far as is known.
    pub(super) fn is_empty(&self) -> bool {
        !self.present && self.clients.is_empty()
    }

    /// Whether nothing waits for anybody who is there.
    pub(super) fn are_done(&self, ring: &Ring) -> bool {
        (!self.present || self.fifo_place.is_done(ring)) && self.clients.iter().all(|c| c.place.is_done(ring))
    }

    /// Throws away what waits for the FIFO's next reader; says how many bytes that were.
    pub(super) fn discard(&mut self, ring: &mut Ring) -> usize {
        let discarded = self.fifo_place.forget(ring.end()) + ring.clear();
        self.kept = false;
        self.clients.iter_mut().for_each(|client| client.place.at = ring.end());
        discarded
    }

    /// Takes note of programs that have the FIFO open of which no event has come yet. It asks the system only where nobody is
    /// known to read the FIFO.
    pub(super) fn look(&mut self, ring: &Ring) {
        if !self.present && self.fifo.as_ref().is_some_and(StandingSink::is_open) {
            self.fifo_came(ring);
        }
    }

    /// Takes note of who comes and who goes.
    pub(super) fn poll_people(&mut self, cx: &mut Context<'_>, ring: &Ring) {
        self.poll_changes(cx, ring);
        self.seat(ring);
    }

    fn poll_changes(&mut self, cx: &mut Context<'_>, ring: &Ring) {
        while let Poll::Ready(Some(new)) = self.arrivals.poll_recv(cx) {
            self.clients.push(Client::new(new));
        }
        let before = self.clients.len();
        self.clients.retain_mut(|client| client.new.sink.poll_closed(cx).is_pending());
        self.left |= self.clients.len() < before;
        while let Some(fifo) = &mut self.fifo {
            match self.present {
                true if fifo.poll_closed(cx).is_ready() => self.fifo_left(ring),
                false if fifo.poll_came(cx).is_ready() => self.fifo_came(ring),
                _ => return,
            }
        }
    }

    fn fifo_came(&mut self, ring: &Ring) {
        if !std::mem::take(&mut self.kept) {
            self.fifo_place.join(ring.end());
        }
        if let Some(unread) = self.take_unread() {
            self.fifo_place.give(unread);
        }
        self.present = true;
        self.fifo_account.begin();
    }

    fn fifo_left(&mut self, ring: &Ring) {
        self.present = false;
        self.left = true;
        self.fifo_account.end();
        self.fifo_place.catch_up();
        let Some(fifo) = &mut self.fifo else { return };
        fifo.rest();
        let mut discarded = 0;
        if let Some(unread) = &mut self.unread {
            let (bytes, now) = (fifo.take_back(), Instant::now());
            discarded += unread.add(&bytes, now);
            self.fifo_place.take_begun(ring, |bytes| discarded += unread.add(bytes, now));
            if self.clients.is_empty() {
                // Another one may come before anybody has looked.
                self.kept = true;
            } else {
                discarded += self.fifo_place.leave(ring);
            }
        } else if self.clients.is_empty() {
            self.kept = true;
        } else {
            discarded += self.fifo_place.leave(ring);
            if self.policy.forgets {
                discarded += self.fifo_place.forget(ring.end()) + fifo.discard();
            }
        }
        self.counters.add_discarded(discarded);
    }

    /// Has each reader write until its sink is full. Clients whose end fails are dropped, readers of the FIFO count as
    /// gone.
    ///
    /// # Errors
    /// When the FIFO itself fails.
    pub(super) fn write(
        &mut self,
        ring: &Ring,
        mut write: impl FnMut(&mut Place, &mut dyn Sink, &Account) -> io::Result<()>,
    ) -> io::Result<()> {
        if let (true, Some(fifo)) = (self.present, &mut self.fifo) {
            match write(&mut self.fifo_place, fifo, &self.fifo_account) {
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => self.fifo_left(ring),
                result => result?,
            }
        }
        let before = self.clients.len();
        self.clients.retain_mut(|Client { place, new, .. }| {
            let result = write(place, &mut *new.sink, &new.account);
            if let Err(e) = &result
                && e.kind() != io::ErrorKind::BrokenPipe
            {
                new.guest.failed(e);
            }
            result.is_ok()
        });
        self.left |= self.clients.len() < before;
        Ok(())
    }

    /// The number of the oldest transfer that must stay for somebody.
    pub(super) fn oldest_needed(&mut self, ring: &Ring) -> u64 {
        let waiting = (self.present || self.kept).then_some(&self.fifo_place);
        let places = waiting.into_iter().chain(self.clients.iter().map(|client| &client.place));
        let needed = places.filter(|place| place.is_keeping_up()).map(|place| place.at).min();
        needed.unwrap_or_else(|| {
            // Those who are left are behind, and hold up nobody any more.
            self.fifo_place.catch_up();
            self.clients.iter_mut().for_each(|client| client.place.catch_up());
            ring.first()
        })
    }

    /// Takes the oldest transfer out of the ring; who has not passed it loses it.
    pub(super) fn pop(&mut self, ring: &mut Ring) -> Option<crate::usb::Transfer> {
        let number = ring.first();
        let transfer = ring.pop()?;
        if self.present {
            self.fifo_place.pass(number, &transfer, &self.fifo_account, &self.counters);
        }
        for Client { place, new, .. } in &mut self.clients {
            place.pass(number, &transfer, &new.account, &self.counters);
        }
        Some(transfer)
    }

    /// As [`Readers::pop`], for transfers that are lost packet by packet.
    pub(super) fn pass_packets(&mut self, mut pass: impl FnMut(&mut Place, &Account)) {
        if self.present {
            pass(&mut self.fifo_place, &self.fifo_account);
        }
        for Client { place, new, .. } in &mut self.clients {
            pass(place, &new.account);
        }
    }

    /// The ring is full and nothing more can be asked of the device. Ready when somebody was left behind for it.
    pub(super) fn poll_patience(&mut self, cx: &mut Context<'_>, ring: &Ring) -> Poll<()> {
        let Some(limit) = self.patience() else { return Poll::Pending };
        loop {
            if !self.somebody_waits(ring) {
                self.let_go();
                return Poll::Pending;
            }
            let now = Instant::now();
            let since_last = self.since.replace(now).map_or(Duration::ZERO, |then| now.duration_since(then));
            let standing = self.present.then_some(&mut self.fifo_place);
            let places = standing.into_iter().chain(self.clients.iter_mut().map(|client| &mut client.place));
            let (mut left_behind, mut next) = (false, None::<Duration>);
            for place in places {
                match place.hold(ring, now, since_last, limit) {
                    Some(Duration::ZERO) => {
                        place.fall_behind(ring);
                        left_behind = true;
                    }
                    Some(rest) => next = Some(next.map_or(rest, |next| next.min(rest))),
                    None => {}
                }
            }
            if left_behind {
                return Poll::Ready(());
            }
            let Some(next) = next else { return Poll::Pending };
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(next)));
            timer.as_mut().reset((now + next).into());
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Whether anybody is done and would take more.
    fn somebody_waits(&self, ring: &Ring) -> bool {
        (self.present && self.fifo_place.is_done(ring)) || self.clients.iter().any(|c| c.place.is_done(ring))
    }

    /// More can be asked of the device: nobody holds anybody up.
    pub(super) fn let_go(&mut self) {
        let Some(since) = self.since.take() else { return };
        let passed = since.elapsed();
        self.fifo_place.let_go(passed);
        self.clients.iter_mut().for_each(|client| client.place.let_go(passed));
    }

    /// How long the last ones may take to get what waits, when others wait for them.
    pub(super) fn last_patience(&self) -> Option<Duration> {
        let readers = self.clients.len() + usize::from(self.present);
        self.patience().filter(|_| readers > 1)
    }

    fn patience(&self) -> Option<Duration> {
        self.unread.as_ref().map_or(self.policy.patience, |unread| unread.policy().patience())
    }

    /// Ends the connections of all clients; what they did not get they lose.
    pub(super) fn cut(&mut self, ring: &Ring) {
        for Client { place, new, .. } in self.clients.drain(..) {
            let (transfers, bytes) = place.unread(ring);
            new.account.lost_transfers(transfers, bytes);
            self.counters.add_lost_bytes(bytes);
        }
    }

    /// Ends the connections of clients that have got everything; says whether anybody is left who has not.
    pub(super) fn dismiss_done(&mut self, ring: &Ring) -> bool {
        self.clients.retain(|client| !client.place.is_done(ring));
        !self.are_done(ring)
    }
}

#[cfg(test)]
mod tests;
