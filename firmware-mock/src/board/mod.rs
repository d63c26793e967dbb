//! Devices with firmware: a board is power, a clock, a wire, and a program in its main loop.
//!
//! One job: run the firmware exactly when something happened, and move packets between its endpoints and whole
//! transfers. It refuses to answer in the firmware's place: every descriptor and every byte comes from there.
//!
//! ```text
//!  off ──power_up(Plug)──▶ program ──leaves the bus──▶ off ──power_up(Detach)──▶ the other program
//!                            ▲                                                       │
//!                            └──────────────── leaves the bus, off ──────────────────┘
//! ```
//!
//! The main loop is a future that is pending after every turn. It owns the bus allocator and borrows from it,
//! which is what `usb-device` asks for; dropping it is switching off the power.

mod bus;
mod control;
mod program;

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use usbip_wire::Speed;

use self::bus::Wire;
pub(crate) use self::program::Program;
use crate::function::{Cause, Control, Function, InStep, OutStep, Payload, Setup};

/// A device with firmware.
pub(crate) struct Board {
    program: Program,
    running: Program,
    serial: Option<String>,
    wire: Wire,
    main_loop: MainLoop,
    powered_at: Instant,
    now: Instant,
    left_at: Option<Instant>,
    staged: [Staged; 16],
}

/// A program's main loop; each poll is one turn.
type MainLoop = Pin<Box<dyn Future<Output = Infallible> + Send>>;

/// IN data taken from the firmware for a transfer that has not ended yet.
#[derive(Default)]
struct Staged {
    bytes: Vec<u8>,
    /// A short packet came: the transfer ends with these bytes.
    ended: bool,
}

impl Board {
    /// A board with this program, powered.
    pub(crate) fn new(program: Program, serial: Option<String>, now: Instant) -> Self {
        let wire = Wire::default();
        let main_loop = program.start(&wire, serial.clone());
        let mut board = Self {
            program,
            running: program,
            serial,
            wire,
            main_loop,
            powered_at: now,
            now,
            left_at: None,
            staged: Default::default(),
        };
        board.turn();
        board
    }

    /// One turn of the main loop.
    fn turn(&mut self) {
        if self.left_at.is_some() {
            return;
        }
        let elapsed = self.now.saturating_duration_since(self.powered_at);
        self.wire.set_now(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
        let _ = self.main_loop.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if self.wire.detached() {
            self.left_at = Some(self.now);
        }
    }

    /// Lets the clock go on to `now`, stopping wherever the firmware has something to do.
    fn advance(&mut self, now: Instant) {
        while let Some(due) = self.deadline().filter(|&due| due <= now && due > self.now) {
            self.now = due;
            self.turn();
        }
        self.now = self.now.max(now);
    }
}

impl Function for Board {
    fn speed(&self) -> Speed {
        Speed::Full
    }

    fn power_up(&mut self, at: Instant, cause: Cause) {
        let program = match cause {
            Cause::Plug => self.program,
            Cause::Detach => self.running.successor(),
        };
        *self = Self { program: self.program, running: program, ..Self::new(program, self.serial.take(), at) };
    }

    fn bus_reset(&mut self, now: Instant) {
        self.advance(now);
        self.wire.reset();
        self.staged = Default::default();
        self.turn();
    }

    fn control(&mut self, setup: Setup, data: &[u8], now: Instant) -> Control {
        self.advance(now);
        control::transfer(self, setup, data)
    }

    fn out(&mut self, endpoint: u8, data: &[u8], zlp: bool, now: Instant) -> OutStep {
        self.advance(now);
        let max_packet = self.wire.max_packet(endpoint).max(1);
        let packets = data.chunks(max_packet).chain(zlp.then_some(&[][..]));
        let mut taken = 0;
        for packet in packets {
            self.wire.put_out(endpoint, packet);
            self.turn();
            if self.wire.withdraw(endpoint) {
                let halted = self.wire.stalled(endpoint);
                return if halted { OutStep::Halt(taken) } else { OutStep::Nak(taken) };
            }
            taken += packet.len();
        }
        OutStep::Done
    }

    fn read(&mut self, endpoint: u8, max: usize, now: Instant) -> InStep {
        self.advance(now);
        let index = usize::from(endpoint & 0x0f);
        while self.staged[index].bytes.len() < max && !self.staged[index].ended {
            self.wire.offer_token(endpoint, true);
            self.turn();
            match self.wire.take_in(endpoint, &mut self.staged[index].bytes) {
                Some(len) => self.staged[index].ended = len < self.wire.max_packet(endpoint),
                None => {
                    self.wire.offer_token(endpoint, false);
                    return InStep::Nak;
                }
            }
        }
        InStep::Done(Payload::Bytes(self.staged[index].take(max)))
    }

    fn halted(&self, endpoint: u8) -> bool {
        self.wire.stalled(endpoint)
    }

    fn halt(&mut self, endpoint: u8) {
        self.wire.stall(endpoint);
    }

    fn run(&mut self, now: Instant) {
        self.advance(now);
    }

    fn deadline(&self) -> Option<Instant> {
        if self.left_at.is_some() {
            return None;
        }
        self.wire.deadline().map(|ms| self.powered_at + Duration::from_millis(ms))
    }

    fn left_bus(&mut self) -> Option<Instant> {
        self.left_at
    }
}

impl Staged {
    fn take(&mut self, max: usize) -> Vec<u8> {
        if self.bytes.len() > max {
            let rest = self.bytes.split_off(max);
            return std::mem::replace(&mut self.bytes, rest);
        }
        self.ended = false;
        std::mem::take(&mut self.bytes)
    }
}

#[cfg(test)]
mod tests;
