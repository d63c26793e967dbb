//! Devices with descriptors and answers out of a table: odd ones, each modelled on a report from the field.
//!
//! One job: carry out the rules of `table` as a `Function`. It refuses to be clever: what the table does not say is
//! refused on endpoint 0, and elsewhere never sent, or taken.

mod endpoint;
mod hex;
mod table;

use std::time::Instant;

use usbip_wire::Speed;

use self::endpoint::{Sender, take};
pub use self::hex::Hex;
pub use self::table::{Case, Odd, OddDevice, Step};
use crate::function::{Cause, Control, Function, InStep, OutStep, Setup};
use crate::port::info::{Endpoint, endpoints_of, settings_of};

/// A device of the table, plugged in.
pub(crate) struct OddFunction {
    entry: &'static OddDevice,
    endpoints: Vec<Endpoint>,
    senders: Vec<(u8, Sender)>,
    configuration: u8,
    settings: [u8; 256],
    /// One bit an endpoint, see [`bit`].
    halted: u32,
    /// The setup packets of class requests, one after the other, for those who want to know what was asked.
    class_requests: Vec<u8>,
}

impl OddFunction {
    pub(crate) fn new(odd: Odd) -> Self {
        let entry = odd.device();
        let endpoints = endpoints_of(&entry.configuration.0);
        let packet = |address| endpoints.iter().find(|e| e.address == address).map_or(0, |e| e.wire_packet);
        let rules = entry.endpoint.iter().filter(|rules| rules.address & 0x80 != 0);
        let senders = rules.map(|rules| (rules.address, Sender::new(rules, packet(rules.address)))).collect();
        Self { entry, endpoints, senders, configuration: 0, settings: [0; 256], halted: 0, class_requests: Vec::new() }
    }

    fn sender(&mut self, address: u8) -> Option<&mut Sender> {
        self.senders.iter_mut().find(|(known, _)| *known == address).map(|(_, sender)| sender)
    }

    /// What the rules say of this request; `None` where they say nothing.
    fn ruled(&self, setup: Setup) -> Option<Control> {
        let (rules, bytes) = (&self.entry.control, setup.encode());
        let begins = |prefix: &Hex| bytes.starts_with(&prefix.0);
        if rules.silent.iter().any(begins) {
            return Some(Control::Nak);
        }
        let is_too_long = setup.is_in() && rules.most.is_some_and(|most| setup.length > most);
        if is_too_long || rules.refuses.iter().any(begins) {
            return Some(Control::Stall);
        }
        let answer = rules.answers.iter().find(|answer| begins(&answer.setup))?;
        Some(self.answer(setup, &answer.data.0))
    }

    /// The IN data stage, as far as it was asked for.
    fn answer(&self, setup: Setup, data: &[u8]) -> Control {
        let wanted = usize::from(setup.length);
        let is_open = data.len() < wanted && data.len().is_multiple_of(self.entry.control_packet());
        if is_open && !data.is_empty() && self.entry.control.no_zlp {
            return Control::Nak;
        }
        Control::Done(data[..data.len().min(wanted)].to_vec())
    }

    fn standard(&mut self, setup: Setup) -> Control {
        let [low, _] = setup.index.to_le_bytes();
        match (setup.request_type, setup.request, setup.value) {
            (0x80 | 0x81, GET_STATUS, 0) => Control::Done(vec![0, 0]),
            (0x82, GET_STATUS, 0) => Control::Done(vec![self.halted(low).into(), 0]),
            (0x02, CLEAR_FEATURE, ENDPOINT_HALT) => {
                self.halted &= !bit(low);
                DONE
            }
            (0x02, SET_FEATURE, ENDPOINT_HALT) => {
                self.halt(low);
                DONE
            }
            (0x00, SET_ADDRESS, 0..=127) => DONE,
            (0x80, GET_DESCRIPTOR, value) => match self.entry.descriptor(value) {
                Some(descriptor) => self.answer(setup, descriptor),
                None => Control::Stall,
            },
            (0x80, GET_CONFIGURATION, 0) => Control::Done(vec![self.configuration]),
            (0x00, SET_CONFIGURATION, value @ 0..=255) => {
                (self.configuration, self.settings, self.halted) = (value as u8, [0; 256], 0);
                DONE
            }
            (0x81, GET_INTERFACE, 0) => Control::Done(vec![self.settings[usize::from(low)]]),
            (0x01, SET_INTERFACE, alt @ 0..=255) if self.has_setting(low, alt as u8) => {
                self.settings[usize::from(low)] = alt as u8;
                DONE
            }
            _ => Control::Stall,
        }
    }

    fn class(&mut self, setup: Setup) -> Control {
        if self.class_requests.len() < MOST_CLASS_REQUESTS {
            self.class_requests.extend(setup.encode());
        }
        match (setup.request_type, setup.request) {
            (0xa1, GET_LINE_CODING) => self.answer(setup, &LINE_CODING),
            _ if setup.is_in() => Control::Stall,
            _ => DONE,
        }
    }

    fn has_setting(&self, interface: u8, alt: u8) -> bool {
        settings_of(&self.entry.configuration.0).contains(&(interface, alt))
    }
}

impl Function for OddFunction {
    fn speed(&self) -> Speed {
        self.entry.speed()
    }

    fn power_up(&mut self, _at: Instant, _cause: Cause) {
        if let Some(odd) = Odd::find(&self.entry.name) {
            *self = Self::new(odd);
        }
    }

    fn bus_reset(&mut self, _now: Instant) {
        (self.configuration, self.settings, self.halted) = (0, [0; 256], 0);
    }

    fn control(&mut self, setup: Setup, _data: &[u8], _now: Instant) -> Control {
        if let Some(ruled) = self.ruled(setup) {
            return ruled;
        }
        match (setup.request_type & 0x60, setup.request_type, setup.request) {
            (0x00, ..) => self.standard(setup),
            (0x20, ..) => self.class(setup),
            (_, 0xc0, CLASS_REQUESTS) => self.answer(setup, &self.class_requests),
            _ => Control::Stall,
        }
    }

    fn out(&mut self, endpoint: u8, data: &[u8], zlp: bool, _now: Instant) -> OutStep {
        let Some(rules) = self.entry.endpoint.iter().find(|rules| rules.address == endpoint) else {
            return OutStep::Done;
        };
        let step = take(rules, data, zlp, |to, message| {
            if let Some(sender) = self.sender(to) {
                sender.push(message);
            }
        });
        if let OutStep::Halt(_) = step {
            self.halt(endpoint);
        }
        step
    }

    fn read(&mut self, endpoint: u8, max: usize, now: Instant) -> InStep {
        self.sender(endpoint).map_or(InStep::Nak, |sender| sender.read(max, now))
    }

    fn iso_in(&mut self, buffer: &mut Vec<u8>) {
        let isochronous = self.endpoints.iter().filter(|e| e.isochronous).map(|e| e.address);
        if let Some(address) = isochronous.into_iter().find(|address| address & 0x80 != 0)
            && let Some(sender) = self.sender(address)
        {
            sender.iso(buffer);
        }
    }

    fn halted(&self, endpoint: u8) -> bool {
        self.halted & bit(endpoint) != 0
    }

    fn halt(&mut self, endpoint: u8) {
        self.halted |= bit(endpoint);
    }

    fn deadline(&self) -> Option<Instant> {
        self.senders.iter().filter_map(|(_, sender)| sender.deadline()).min()
    }
}

/// The endpoint's bit in a u32: OUT endpoints low, IN endpoints high.
fn bit(endpoint: u8) -> u32 {
    1 << ((endpoint & 0x0f) | (endpoint & 0x80) >> 3)
}

const DONE: Control = Control::Done(Vec::new());
/// `in 0xc0 0x0d 0 0 512`: the setup packets of class requests so far.
const CLASS_REQUESTS: u8 = 0x0d;
const MOST_CLASS_REQUESTS: usize = 512;
/// 115200 8N1.
const LINE_CODING: [u8; 7] = [0x00, 0xc2, 0x01, 0x00, 0, 0, 8];
const GET_LINE_CODING: u8 = 0x21;
const GET_STATUS: u8 = 0;
const CLEAR_FEATURE: u8 = 1;
const SET_FEATURE: u8 = 3;
const SET_ADDRESS: u8 = 5;
const GET_DESCRIPTOR: u8 = 6;
const GET_CONFIGURATION: u8 = 8;
const SET_CONFIGURATION: u8 = 9;
const GET_INTERFACE: u8 = 10;
const SET_INTERFACE: u8 = 11;
const ENDPOINT_HALT: u16 = 0;
