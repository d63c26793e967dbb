//! Reset sequences that a remote client sends as single changes of DTR, RTS and speed. Pure: events in, resets out.
//!
//! Over a network the changes arrive late and one by one, so the board would see none of the timings that the sequences
//! need. What the client means can be recognised by their order alone:
//!
//! ```text
//!   Arduino              DTR off ── DTR on, and RTS not raised in between
//!   ESP, application     RTS on ── RTS off
//!   ESP, bootloader      the same, and DTR on meanwhile: the classic sequence and that of USB-Serial-JTAG
//!   1200-baud touch      1200 baud, then DTR off or the end of the connection
//! ```
//!
//! What a client sets when it opens the line is no sequence: the first value of each line counts as its idle state.

use crate::serial::TOUCH_BAUD;

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Dtr(bool),
    Rts(bool),
    Baud(u32),
    /// The connection has ended.
    Closed,
}

/// What to run beside the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reset {
    /// A pulse of DTR, or of both lines.
    Pulse,
    EspApplication,
    EspBootloader,
    Touch,
}

/// The lines as the client believes them to be.
#[derive(Debug, Default)]
pub(super) struct Recogniser {
    dtr: Option<bool>,
    rts: Option<bool>,
    baud: u32,
    /// DTR was lowered, and RTS not raised since.
    is_pulse: bool,
    /// RTS was raised after the client had opened the line.
    is_esp: bool,
    /// DTR is on, and was raised after the client had opened the line.
    is_dtr_raised: bool,
    /// DTR was so while RTS was on.
    boots: bool,
}

impl Recogniser {
    /// The state of DTR; a client that has set nothing believes it off.
    pub(super) fn dtr(&self) -> bool {
        self.dtr.unwrap_or(false)
    }

    /// The state of RTS.
    pub(super) fn rts(&self) -> bool {
        self.rts.unwrap_or(false)
    }

    /// Takes the next change, and returns the reset that it completes.
    pub(super) fn next(&mut self, change: Change) -> Option<Reset> {
        match change {
            Change::Dtr(is_on) => self.dtr_changes(is_on),
            Change::Rts(is_on) => self.rts_changes(is_on),
            Change::Baud(baud) => {
                self.baud = baud;
                None
            }
            Change::Closed => self.touches(),
        }
    }

    fn dtr_changes(&mut self, is_on: bool) -> Option<Reset> {
        let before = self.dtr.replace(is_on);
        match (before, is_on) {
            (Some(false), true) => {
                self.is_dtr_raised = true;
                self.boots |= self.is_esp;
                std::mem::take(&mut self.is_pulse).then_some(Reset::Pulse)
            }
            (Some(true), false) | (None, false) => {
                (self.is_pulse, self.is_dtr_raised) = (before == Some(true), false);
                self.touches()
            }
            _ => None,
        }
    }

    fn rts_changes(&mut self, is_on: bool) -> Option<Reset> {
        let before = self.rts.replace(is_on);
        match (before, is_on) {
            // esptool raises RTS again where pyserial has raised it at opening.
            (Some(_), true) => {
                self.boots |= self.is_dtr_raised;
                (self.is_esp, self.is_pulse) = (true, false);
                None
            }
            (_, false) => {
                let boots = std::mem::take(&mut self.boots);
                let is_esp = std::mem::take(&mut self.is_esp);
                is_esp.then_some(if boots { Reset::EspBootloader } else { Reset::EspApplication })
            }
            (None, true) => None,
        }
    }

    fn touches(&mut self) -> Option<Reset> {
        (std::mem::take(&mut self.baud) == TOUCH_BAUD).then_some(Reset::Touch)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::Change::{Baud, Closed, Dtr, Rts};
    use super::*;

    fn resets(changes: &[Change]) -> Vec<Reset> {
        let mut recogniser = Recogniser::default();
        changes.iter().filter_map(|change| recogniser.next(*change)).collect()
    }

    /// What pyserial sends when it opens a line.
    const OPENING: [Change; 3] = [Baud(115_200), Rts(true), Dtr(true)];

    fn after_opening(changes: &[Change]) -> Vec<Reset> {
        resets(&[&OPENING, changes].concat())
    }

    #[test]
    fn opening_and_closing_resets_nothing() {
        assert_eq!(after_opening(&[Closed]), []);
        assert_eq!(resets(&[Baud(115_200), Rts(false), Dtr(false), Closed]), []);
        assert_eq!(after_opening(&[Dtr(false), Rts(false), Closed]), []);
    }

    #[test]
    fn a_pulse_of_dtr_or_of_both_lines_is_a_reset_of_an_arduino() {
        assert_eq!(after_opening(&[Dtr(false), Dtr(true)]), [Reset::Pulse]);
        assert_eq!(after_opening(&[Dtr(false), Rts(false), Dtr(true), Rts(true)]), [Reset::Pulse]);
        assert_eq!(resets(&[Rts(false), Dtr(true), Dtr(false), Dtr(true), Dtr(false)]), [Reset::Pulse]);
    }

    #[test]
    fn the_sequences_of_esptool_are_the_bootloader_and_the_application() {
        let classic = [Dtr(false), Rts(true), Dtr(true), Rts(false), Dtr(false)];
        let usb =
            [Rts(false), Dtr(false), Dtr(true), Rts(false), Rts(true), Dtr(false), Rts(true), Dtr(false), Rts(false)];
        let hard = [Rts(true), Rts(false)];
        assert_eq!(after_opening(&classic), [Reset::EspBootloader]);
        assert_eq!(
            after_opening(&[&classic[..], &classic, &hard].concat()),
            [Reset::EspBootloader, Reset::EspBootloader, Reset::EspApplication]
        );
        let both = after_opening(&usb);
        assert_eq!(both.last(), Some(&Reset::EspBootloader), "{both:?}");
        assert_eq!(resets(&[&[Rts(false), Dtr(false)], &hard[..]].concat()), [Reset::EspApplication]);
    }

    #[test]
    fn a_touch_is_1200_baud_and_then_dtr_off_or_the_end() {
        assert_eq!(after_opening(&[Baud(1200), Closed]), [Reset::Touch]);
        assert_eq!(after_opening(&[Baud(1200), Dtr(false), Closed]), [Reset::Touch]);
        assert_eq!(after_opening(&[Baud(1200), Baud(9600), Dtr(false), Closed]), []);
    }

    proptest! {
        /// No order of changes gives more resets than it has edges.
        #[test]
        fn each_reset_takes_a_change_of_its_own(
            changes in vec(prop_oneof![any::<bool>().prop_map(Dtr), any::<bool>().prop_map(Rts), Just(Baud(1200))], 0..40),
        ) {
            let falling = changes.iter().filter(|change| **change == Rts(false)).count();
            let found = resets(&changes);
            let esp = found.iter().filter(|r| matches!(r, Reset::EspApplication | Reset::EspBootloader)).count();
            prop_assert!(esp <= falling);
        }
    }
}
