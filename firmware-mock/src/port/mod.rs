//! Hot path. A simulated root port: the host controller's side of one device.
//!
//! One job: turn submits and unlinks into replies, in the order of each endpoint. It refuses to do I/O and to
//! wait: whoever holds it calls [`Port::service`] when something came or [`Port::deadline`] has passed.
//!
//! ```text
//!              unplug, or the device leaves                     its time has passed
//!   present ───────────────────────────────▶ away (no transfers) ──────────────────▶ present, powered anew
//!      │ cut                                                                            generation + 1
//!      └──▶ present, generation + 1: whoever holds the port must let go
//! ```
//!
//! The happy path: a submit finds its endpoint idle, the device takes or gives the data at once, and the reply is
//! in the outbox before the next request is looked at.

mod attached;
mod command;
pub(crate) mod info;
mod iso;
mod presence;
mod queue;

use std::time::{Duration, Instant};

use usbip_wire::{DeviceRecord, Direction, ISO_PACKET_LEN, InterfaceRecord, IsoPacket, Submit, status};

use self::attached::{Attached, Step};
use self::iso::Stream;
pub(crate) use self::presence::Absence;
use self::presence::Presence;
use self::queue::{Completion, Queue, Urb};
use crate::fault::Lie;
use crate::function::Function;
use crate::outbox::Outbox;

/// A port with its device, which may be away.
pub(crate) struct Port {
    device: Attached,
    presence: Presence,
    generation: u64,
    barred_until: Option<Instant>,
    queues: [Queue; 32],
    /// One bit per queue that is not empty.
    pending: u32,
    /// Memory of the waiting transfers, and how many they are.
    waiting_bytes: usize,
    waiting: usize,
    /// The fault `delay`, by endpoint index.
    delay: [Duration; 32],
    lies: Vec<Lie>,
}

/// The host asked for more than a port can hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMuch;

impl Port {
    /// A port with a device just plugged in.
    pub(crate) fn new(function: Box<dyn Function>, now: Instant) -> Self {
        Self {
            device: Attached::new(function, now),
            presence: Presence::Present,
            generation: 0,
            barred_until: None,
            queues: Default::default(),
            pending: 0,
            waiting_bytes: 0,
            waiting: 0,
            delay: [Duration::ZERO; 32],
            lies: Vec::new(),
        }
    }

    /// The device's record and its interfaces.
    pub(crate) fn record(&self, busid: &str, devnum: u32) -> (DeviceRecord, Vec<InterfaceRecord>) {
        (self.device.info.record(busid, devnum), self.device.info.interfaces.clone())
    }

    /// Starts a transfer: `data` is what an OUT transfer sends, `packets` the isochronous descriptors as they came.
    ///
    /// # Errors
    /// [`TooMuch`] when more would have to wait than a port can hold.
    pub(crate) fn submit(
        &mut self,
        submit: &Submit,
        data: &[u8],
        packets: &[u8],
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), TooMuch> {
        self.catch_up(now, out);
        let index = index(submit.direction, submit.endpoint);
        let packets = packets.as_chunks::<ISO_PACKET_LEN>().0.iter().map(IsoPacket::decode).map(fresh).collect();
        let mut urb = Urb::new(submit, data, packets);
        let queue = &mut self.queues[index];
        if urb.is_plain() && queue.is_idle() && self.delay[index].is_zero() {
            let step = turn(&mut self.device, index, &mut urb, &mut queue.stream, now);
            if let Step::Done(mut completion, _) = step {
                urb.finish(&mut completion, out);
                return Ok(());
            }
        }
        if self.waiting >= MAX_WAITING || self.waiting_bytes + urb.cost() > MAX_WAITING_BYTES {
            return Err(TooMuch);
        }
        if !urb.packets.is_empty() && queue.all_held() {
            self.begin_stream(index, now);
        }
        self.waiting += 1;
        self.waiting_bytes += urb.cost();
        self.pending |= 1 << index;
        self.queues[index].push(urb);
        self.serve(index, now, out);
        Ok(())
    }

    /// Cancels a transfer and answers the unlink.
    pub(crate) fn unlink(&mut self, seqnum: u32, victim: u32, now: Instant, out: &mut Outbox) {
        self.service(now, out);
        let found = indices(self.pending).find_map(|index| {
            let tied = self.completions_are_tied(index);
            let freed = self.queues[index].remove(victim, tied)?;
            Some((index, freed))
        });
        let Some((index, freed)) = found else { return out.unlink_reply(seqnum, status::OK) };
        self.account(index, freed, 1, now);
        out.unlink_reply(seqnum, status::ECONNRESET);
    }

    /// Carries every waiting transfer as far as it goes at `now`.
    pub(crate) fn service(&mut self, now: Instant, out: &mut Outbox) {
        self.catch_up(now, out);
        self.advance(now);
        // A transfer on one endpoint may be what another one waited for.
        while self.pending != 0 && self.pass(now, out) {}
        self.advance(now);
    }

    /// Lets the device do what was due before `now`, each at its time and with the transfers that waited for it then:
    /// what it says for a moment only is heard even where this machine is late.
    fn catch_up(&mut self, now: Instant, out: &mut Outbox) {
        let mut last = None;
        while self.present()
            && let Some(due) = self.device.function.deadline().filter(|&due| due <= now && Some(due) > last)
        {
            last = Some(due);
            self.advance(due);
            while self.pending != 0 && self.pass(due, out) {}
        }
    }

    /// When [`Port::service`] next has something to do although nobody asked.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        let own = self.device.function.deadline().filter(|&at| at > now);
        let mut earliest = own;
        for index in indices(self.pending) {
            let queue = &self.queues[index];
            let iso = queue.unserved_packets().map(|packets| queue.stream.served_at(self.device.clock, packets));
            for at in [queue.release_at(), iso].into_iter().flatten() {
                earliest = Some(earliest.map_or(at, |e| e.min(at)));
            }
        }
        earliest
    }

    /// Gives the lies told in advance to the connection that will tell them.
    pub(crate) fn take_lies(&mut self) -> Vec<Lie> {
        std::mem::take(&mut self.lies)
    }

    /// The connection has ended: its transfers are dropped, the device keeps its power and what it has to say.
    pub(crate) fn release(&mut self, now: Instant) {
        for index in 0..self.queues.len() {
            let tied = self.completions_are_tied(index);
            self.queues[index].drop_transfers(tied);
        }
        (self.pending, self.waiting, self.waiting_bytes) = (0, 0, 0);
        self.advance(now);
        if self.present() {
            self.device.settle(now);
        }
    }

    fn pass(&mut self, now: Instant, out: &mut Outbox) -> bool {
        let mut progress = false;
        for index in indices(self.pending) {
            progress |= self.serve(index, now, out);
        }
        progress
    }

    fn serve(&mut self, index: usize, now: Instant, out: &mut Outbox) -> bool {
        let mut progress = false;
        let queue = &mut self.queues[index];
        loop {
            // The next control request must not be carried out before the answer to the last one.
            let busy = index == 0 && queue.has_held();
            let Some((urb, stream)) = queue.next().filter(|_| !busy) else { break };
            match turn(&mut self.device, index, urb, stream, now) {
                Step::Done(completion, time) => queue.hold(now + time + self.delay[index], completion),
                Step::Progress => {
                    progress = true;
                    break;
                }
                Step::Nak => break,
            }
        }
        let (freed, count) = queue.release(now, out);
        self.account(index, freed, count, now);
        if std::mem::take(&mut self.device.rearranged) {
            self.queues.iter_mut().filter(|queue| queue.is_empty()).for_each(|queue| queue.stream = Stream::default());
        }
        progress || count > 0
    }

    /// Isochronous packets are queued on an endpoint that had none.
    fn begin_stream(&mut self, index: usize, now: Instant) {
        let lost = self.queues[index].stream.begin(self.device.clock, now);
        if lost > 0 {
            self.device.function.iso_gap(address(index), lost);
        }
    }

    /// After a change of the queue: transfers and memory that are gone.
    fn account(&mut self, index: usize, freed: usize, count: usize, now: Instant) {
        self.waiting -= count;
        self.waiting_bytes -= freed;
        let queue = &mut self.queues[index];
        if queue.is_empty() {
            self.pending &= !(1 << index);
        }
        if queue.all_held() {
            queue.stream.ran_out(now);
        }
    }

    /// Whether a completion can only ever answer the transfer it was made for.
    fn completions_are_tied(&self, index: usize) -> bool {
        index < 16 || self.device.endpoint(address(index)).is_some_and(|endpoint| endpoint.isochronous)
    }
}

/// One turn of a transfer on its endpoint.
fn turn(device: &mut Attached, index: usize, urb: &mut Urb<'_>, stream: &mut Stream, now: Instant) -> Step {
    if index == 0 {
        return device.control(urb, now);
    }
    let Some(endpoint) = device.endpoint(address(index)) else {
        // Nobody answers a token to an endpoint that does not exist.
        return Step::done(Completion::status(status::EPROTO));
    };
    match (endpoint.isochronous, urb.packets.is_empty()) {
        (false, true) => device.transfer(index, endpoint, urb, now),
        (true, false) => device.iso(index, endpoint, urb, stream, now),
        _ => Step::done(Completion::status(status::EINVAL)),
    }
}

/// A descriptor as it came may claim a result already.
fn fresh(packet: IsoPacket) -> IsoPacket {
    IsoPacket { actual_length: 0, status: status::OK, ..packet }
}

/// Endpoint 0 has one index for both directions; OUT endpoints come before IN endpoints.
fn index(direction: Direction, endpoint: u8) -> usize {
    match (direction, endpoint & 0x0f) {
        (_, 0) => 0,
        (Direction::Out, number) => number.into(),
        (Direction::In, number) => usize::from(number) + 16,
    }
}

/// The endpoint address of an index.
fn address(index: usize) -> u8 {
    ((index & 0x0f) | (index & 0x10) << 3) as u8
}

fn indices(mut bits: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let index = bits.trailing_zeros();
        bits &= bits.checked_sub(1)?;
        Some(index as usize)
    })
}

/// Transfers and bytes that may wait in one port: far more than any client queues.
const MAX_WAITING: usize = 16 * 1024;
const MAX_WAITING_BYTES: usize = 64 << 20;

#[cfg(test)]
mod tests;
