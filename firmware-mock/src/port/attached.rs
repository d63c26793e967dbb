//! A device on its port: what one turn on an endpoint does.
//!
//! One job: carry a transfer as far as it goes now. It refuses to know queues and the order of replies.

use std::time::{Duration, Instant};

use usbip_wire::{Direction, flags, status};

use super::info::{Endpoint, Info};
use super::iso::{FrameClock, Stream};
use super::queue::{Completion, Urb};
use crate::function::{Control, Function, InStep, OutStep, Payload, Setup};

/// The device, and what the host knows and does to it.
pub(super) struct Attached {
    pub(super) function: Box<dyn Function>,
    pub(super) info: Info,
    pub(super) clock: FrameClock,
    /// The fault `short`: the most bytes of an IN transfer, by endpoint index; 0 is no limit.
    pub(super) short: [u32; 32],
    /// The fault `babble`: IN transfers still to end so, by endpoint index.
    pub(super) babbles: [u32; 32],
    /// The fault `stall` on endpoint 0: requests still to be refused.
    pub(super) refusals: u32,
    settings: [u8; 256],
    /// Settings were selected: streams begin anew.
    pub(super) rearranged: bool,
}

/// How far a transfer came.
pub(super) enum Step {
    /// It ended; its reply may go after this time.
    Done(Completion, Duration),
    /// It went on, and has to wait for more.
    Progress,
    /// Nothing happened.
    Nak,
}

impl Attached {
    pub(super) fn new(mut function: Box<dyn Function>, now: Instant) -> Self {
        let info = Info::enumerate(&mut *function, now);
        Self {
            function,
            info,
            clock: FrameClock::new(now),
            short: [0; 32],
            babbles: [0; 32],
            refusals: 0,
            settings: [0; 256],
            rearranged: false,
        }
    }

    /// Enumerates the device anew after it was powered.
    pub(super) fn enumerate(&mut self, now: Instant) {
        self.info = Info::enumerate(&mut *self.function, now);
        self.settings = [0; 256];
    }

    /// The endpoint in the active settings.
    pub(super) fn endpoint(&self, address: u8) -> Option<Endpoint> {
        let active = |e: &&Endpoint| e.address == address && self.settings[usize::from(e.interface)] == e.alt;
        self.info.endpoints.iter().find(active).copied()
    }

    /// Puts alternate settings and halts back to what a host finds after enumeration.
    pub(super) fn settle(&mut self, now: Instant) {
        for endpoint in self.info.endpoints.clone() {
            if self.function.halted(endpoint.address) {
                self.request(0x02, CLEAR_FEATURE, 0, endpoint.address.into(), now);
            }
            if self.settings[usize::from(endpoint.interface)] != 0 {
                self.request(0x01, SET_INTERFACE, 0, endpoint.interface.into(), now);
                self.settings[usize::from(endpoint.interface)] = 0;
            }
        }
    }

    fn request(&mut self, request_type: u8, request: u8, value: u16, index: u16, now: Instant) {
        self.function.control(Setup { request_type, request, value, index, length: 0 }, &[], now);
    }

    /// A control transfer.
    pub(super) fn control(&mut self, urb: &Urb<'_>, now: Instant) -> Step {
        let setup = urb.setup;
        let is_in = urb.direction == Direction::In;
        if setup.length > 0 && setup.is_in() != is_in || !is_in && urb.data.len() < setup.length.into() {
            return Step::done(Completion::status(status::EINVAL));
        }
        if self.refusals > 0 {
            self.refusals -= 1;
            return Step::done(Completion::status(status::EPIPE));
        }
        if (setup.request_type, setup.request, setup.value) == PORT_RESET {
            self.reset(now);
            return Step::done(Completion::status(status::OK));
        }
        let data = &urb.data[..if is_in { 0 } else { setup.length.into() }];
        match self.function.control(setup, data, now) {
            Control::Done(mut payload) => {
                self.note_settings(setup);
                payload.truncate(self.limit(0, u32::from(setup.length).min(urb.length)));
                Step::done(Completion { payload: Payload::Bytes(payload), ..Completion::taken(data.len(), status::OK) })
            }
            Control::Stall => Step::done(Completion::status(status::EPIPE)),
            Control::Nak => Step::Nak,
            Control::After(time) => Step::Done(Completion::taken(data.len(), status::OK), time),
        }
    }

    /// A bulk or interrupt transfer.
    pub(super) fn transfer(&mut self, index: usize, endpoint: Endpoint, urb: &mut Urb<'_>, now: Instant) -> Step {
        if self.function.halted(endpoint.address) {
            return Step::done(Completion::taken(urb.taken, status::EPIPE));
        }
        if urb.direction == Direction::In {
            if self.babbles[index] > 0 {
                self.babbles[index] -= 1;
                return Step::done(Completion::status(status::EOVERFLOW));
            }
            let max = self.limit(index, urb.length);
            return match self.function.read(endpoint.address, max, now) {
                InStep::Done(payload) => Step::done(Completion::payload(payload)),
                InStep::Nak => Step::Nak,
                InStep::Failed(status) => Step::done(Completion::status(status)),
            };
        }
        let asked = urb.flags & flags::ZERO_PACKET != 0 && urb.data.len().is_multiple_of(endpoint.max_packet);
        let zlp = asked || urb.data.is_empty();
        match self.function.out(endpoint.address, &urb.data[urb.taken..], zlp, now) {
            OutStep::Done => Step::done(Completion::taken(urb.data.len(), status::OK)),
            OutStep::Nak(0) => Step::Nak,
            OutStep::Nak(taken) => {
                urb.taken += taken;
                Step::Progress
            }
            OutStep::Halt(taken) => Step::done(Completion::taken(urb.taken + taken, status::EPIPE)),
        }
    }

    /// Serves the packets of an isochronous transfer whose frames have passed.
    pub(super) fn iso(
        &mut self,
        index: usize,
        endpoint: Endpoint,
        urb: &mut Urb<'_>,
        stream: &mut Stream,
        now: Instant,
    ) -> Step {
        while urb.served < urb.packets.len() {
            let Some(frame) = stream.serve(self.clock, now) else { return Step::Nak };
            if urb.served == 0 {
                urb.start_frame = (frame & FRAME_NUMBER) as u32;
            }
            match urb.direction {
                Direction::In => self.packet_in(index, urb),
                Direction::Out => self.packet_out(endpoint, urb),
            }
            urb.served += 1;
        }
        let packets = std::mem::take(&mut urb.packets);
        let taken = packets.iter().map(|packet| packet.actual_length as usize).sum();
        let payload = Payload::Bytes(std::mem::take(&mut urb.received));
        let start_frame = urb.start_frame;
        Step::done(Completion { payload, packets, start_frame, ..Completion::taken(taken, status::OK) })
    }

    fn packet_in(&mut self, index: usize, urb: &mut Urb<'_>) {
        let before = urb.received.len();
        self.function.iso_in(&mut urb.received);
        let packet = &mut urb.packets[urb.served];
        if (packet.length as usize) < urb.received.len() - before {
            packet.status = status::EOVERFLOW;
            urb.received.truncate(before);
        } else if self.short[index] > 0 {
            urb.received.truncate(before + self.short[index] as usize);
        }
        packet.actual_length = (urb.received.len() - before) as u32;
    }

    fn packet_out(&mut self, endpoint: Endpoint, urb: &mut Urb<'_>) {
        let packet = &mut urb.packets[urb.served];
        let from = packet.offset as usize;
        let data = from.checked_add(packet.length as usize).and_then(|end| urb.data.get(from..end));
        match data {
            Some(data) if data.len() <= endpoint.max_packet => {
                self.function.iso_out(data);
                packet.actual_length = packet.length;
            }
            Some(_) => packet.status = status::EOVERFLOW,
            None => packet.status = status::EINVAL,
        }
    }

    /// The reset of the port, after which a USB/IP client expects a configured device.
    fn reset(&mut self, now: Instant) {
        self.function.bus_reset(now);
        self.info.configure(&mut *self.function, now);
        self.settings = [0; 256];
        self.rearranged = true;
    }

    /// Keeps track of what a successful request changed.
    fn note_settings(&mut self, setup: Setup) {
        match (setup.request_type, setup.request) {
            (0x01, SET_INTERFACE) => self.settings[usize::from(setup.index as u8)] = setup.value as u8,
            (0x00, SET_CONFIGURATION) => self.settings = [0; 256],
            _ => return,
        }
        self.rearranged = true;
    }

    fn limit(&self, index: usize, length: u32) -> usize {
        let limit = if self.short[index] > 0 { length.min(self.short[index]) } else { length };
        limit as usize
    }
}

impl Step {
    pub(super) fn done(completion: Completion) -> Self {
        Self::Done(completion, Duration::ZERO)
    }
}

/// SET_FEATURE(PORT_RESET) to a hub's port (USB 2.0 section 11.24.2): how USB/IP clients ask for a device reset.
const PORT_RESET: (u8, u8, u16) = (0x23, 3, 4);
const CLEAR_FEATURE: u8 = 1;
const SET_CONFIGURATION: u8 = 9;
const SET_INTERFACE: u8 = 11;
/// Frame numbers have 11 bits (USB 2.0 section 8.4.3).
const FRAME_NUMBER: u64 = 0x7ff;
