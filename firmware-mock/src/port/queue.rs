//! Transfers that wait for their endpoint, and completions that wait for their time.
//!
//! One job: keep an endpoint's transfers in order until each has its completion. It refuses to lose IN data: a
//! completion belongs to the endpoint, not to a transfer, until it is released.
//!
//! ```text
//!  submit ──▶ urbs: [ held | held | next to be served | … ]        held[i] is the completion of urbs[i]
//!                     │ its time has come
//!                     ▼
//!                   reply            unlink of an IN transfer: urbs move up, held completions stay
//! ```

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Instant;

use usbip_wire::{Direction, IsoPacket, RetSubmit, Submit, flags, status};

use super::iso::Stream;
use crate::function::{Payload, Setup};
use crate::outbox::Outbox;

/// A transfer of the host.
pub(super) struct Urb<'a> {
    pub(super) seqnum: u32,
    pub(super) direction: Direction,
    pub(super) length: u32,
    pub(super) flags: u32,
    pub(super) setup: Setup,
    /// OUT data, and how much of it the device has taken.
    pub(super) data: Cow<'a, [u8]>,
    pub(super) taken: usize,
    pub(super) packets: Vec<IsoPacket>,
    /// Isochronous packets whose frame has passed.
    pub(super) served: usize,
    pub(super) start_frame: u32,
    /// Isochronous IN data so far.
    pub(super) received: Vec<u8>,
    cost: usize,
    plain: bool,
}

/// How a transfer ended.
pub(super) struct Completion {
    pub(super) status: i32,
    /// Bytes taken, for OUT.
    pub(super) taken: usize,
    pub(super) payload: Payload,
    pub(super) packets: Vec<IsoPacket>,
    pub(super) start_frame: u32,
}

/// The transfers of one endpoint.
#[derive(Default)]
pub(super) struct Queue {
    urbs: VecDeque<Urb<'static>>,
    held: VecDeque<(Instant, Completion)>,
    pub(super) stream: Stream,
}

impl<'a> Urb<'a> {
    pub(super) fn new(submit: &Submit, data: &'a [u8], packets: Vec<IsoPacket>) -> Self {
        Self {
            cost: data.len() + packets.len() * PACKET_COST,
            plain: packets.is_empty() && submit.endpoint & 0x0f != 0,
            seqnum: submit.seqnum,
            direction: submit.direction,
            length: submit.length,
            flags: submit.flags,
            setup: Setup::decode(submit.setup),
            data: Cow::Borrowed(data),
            taken: 0,
            packets,
            served: 0,
            start_frame: 0,
            received: Vec::new(),
        }
    }

    /// Memory it holds while it waits.
    pub(super) fn cost(&self) -> usize {
        self.cost
    }

    /// Whether it is neither a control nor an isochronous transfer, and so has no time of its own.
    pub(super) fn is_plain(&self) -> bool {
        self.plain
    }

    fn into_owned(self) -> Urb<'static> {
        Urb { data: Cow::Owned(self.data.into_owned()), ..self }
    }

    /// Sends the reply; what does not fit an IN transfer is given back.
    pub(super) fn finish(&self, completion: &mut Completion, out: &mut Outbox) {
        let payload = match self.direction {
            Direction::In if completion.packets.is_empty() => completion.payload.split_front(self.length as usize),
            Direction::In => std::mem::replace(&mut completion.payload, Payload::EMPTY),
            Direction::Out => {
                completion.payload = Payload::EMPTY;
                Payload::EMPTY
            }
        };
        let actual = if self.direction == Direction::In { payload.len() } else { completion.taken };
        let short = self.flags & flags::SHORT_NOT_OK != 0 && (actual as u64) < self.length.into();
        let reply = RetSubmit {
            seqnum: self.seqnum,
            status: if short && completion.status == status::OK { status::EREMOTEIO } else { completion.status },
            actual_length: actual as u32,
            start_frame: completion.start_frame,
            // Linux copies this number into its transfer whatever the kind, and its own server says 0, not -1.
            packets: Some(completion.packets.len() as u32),
            error_count: completion.packets.iter().filter(|packet| packet.status != status::OK).count() as u32,
        };
        out.submit_reply(reply, payload, &completion.packets);
    }
}

impl Completion {
    pub(super) fn status(status: i32) -> Self {
        Self { status, taken: 0, payload: Payload::EMPTY, packets: Vec::new(), start_frame: 0 }
    }

    pub(super) fn taken(taken: usize, status: i32) -> Self {
        Self { taken, ..Self::status(status) }
    }

    pub(super) fn payload(payload: Payload) -> Self {
        Self { payload, ..Self::status(status::OK) }
    }
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.urbs.is_empty()
    }

    /// Whether a transfer may be served without passing another, or a completion, by.
    pub(super) fn is_idle(&self) -> bool {
        self.urbs.is_empty() && self.held.is_empty()
    }

    pub(super) fn has_held(&self) -> bool {
        !self.held.is_empty()
    }

    pub(super) fn push(&mut self, urb: Urb<'_>) {
        self.urbs.push_back(urb.into_owned());
    }

    /// The first transfer without a completion, and the endpoint's stream.
    pub(super) fn next(&mut self) -> Option<(&mut Urb<'static>, &mut Stream)> {
        Some((self.urbs.get_mut(self.held.len())?, &mut self.stream))
    }

    /// Isochronous packets that the next transfer still waits for.
    pub(super) fn unserved_packets(&self) -> Option<usize> {
        let urb = self.urbs.get(self.held.len())?;
        (!urb.packets.is_empty()).then(|| urb.packets.len() - urb.served)
    }

    /// Whether every transfer has its completion.
    pub(super) fn all_held(&self) -> bool {
        self.held.len() >= self.urbs.len()
    }

    /// Keeps a completion until `at`, but not shorter than those before it.
    pub(super) fn hold(&mut self, at: Instant, completion: Completion) {
        let at = self.held.back().map_or(at, |(before, _)| at.max(*before));
        self.held.push_back((at, completion));
    }

    /// Sends the replies whose time has come; answers the memory that was freed and how many they were.
    pub(super) fn release(&mut self, now: Instant, out: &mut Outbox) -> (usize, usize) {
        let (mut freed, mut count) = (0, 0);
        while let Some((at, completion)) = self.held.front_mut()
            && *at <= now
            && let Some(urb) = self.urbs.pop_front()
        {
            urb.finish(completion, out);
            freed += urb.cost();
            count += 1;
            if completion.payload.len() == 0 {
                self.held.pop_front();
            }
        }
        (freed, count)
    }

    /// When the next reply is due.
    pub(super) fn release_at(&self) -> Option<Instant> {
        self.held.front().filter(|_| !self.urbs.is_empty()).map(|(at, _)| *at)
    }

    /// Takes a transfer out; `tied` says that its completion goes with it. Answers its memory.
    pub(super) fn remove(&mut self, seqnum: u32, tied: bool) -> Option<usize> {
        let index = self.urbs.iter().position(|urb| urb.seqnum == seqnum)?;
        let urb = self.urbs.remove(index)?;
        if tied {
            self.held.remove(index);
        }
        Some(urb.cost())
    }

    /// Drops the transfers; completions stay unless they are `tied`.
    pub(super) fn drop_transfers(&mut self, tied: bool) {
        self.urbs.clear();
        self.stream = Stream::default();
        if tied {
            self.held.clear();
        }
    }
}

/// A descriptor, and what a high-speed packet may bring.
const PACKET_COST: usize = size_of::<IsoPacket>() + 1024;
