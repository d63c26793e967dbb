//! Speed, character format and flow control of a serial line: who asked for what, and what of it the device has got.
//!
//! ```text
//!   configuration, serial.ctl ──► standing ─┐
//!                                           ├──► wanted ──► sent
//!   programs at terminals, the last first ──┘
//! ```
//!
//! What a program set at a terminal counts until it has closed it; then what those who are still there had set counts
//! again, and else what stands. Where nothing stands, the device keeps what it had, because nobody has asked for anything
//! else. It sends nothing itself.

use std::fmt;

use crate::config::{Flow, Parity, SerialMode, StopBits};
use crate::outlet::tty::Settings;
use crate::serial::TOUCH_BAUD;

/// What is asked of a line; `None` asks for nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) baud: Option<u32>,
    pub(super) mode: Option<SerialMode>,
    pub(super) flow: Option<Flow>,
}

/// The asks of one line.
#[derive(Debug, Default)]
pub(super) struct Coding {
    standing: Ask,
    sent: Ask,
    /// The terminals that are open; the one where something was set last is the last.
    terminals: Vec<Terminal>,
    /// How many there were.
    opened: u64,
}

/// Which terminal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TerminalId(u64);

#[derive(Debug)]
struct Terminal {
    id: TerminalId,
    /// What its program asked for.
    asked: Ask,
    /// What it was like when it was last looked at.
    settings: Settings,
}

/// As people say it: `57600 baud, 8N2`.
impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let baud = self.baud.map(|baud| format!("{baud} baud"));
        let flow = self.flow.map(|flow| format!("flow control {flow}"));
        let all = [baud, self.mode.map(|mode| mode.to_string()), flow];
        let all: Vec<String> = all.into_iter().flatten().collect();
        f.write_str(if all.is_empty() { "nothing" } else { "" })?;
        f.write_str(&all.join(", "))
    }
}

impl Ask {
    pub(super) fn is_nothing(self) -> bool {
        self == Self::default()
    }

    pub(super) fn or(self, other: Self) -> Self {
        Self { baud: self.baud.or(other.baud), mode: self.mode.or(other.mode), flow: self.flow.or(other.flow) }
    }

    /// What of this is not in `other`.
    pub(super) fn without(self, other: Self) -> Self {
        Self {
            baud: self.baud.filter(|baud| other.baud != Some(*baud)),
            mode: self.mode.filter(|mode| other.mode != Some(*mode)),
            flow: self.flow.filter(|flow| other.flow != Some(*flow)),
        }
    }

    /// This but for what `other` asks for as well.
    fn unless(self, other: Self) -> Self {
        Self {
            baud: self.baud.filter(|_| other.baud.is_none()),
            mode: self.mode.filter(|_| other.mode.is_none()),
            flow: self.flow.filter(|_| other.flow.is_none()),
        }
    }
}

impl Coding {
    /// What the configuration asks for.
    pub(super) fn new(standing: Ask) -> Self {
        Self { standing, ..Self::default() }
    }

    /// What the device shall have.
    pub(super) fn wanted(&self) -> Ask {
        self.terminals.iter().rev().fold(Ask::default(), |wanted, terminal| wanted.or(terminal.asked)).or(self.standing)
    }

    /// What of it the device has not got.
    pub(super) fn due(&mut self) -> Ask {
        self.wanted().without(self.sent)
    }

    /// What programs find that open a terminal now.
    pub(super) fn shown(&self) -> Settings {
        let wanted = self.wanted();
        Settings {
            speed: wanted.baud.unwrap_or(USUAL_SPEED),
            two_stop_bits: wanted.mode.is_some_and(|mode| mode.stop_bits == StopBits::Two),
            rts_cts: wanted.flow == Some(Flow::RtsCts),
            xon_xoff: wanted.flow == Some(Flow::XonXoff),
        }
    }

    /// The device has got this.
    pub(super) fn sent(&mut self, ask: Ask) {
        self.sent = ask.or(self.sent);
    }

    /// Somebody asked for this once and for all, and the device has got it.
    pub(super) fn stands(&mut self, ask: Ask) {
        self.asked_for_good(ask);
        self.sent(ask);
    }

    /// Somebody asks for this once and for all, whatever programs have set before.
    pub(super) fn asked_for_good(&mut self, ask: Ask) {
        self.standing = ask.or(self.standing);
        for terminal in &mut self.terminals {
            terminal.asked = terminal.asked.unless(ask);
        }
    }

    /// Nobody asks for this any more, but programs.
    pub(super) fn no_longer_stands(&mut self, ask: Ask) {
        self.standing = self.standing.unless(ask);
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
        for terminal in &mut self.terminals {
            terminal.asked.baud = terminal.asked.baud.filter(|&baud| baud != TOUCH_BAUD);
        }
    }

    /// A program has opened a terminal, which is this one from now on.
    pub(super) fn terminal_opened(&mut self) -> TerminalId {
        let id = TerminalId(self.opened);
        self.opened += 1;
        // Where nothing was asked for, nothing is to be asked again.
        self.terminals.insert(0, Terminal { id, asked: Ask::default(), settings: self.shown() });
        id
    }

    /// A program has set its terminal so. Says what is to be sent.
    pub(super) fn terminal_set(&mut self, id: TerminalId, settings: Settings) -> Ask {
        let mode = self.wanted().mode.unwrap_or(USUAL_MODE);
        let Some(place) = self.terminals.iter().position(|terminal| terminal.id == id) else { return Ask::default() };
        let mut terminal = self.terminals.remove(place);
        let before = std::mem::replace(&mut terminal.settings, settings);
        let stop_bits = if settings.two_stop_bits { StopBits::Two } else { StopBits::One };
        let flow_of = |settings: Settings| match (settings.rts_cts, settings.xon_xoff) {
            (true, _) => Flow::RtsCts,
            (false, true) => Flow::XonXoff,
            (false, false) => Flow::None,
        };
        let ask = Ask {
            // 0 asks for a hang-up, which is no speed.
            baud: Some(settings.speed).filter(|&speed| speed > 0),
            mode: (settings.two_stop_bits != before.two_stop_bits).then_some(SerialMode { stop_bits, ..mode }),
            flow: Some(flow_of(settings)).filter(|flow| *flow != flow_of(before)),
        };
        terminal.asked = ask.or(terminal.asked);
        self.terminals.push(terminal);
        self.due()
    }

    /// The program at this terminal asks for exactly this. Returns what is to be sent.
    pub(super) fn terminal_asked(&mut self, id: TerminalId, ask: Ask) -> Ask {
        let Some(at) = self.terminals.iter().position(|terminal| terminal.id == id) else { return Ask::default() };
        let mut terminal = self.terminals.remove(at);
        terminal.asked = ask.or(terminal.asked);
        self.terminals.push(terminal);
        self.due()
    }

    /// The program at this terminal no longer asks for this.
    pub(super) fn terminal_forgets(&mut self, id: TerminalId, ask: Ask) {
        for terminal in self.terminals.iter_mut().filter(|terminal| terminal.id == id) {
            terminal.asked = terminal.asked.unless(ask);
        }
    }

    /// A program has closed its terminal.
    pub(super) fn terminal_closed(&mut self, id: TerminalId) {
        self.terminals.retain(|terminal| terminal.id != id);
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
        Ask { baud: Some(baud), ..Ask::default() }
    }

    fn at(speed: u32) -> Settings {
        Settings { speed, ..Settings::default() }
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
        let terminal = coding.terminal_opened();
        assert!(coding.due().is_nothing());
        let ask = coding.terminal_set(terminal, at(1200));
        assert_eq!(send(&mut coding, ask), baud(1200));
        assert!(coding.terminal_set(terminal, at(1200)).is_nothing(), "it has that");
        assert_eq!(coding.shown(), at(1200), "as long as that program is there");
        coding.terminal_closed(terminal);
        assert_eq!(coding.shown(), at(115_200));
        assert_eq!(coding.due(), baud(115_200), "at once, not only when the next one comes");
    }

    #[test]
    fn where_nothing_stands_nothing_is_sent_until_a_program_asks() {
        let mut coding = Coding::new(Ask::default());
        let terminal = coding.terminal_opened();
        assert!(coding.due().is_nothing());
        let ask = coding.terminal_set(terminal, at(57_600));
        send(&mut coding, ask);
        coding.terminal_closed(terminal);
        let next = coding.terminal_opened();
        assert!(coding.due().is_nothing(), "the device keeps what `stty` set");
        assert_eq!(coding.shown(), at(9600));
        assert_eq!(coding.terminal_set(next, at(9600)), baud(9600), "and a program that wants that has to be heard");
    }

    #[test]
    fn what_is_asked_for_over_line_control_stands() {
        let mut coding = Coding::new(baud(9600));
        let terminal = coding.terminal_opened();
        coding.terminal_set(terminal, at(300));
        coding.stands(baud(19_200));
        assert_eq!(coding.wanted(), baud(19_200));
        coding.terminal_closed(terminal);
        assert_eq!((coding.shown(), coding.due()), (at(19_200), Ask::default()));
        coding.no_longer_stands(baud(0));
        assert_eq!(coding.wanted(), Ask::default());
    }

    #[test]
    fn of_several_programs_the_last_one_that_is_still_there_has_its_speed() {
        let mut coding = Coding::new(baud(9600));
        let [first, second, third] = [coding.terminal_opened(), coding.terminal_opened(), coding.terminal_opened()];
        coding.terminal_set(first, at(57_600));
        let ask = coding.terminal_set(second, at(1200));
        send(&mut coding, ask);
        coding.terminal_closed(third);
        assert!(coding.due().is_nothing(), "that one had set nothing");
        coding.terminal_closed(second);
        assert_eq!(coding.due(), baud(57_600), "the one that remains");
        coding.device_came();
        assert_eq!(coding.wanted(), baud(57_600));
        coding.terminal_closed(first);
        assert_eq!(coding.due(), baud(9600));
    }

    #[test]
    fn a_board_that_comes_back_gets_the_speed_again_but_is_not_touched_again() {
        for (speed, after) in [(57_600, 57_600), (TOUCH_BAUD, 9600)] {
            let mut coding = Coding::new(baud(9600));
            let terminal = coding.terminal_opened();
            coding.terminal_set(terminal, at(speed));
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
        let mut coding = Coding::new(Ask { mode: "7E1".parse().ok(), ..Ask::default() });
        coding.sent(coding.wanted());
        let terminal = coding.terminal_opened();
        assert!(coding.terminal_set(terminal, at(0)).is_nothing());
        let ask = coding.terminal_set(terminal, Settings { two_stop_bits: true, ..at(0) });
        assert_eq!(ask, Ask { mode: "7E2".parse().ok(), ..Ask::default() });
        let mut plain = Coding::default();
        let terminal = plain.terminal_opened();
        assert_eq!(plain.terminal_set(terminal, Settings { two_stop_bits: true, ..at(0) }).mode, "8N2".parse().ok());
        assert_eq!(plain.terminal_set(terminal, at(0)).mode, "8N1".parse().ok());
    }

    #[test]
    fn flow_control_that_a_program_sets_goes_with_it() {
        let mut coding = Coding::new(Ask { flow: Some(Flow::RtsCts), ..Ask::default() });
        coding.sent(coding.wanted());
        let terminal = coding.terminal_opened();
        assert!(coding.shown().rts_cts && !coding.shown().xon_xoff);
        let found = Settings { speed: 300, ..coding.shown() };
        assert_eq!(coding.terminal_set(terminal, found), baud(300), "it has left what it found");
        let ask = coding.terminal_set(terminal, Settings { rts_cts: false, xon_xoff: true, ..found });
        assert_eq!(send(&mut coding, ask).flow, Some(Flow::XonXoff));
        let ask = coding.terminal_set(terminal, Settings { rts_cts: false, ..found });
        assert_eq!(send(&mut coding, ask).flow, Some(Flow::None));
        coding.terminal_closed(terminal);
        assert_eq!(coding.due().flow, Some(Flow::RtsCts));
    }

    #[test]
    fn asks_are_said_in_words() {
        let ask = Ask { baud: Some(57_600), mode: "8N2".parse().ok(), flow: Some(Flow::XonXoff) };
        assert_eq!(ask.to_string(), "57600 baud, 8N2, flow control xonxoff");
        assert_eq!(Ask::default().to_string(), "nothing");
    }
}
