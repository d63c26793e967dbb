//! `uno` and `leonardo`: a CDC ACM port in front of the command interpreter.
//!
//! One job: the life of the board around its lines. It refuses to lose an answer: while its queue is full it does
//! not read, and the host sees NAK.
//!
//! ```text
//!          power-up                                     after 100 ms
//!  uno, leonardo ──▶ booting (input waits) ───────────────────────────▶ running ──line──▶ answer queued
//!                      ▲                                                   │
//!                      └──── uno: DTR off→on: led, line, queue cleared ────┘
//!
//!  leonardo: 1200 baud and DTR off ──▶ armed ──120 ms──▶ leaves the bus; DTR on or another rate disarms
//! ```
//!
//! `READY` is what a sketch prints in `setup()`: a line with nobody listening loses it. It is offered to the host
//! for 50 ms; answers wait for as long as it takes.

use usb_device::bus::{UsbBus, UsbBusAllocator};
use usb_device::device::UsbDevice;
use usbd_serial::CdcAcmClass;

use super::{
    BULK_PACKET, Firmware, Identity,
    fifo::Fifo,
    line::LineBuffer,
    sketch::{ANSWER_LIMIT, LineState, Sketch},
};

/// How the board's lines are wired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wiring {
    /// DTR pulls the reset pin through a capacitor.
    Uno,
    /// The application itself is on USB and listens for the 1200-baud touch.
    Leonardo,
}

/// The firmware.
pub struct Serial<'a, B: UsbBus> {
    usb: UsbDevice<'a, B>,
    cdc: CdcAcmClass<'a, B>,
    wiring: Wiring,
    sketch: Sketch,
    line: LineBuffer,
    answers: Fifo<QUEUE>,
    /// The last packet was full: without a shorter one the host would go on waiting for more.
    zlp_due: bool,
    dtr: bool,
    boot: Boot,
    touched_at: Option<u64>,
    now: u64,
}

/// Where the board is in its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Boot {
    /// Since its power-up or reset, in milliseconds.
    Booting { since: u64 },
    /// `READY` is being offered until then.
    Greeting { until: u64 },
    /// `READY` was sent or has expired.
    Running,
}

impl<'a, B: UsbBus> Serial<'a, B> {
    /// The board at power-up.
    pub fn new(alloc: &'a UsbBusAllocator<B>, identity: Identity<'a>, wiring: Wiring) -> Self {
        let cdc = CdcAcmClass::new(alloc, BULK_PACKET as u16);
        Self {
            usb: identity.build(alloc),
            cdc,
            wiring,
            sketch: Sketch::default(),
            line: LineBuffer::new(),
            answers: Fifo::new(),
            zlp_due: false,
            dtr: false,
            boot: Boot::Booting { since: 0 },
            touched_at: None,
            now: 0,
        }
    }

    fn watch_dtr(&mut self) {
        let rising = self.cdc.dtr() && !self.dtr;
        self.dtr = self.cdc.dtr();
        if rising && self.wiring == Wiring::Uno {
            self.sketch.reset();
            self.line.clear();
            self.answers.clear();
            self.zlp_due = false;
            self.boot = Boot::Booting { since: self.now };
        }
    }

    fn watch_touch(&mut self) {
        if self.wiring != Wiring::Leonardo {
            return;
        }
        if self.dtr || self.cdc.line_coding().data_rate() != TOUCH_BAUD {
            self.touched_at = None;
        } else if self.now >= *self.touched_at.get_or_insert(self.now) + TOUCH_MS {
            // A bus that cannot let go leaves the board where it is, as if never touched.
            let _ = self.usb.force_reset();
        }
    }

    fn boot(&mut self) {
        if let Boot::Booting { since } = self.boot
            && self.now >= since + BOOT_MS
        {
            self.boot = Boot::Greeting { until: since + BOOT_MS + GREETING_MS };
        }
        if let Boot::Greeting { until } = self.boot
            && self.now > until
        {
            self.boot = Boot::Running;
        }
    }

    fn read_lines(&mut self) {
        let mut packet = [0; BULK_PACKET];
        while self.answers.room() >= PACKET_OF_ANSWERS {
            let Ok(count) = self.cdc.read_packet(&mut packet) else { return };
            let state = LineState { baud: self.cdc.line_coding().data_rate(), dtr: self.dtr };
            for &byte in &packet[..count] {
                if let Some(line) = self.line.push(byte) {
                    self.sketch.answer(&line, state, &mut self.answers);
                }
            }
        }
    }

    /// Sends one packet if the bus takes one now.
    fn write_answers(&mut self) {
        let mut packet = [0; BULK_PACKET];
        let greeting: &[u8] = if let Boot::Greeting { .. } = self.boot { GREETING } else { b"" };
        packet[..greeting.len()].copy_from_slice(greeting);
        let answers = self.answers.peek(&mut packet[greeting.len()..]);
        let count = greeting.len() + answers;
        if (count == 0 && !self.zlp_due) || self.cdc.write_packet(&packet[..count]).is_err() {
            return;
        }
        if !greeting.is_empty() {
            self.boot = Boot::Running;
        }
        self.answers.drop_front(answers);
        self.zlp_due = count == BULK_PACKET;
    }
}

impl<B: UsbBus> Firmware for Serial<'_, B> {
    fn poll(&mut self, now: u64) {
        self.now = now;
        self.usb.poll(&mut [&mut self.cdc]);
        self.watch_dtr();
        self.watch_touch();
        self.boot();
        if !matches!(self.boot, Boot::Booting { .. }) {
            self.read_lines();
            self.write_answers();
        }
    }

    fn deadline(&self) -> Option<u64> {
        let boot = match self.boot {
            Boot::Booting { since } => Some(since + BOOT_MS),
            Boot::Greeting { .. } | Boot::Running => None,
        };
        let touch = self.touched_at.map(|at| at + TOUCH_MS);
        [boot, touch].into_iter().flatten().filter(|&at| at > self.now).min()
    }
}

const GREETING: &[u8] = b"READY\n";
/// From reset to the greeting.
const BOOT_MS: u64 = 100;
/// How long the greeting waits for a listener.
const GREETING_MS: u64 = 50;
/// Arduino's cores take this rate with DTR off as the wish for the bootloader…
const TOUCH_BAUD: u32 = 1200;
/// …when it lasts this long.
const TOUCH_MS: u64 = 120;
/// Answers held.
const QUEUE: usize = 4096;
/// More than the answers to one packet: a long line that it ends, and then 63 empty lines of 14 bytes each.
const PACKET_OF_ANSWERS: usize = ANSWER_LIMIT + BULK_PACKET * 16;
