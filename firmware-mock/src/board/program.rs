//! Which firmware a board runs.
//!
//! One job: start a program's main loop on a wire. It refuses to know what the program does.

use std::convert::Infallible;
use std::future::poll_fn;
use std::task::Poll;

use usb_device::bus::UsbBusAllocator;

use super::{MainLoop, bus::Wire};
use crate::firmware::{Bootloader, CLASS_CDC, CLASS_VENDOR, Echo, Firmware, Identity, Knob, Serial, Wiring};

/// A program in a board's flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Uno,
    Leonardo,
    LeonardoBootloader,
    Echo,
    Knob,
}

impl Program {
    /// What runs after this program has left the bus on its own accord.
    pub(super) fn successor(self) -> Self {
        match self {
            Self::Leonardo => Self::LeonardoBootloader,
            Self::LeonardoBootloader => Self::Leonardo,
            other => other,
        }
    }

    fn identity(self, serial: Option<&str>) -> Identity<'_> {
        let (ids, class, product) = match self {
            Self::Uno => ((0x2341, 0x0043), CLASS_CDC, "uno"),
            Self::Leonardo => ((0x2341, 0x8036), CLASS_CDC, "leonardo"),
            Self::LeonardoBootloader => ((0x2341, 0x0036), CLASS_CDC, "leonardo bootloader"),
            Self::Echo => ((0x1209, 0x0005), CLASS_CDC, "echo"),
            Self::Knob => ((0x1209, 0x0002), CLASS_VENDOR, "knob"),
        };
        Identity { ids, class, product, serial }
    }

    /// The program from its first instruction.
    pub(super) fn start(self, wire: &Wire, serial: Option<String>) -> MainLoop {
        let wire = wire.clone();
        Box::pin(async move {
            let alloc = UsbBusAllocator::new(wire.bus());
            let identity = self.identity(serial.as_deref());
            match self {
                Self::Uno => main_loop(&wire, Serial::new(&alloc, identity, Wiring::Uno)).await,
                Self::Leonardo => main_loop(&wire, Serial::new(&alloc, identity, Wiring::Leonardo)).await,
                Self::LeonardoBootloader => main_loop(&wire, Bootloader::new(&alloc, identity)).await,
                Self::Echo => main_loop(&wire, Echo::new(&alloc, identity)).await,
                Self::Knob => main_loop(&wire, Knob::new(&alloc, identity)).await,
            }
        })
    }
}

async fn main_loop(wire: &Wire, mut firmware: impl Firmware) -> Infallible {
    loop {
        firmware.poll(wire.now());
        wire.set_deadline(firmware.deadline());
        end_of_turn().await;
    }
}

/// Pending once: the board goes on with the next turn when it sees fit.
async fn end_of_turn() {
    let mut ended = false;
    poll_fn(|_| if std::mem::replace(&mut ended, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}
