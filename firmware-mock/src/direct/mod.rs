//! Devices that are simulated directly, without a firmware stack: `zero`, `tone` and `regs`.
//!
//! One job: answer the standard requests (USB 2.0 section 9.4) for any such device and keep what they change:
//! configuration, alternate settings, halts. It refuses everything it does not know with a stall.
//!
//! ```text
//! unconfigured ──SET_CONFIGURATION 1──▶ configured ──SET_INTERFACE──▶ another setting, halts cleared
//!      ▲                                    │  ▲
//!      └── SET_CONFIGURATION 0, bus reset ──┘  └─ endpoint: ok ─SET_FEATURE, wrong data─▶ halted ─CLEAR_FEATURE─▶ ok
//! ```

mod descriptor;
pub(crate) mod pattern;
mod regs;
mod tone;
mod zero;

use std::time::Instant;

use usbip_wire::Speed;

use self::descriptor::Description;
pub(crate) use self::{regs::Regs, tone::Tone, zero::Zero};
use crate::function::{Cause, Control, Function, InStep, OutStep, Setup};

/// What a device adds to the standard requests. `Default` is its state at power-up.
pub(crate) trait Behaviour: Default + Send {
    const SPEED: Speed;
    fn description() -> Description;
    /// A vendor request.
    fn vendor(&mut self, _setup: Setup, _data: &[u8]) -> Control {
        Control::Stall
    }
    /// See [`Function::out`].
    fn out(&mut self, _endpoint: u8, _data: &[u8]) -> OutStep {
        OutStep::Nak(0)
    }
    /// See [`Function::read`].
    fn read(&mut self, _endpoint: u8, _max: usize) -> InStep {
        InStep::Nak
    }
    /// See [`Function::iso_out`].
    fn iso_out(&mut self, _data: &[u8]) {}
    /// See [`Function::iso_in`].
    fn iso_in(&mut self, _buffer: &mut Vec<u8>) {}
    /// See [`Function::iso_gap`].
    fn iso_gap(&mut self, _endpoint: u8, _frames: u64) {}
}

/// A [`Behaviour`] with its standard requests.
pub(crate) struct Direct<D> {
    device: D,
    description: Description,
    configuration: u8,
    settings: [u8; MAX_INTERFACES],
    /// One bit per endpoint, see [`bit`].
    halted: u32,
}

impl<D: Behaviour> Direct<D> {
    pub(crate) fn new() -> Self {
        Self {
            device: D::default(),
            description: D::description(),
            configuration: 0,
            settings: [0; MAX_INTERFACES],
            halted: 0,
        }
    }

    fn configure(&mut self, value: u8) {
        self.configuration = value;
        self.settings = [0; MAX_INTERFACES];
        self.halted = 0;
    }

    fn standard(&mut self, setup: Setup) -> Control {
        let [low, _] = setup.index.to_le_bytes();
        match (setup.request_type, setup.request, setup.value) {
            (0x80, GET_STATUS, 0) => Control::Done(vec![0, 0]),
            (0x81, GET_STATUS, 0) => Control::Done(vec![0, 0]),
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
            (0x80, GET_DESCRIPTOR, value) => self.description.find(value).map_or(Control::Stall, Control::Done),
            (0x80, GET_CONFIGURATION, 0) => Control::Done(vec![self.configuration]),
            (0x00, SET_CONFIGURATION, value @ 0..=1) => {
                self.configure(value as u8);
                DONE
            }
            (0x81, GET_INTERFACE, 0) if self.description.has_setting(low, 0) => {
                Control::Done(vec![self.settings[usize::from(low)]])
            }
            (0x01, SET_INTERFACE, alt @ 0..=255) if self.description.has_setting(low, alt as u8) => {
                self.settings[usize::from(low)] = alt as u8;
                self.halted = 0;
                DONE
            }
            _ => Control::Stall,
        }
    }
}

impl<D: Behaviour> Function for Direct<D> {
    fn speed(&self) -> Speed {
        D::SPEED
    }

    fn power_up(&mut self, _at: Instant, _cause: Cause) {
        *self = Self::new();
    }

    fn bus_reset(&mut self, _now: Instant) {
        self.configure(0);
    }

    fn control(&mut self, setup: Setup, data: &[u8], _now: Instant) -> Control {
        match setup.request_type & 0x60 {
            0x00 => self.standard(setup),
            0x40 => self.device.vendor(setup, data),
            _ => Control::Stall,
        }
    }

    fn out(&mut self, endpoint: u8, data: &[u8], _zlp: bool, _now: Instant) -> OutStep {
        let step = self.device.out(endpoint, data);
        if let OutStep::Halt(_) = step {
            self.halt(endpoint);
        }
        step
    }

    fn read(&mut self, endpoint: u8, max: usize, _now: Instant) -> InStep {
        self.device.read(endpoint, max)
    }

    fn iso_out(&mut self, data: &[u8]) {
        self.device.iso_out(data);
    }

    fn iso_in(&mut self, buffer: &mut Vec<u8>) {
        self.device.iso_in(buffer);
    }

    fn iso_gap(&mut self, endpoint: u8, frames: u64) {
        self.device.iso_gap(endpoint, frames);
    }

    fn halted(&self, endpoint: u8) -> bool {
        self.halted & bit(endpoint) != 0
    }

    fn halt(&mut self, endpoint: u8) {
        self.halted |= bit(endpoint);
    }
}

/// The endpoint's bit in a u32: OUT endpoints low, IN endpoints high.
fn bit(endpoint: u8) -> u32 {
    1 << ((endpoint & 0x0f) | (endpoint & 0x80) >> 3)
}

const DONE: Control = Control::Done(Vec::new());
/// Interfaces a described device may have.
const MAX_INTERFACES: usize = 4;
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
