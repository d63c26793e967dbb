//! Speed and character format of a serial line: who asked for what, and what of it the device has got.
//!
//! ```text
//!   configuration, serial.ctl ──► standing ─┐
//!                                           ├──► wanted ──► sent
//!   a program at a terminal ────► for now ──┘
//! ```
//!
//! What a program set at a terminal counts until the last one has gone. What stands is sent again when the next one
//! comes; where nothing stands, the device keeps what it had, because nobody has asked for anything else. It sends
//! nothing itself.

use std::fmt;

use crate::config::{Parity, SerialMode, StopBits};
use crate::outlet::tty::Settings;
use crate::serial::TOUCH_BAUD;

/// What is asked of a line; `None` asks for nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) baud: Option<u32>,
    pub(super) mode: Option<SerialMode>,
}

/// The asks of one line.
#[derive(Debug, Default)]
pub(super) struct Coding {
    standing: Ask,
    wanted: Ask,
    sent: Ask,
    terminals: usize,
}

/// As people say it: `57600 baud, 8N2`.
impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.baud, self.mode) {
            (Some(baud), Some(mode)) => write!(f, "{baud} baud, {mode}"),
            (Some(baud), None) => write!(f, "{baud} baud"),
            (None, Some(mode)) => write!(f, "{mode}"),
            (None, None) => f.write_str("nothing"),
        }
    }
}

impl Ask {
    pub(super) fn is_nothing(self) -> bool {
        self == Self::default()
    }

    fn or(self, other: Self) -> Self {
        Self { baud: self.baud.or(other.baud), mode: self.mode.or(other.mode) }
    }

    /// What of this is not in `other`.
    fn without(self, other: Self) -> Self {
        let baud = self.baud.filter(|baud| other.baud != Some(*baud));
        Self { baud, mode: self.mode.filter(|mode| other.mode != Some(*mode)) }
    }
}

impl Coding {
    /// What the configuration asks for.
    pub(super) fn new(standing: Ask) -> Self {
        Self { standing, wanted: standing, ..Self::default() }
    }

    /// What the device shall have.
    pub(super) fn wanted(&self) -> Ask {
        self.wanted
    }

    /// What programs find that open a terminal now.
    pub(super) fn shown(&self) -> Settings {
        let two_stop_bits = self.wanted.mode.is_some_and(|mode| mode.stop_bits == StopBits::Two);
        Settings { speed: self.wanted.baud.unwrap_or(USUAL_SPEED), two_stop_bits }
    }

    /// The device has got this.
    pub(super) fn sent(&mut self, ask: Ask) {
        self.sent = ask.or(self.sent);
    }

    /// Somebody asked for this once and for all, and the device has got it.
    pub(super) fn stands(&mut self, ask: Ask) {
        self.standing = ask.or(self.standing);
        self.wanted = ask.or(self.wanted);
        self.sent(ask);
    }

    /// The device is new, and knows nothing yet.
    pub(super) fn device_came(&mut self) {
        self.sent = Ask::default();
    }

    /// A board that was touched would be touched again when it is back: it gets what it had before, the speed of the
    /// `configuration` at least.
    pub(super) fn device_went(&mut self, configuration: Option<u32>) {
        if self.standing.baud == Some(TOUCH_BAUD) {
            self.standing.baud = configuration;
        }
        if self.wanted.baud == Some(TOUCH_BAUD) {
            self.wanted.baud = self.standing.baud;
        }
    }

    /// A program has opened a terminal. Says what is to be sent.
    pub(super) fn terminal_opened(&mut self) -> Ask {
        self.terminals += 1;
        self.wanted.without(self.sent)
    }

    /// A program has set its terminal so. Says what is to be sent.
    pub(super) fn terminal_set(&mut self, settings: Settings) -> Ask {
        // 0 asks for a hang-up, which is no speed.
        let baud = Some(settings.speed).filter(|&speed| speed > 0);
        let is_changed = settings.two_stop_bits != self.shown().two_stop_bits;
        let mode = is_changed.then(|| {
            let stop_bits = if settings.two_stop_bits { StopBits::Two } else { StopBits::One };
            SerialMode { stop_bits, ..self.wanted.mode.unwrap_or(USUAL_MODE) }
        });
        self.wanted = Ask { baud, mode }.or(self.wanted);
        self.wanted.without(self.sent)
    }

    /// A program has closed its terminal.
    pub(super) fn terminal_closed(&mut self) {
        self.terminals = self.terminals.saturating_sub(1);
        if self.terminals == 0 {
            self.wanted = self.standing;
        }
    }
}

/// What the kernel's serial ports start with.
const USUAL_SPEED: u32 = 9600;
/// What a terminal has that nobody told otherwise.
const USUAL_MODE: SerialMode = SerialMode { data_bits: 8, parity: Parity::None, stop_bits: StopBits::One };

#[cfg(test)]
mod tests {
    use super::*;

    fn baud(baud: u32) -> Ask {
        Ask { baud: Some(baud), mode: None }
    }

    fn at(speed: u32) -> Settings {
        Settings { speed, two_stop_bits: false }
    }

    /// As whoever has the device does.
    fn send(coding: &mut Coding, ask: Ask) -> Ask {
        coding.sent(ask);
        ask
    }

    #[test]
    fn the_first_program_gets_what_stands_whatever_the_last_one_set() {
        let mut coding = Coding::new(baud(115_200));
        coding.sent(coding.wanted());
        assert!(coding.terminal_opened().is_nothing());
        let ask = coding.terminal_set(at(1200));
        assert_eq!(send(&mut coding, ask), baud(1200));
        assert!(coding.terminal_set(at(1200)).is_nothing(), "it has that");
        assert_eq!(coding.shown(), at(1200), "as long as that program is there");
        coding.terminal_closed();
        assert_eq!(coding.shown(), at(115_200));
        assert_eq!(coding.terminal_opened(), baud(115_200));
    }

    #[test]
    fn where_nothing_stands_nothing_is_sent_until_a_program_asks() {
        let mut coding = Coding::new(Ask::default());
        assert!(coding.terminal_opened().is_nothing());
        let ask = coding.terminal_set(at(57_600));
        send(&mut coding, ask);
        coding.terminal_closed();
        assert!(coding.terminal_opened().is_nothing(), "the device keeps what `stty` set");
        assert_eq!(coding.shown(), at(9600));
        assert_eq!(coding.terminal_set(at(9600)), baud(9600), "and a program that wants that has to be heard");
    }

    #[test]
    fn what_is_asked_for_over_line_control_stands() {
        let mut coding = Coding::new(baud(9600));
        coding.terminal_opened();
        coding.stands(baud(19_200));
        coding.terminal_closed();
        assert_eq!((coding.shown(), coding.terminal_opened()), (at(19_200), Ask::default()));
    }

    #[test]
    fn of_two_programs_the_one_that_stays_keeps_its_speed() {
        let mut coding = Coding::new(baud(9600));
        coding.terminal_opened();
        coding.terminal_set(at(57_600));
        coding.terminal_opened();
        coding.terminal_closed();
        assert_eq!(coding.wanted(), baud(57_600));
        coding.device_came();
        coding.terminal_closed();
        assert_eq!(coding.wanted(), baud(9600));
    }

    #[test]
    fn a_board_that_comes_back_gets_the_speed_again_but_is_not_touched_again() {
        for (speed, after) in [(57_600, 57_600), (TOUCH_BAUD, 9600)] {
            let mut coding = Coding::new(baud(9600));
            coding.terminal_opened();
            coding.terminal_set(at(speed));
            coding.device_went(Some(9600));
            assert_eq!(coding.wanted(), baud(after));
        }
        let mut coding = Coding::new(Ask::default());
        coding.stands(baud(TOUCH_BAUD));
        coding.device_went(None);
        assert_eq!(coding.wanted(), Ask::default());
    }

    #[test]
    fn stop_bits_change_with_the_rest_as_it_stands_and_a_hang_up_changes_nothing() {
        let mut coding = Coding::new(Ask { baud: None, mode: "7E1".parse().ok() });
        coding.sent(coding.wanted());
        assert!(coding.terminal_set(Settings { speed: 0, two_stop_bits: false }).is_nothing());
        let ask = coding.terminal_set(Settings { speed: 0, two_stop_bits: true });
        assert_eq!(ask, Ask { baud: None, mode: "7E2".parse().ok() });
        let mut plain = Coding::default();
        assert_eq!(plain.terminal_set(Settings { speed: 0, two_stop_bits: true }).mode, "8N2".parse().ok());
        assert_eq!(plain.terminal_set(Settings { speed: 0, two_stop_bits: false }).mode, "8N1".parse().ok());
    }
}
