//! The state of telnet options by the method of RFC 1143, which cannot loop.

use crate::telnet::Verb;

/// Whose use of an option is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// This end uses it: WILL and WONT are sent for it.
    Local,
    /// The peer uses it: DO and DONT are sent for it.
    Remote,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Off,
    /// Offered or asked for, and not answered.
    Requested,
    On,
}

/// The options that one end accepts, and which of them are in use.
#[derive(Debug)]
pub struct Options {
    accepted: Vec<(Side, u8, State)>,
}

impl Options {
    /// Accepts these options, none of which is in use. All others are refused.
    #[must_use]
    pub fn new(accepted: &[(Side, u8)]) -> Self {
        Self { accepted: accepted.iter().map(|&(side, option)| (side, option, State::Off)).collect() }
    }

    /// What to send in order to have this option used; `None` where it is not accepted, is in use, or was requested.
    pub fn request(&mut self, side: Side, option: u8) -> Option<(Verb, u8)> {
        let state = self.state(side, option).filter(|state| **state == State::Off)?;
        *state = State::Requested;
        Some((verb(side, true), option))
    }

    /// What to answer to a negotiation of the peer, if anything.
    pub fn receive(&mut self, received: Verb, option: u8) -> Option<(Verb, u8)> {
        let (side, is_on) = match received {
            Verb::Will => (Side::Remote, true),
            Verb::Wont => (Side::Remote, false),
            Verb::Do => (Side::Local, true),
            Verb::Dont => (Side::Local, false),
        };
        let Some(state) = self.state(side, option) else { return is_on.then_some((verb(side, false), option)) };
        let before = std::mem::replace(state, if is_on { State::On } else { State::Off });
        // An answer to our own request is not answered, and neither is what changes nothing.
        let is_change = matches!((before, is_on), (State::Off, true) | (State::On, false));
        is_change.then_some((verb(side, is_on), option))
    }

    /// Whether this option is in use.
    #[must_use]
    pub fn is_on(&self, side: Side, option: u8) -> bool {
        self.accepted.contains(&(side, option, State::On))
    }

    fn state(&mut self, side: Side, option: u8) -> Option<&mut State> {
        let mut found = self.accepted.iter_mut().filter(|(s, o, _)| (*s, *o) == (side, option));
        found.next().map(|(_, _, state)| state)
    }
}

/// The verb by which an end agrees that an option is used, or is not.
fn verb(side: Side, is_on: bool) -> Verb {
    match (side, is_on) {
        (Side::Local, true) => Verb::Will,
        (Side::Local, false) => Verb::Wont,
        (Side::Remote, true) => Verb::Do,
        (Side::Remote, false) => Verb::Dont,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::telnet::option::{COM_PORT, ECHO};

    fn options() -> Options {
        Options::new(&[(Side::Local, COM_PORT), (Side::Remote, COM_PORT)])
    }

    #[test]
    fn an_offer_is_accepted_once_and_another_option_is_refused_each_time() {
        let mut options = options();
        assert_eq!(options.receive(Verb::Will, COM_PORT), Some((Verb::Do, COM_PORT)));
        assert_eq!(options.receive(Verb::Will, COM_PORT), None);
        assert!(options.is_on(Side::Remote, COM_PORT) && !options.is_on(Side::Local, COM_PORT));
        for _ in 0..2 {
            assert_eq!(options.receive(Verb::Do, ECHO), Some((Verb::Wont, ECHO)));
            assert_eq!(options.receive(Verb::Dont, ECHO), None);
        }
    }

    #[test]
    fn the_answer_to_a_request_is_not_answered() {
        for (answer, is_on) in [(Verb::Do, true), (Verb::Dont, false)] {
            let mut options = options();
            assert_eq!(options.request(Side::Local, COM_PORT), Some((Verb::Will, COM_PORT)));
            assert_eq!(options.request(Side::Local, COM_PORT), None);
            assert_eq!(options.receive(answer, COM_PORT), None);
            assert_eq!(options.is_on(Side::Local, COM_PORT), is_on);
        }
    }

    proptest! {
        /// Two ends that request what they like come to rest, and agree.
        #[test]
        fn two_ends_never_loop(requests in vec((any::<bool>(), any::<bool>(), prop_oneof![Just(COM_PORT), Just(ECHO)]), 0..8)) {
            let mut ends = [options(), Options::new(&[(Side::Local, COM_PORT), (Side::Remote, ECHO)])];
            let mut on_the_way: [std::collections::VecDeque<(Verb, u8)>; 2] = Default::default();
            for (end, is_local, option) in requests {
                let side = if is_local { Side::Local } else { Side::Remote };
                on_the_way[usize::from(!end)].extend(ends[usize::from(end)].request(side, option));
            }
            let mut sent = 0;
            while let Some(to) = (0..2).find(|&to| !on_the_way[to].is_empty()) {
                let (verb, option) = on_the_way[to].pop_front().unwrap();
                on_the_way[1 - to].extend(ends[to].receive(verb, option));
                sent += 1;
                prop_assert!(sent < 100);
            }
            for option in [COM_PORT, ECHO] {
                prop_assert_eq!(ends[0].is_on(Side::Local, option), ends[1].is_on(Side::Remote, option));
                prop_assert_eq!(ends[1].is_on(Side::Local, option), ends[0].is_on(Side::Remote, option));
            }
        }
    }
}
