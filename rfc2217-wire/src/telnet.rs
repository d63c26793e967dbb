//! The telnet protocol of RFC 854: data with commands between them.

/// Codes of options.
pub mod option {
    /// TRANSMIT-BINARY, RFC 856: all 256 values are data.
    pub const BINARY: u8 = 0;
    /// ECHO, RFC 857.
    pub const ECHO: u8 = 1;
    /// SUPPRESS-GO-AHEAD, RFC 858.
    pub const SUPPRESS_GO_AHEAD: u8 = 3;
    /// COM-PORT-OPTION, RFC 2217.
    pub const COM_PORT: u8 = 44;
}

/// Most bytes of a subnegotiation that are kept. The longest message of RFC 2217 that matters is a signature.
pub const LONGEST_SUBNEGOTIATION: usize = 512;

const SE: u8 = 240;
const SB: u8 = 250;
const IAC: u8 = 255;

/// What a peer offers or asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// The sender wants to use an option, or agrees to.
    Will = 251,
    /// The sender does not use an option, or refuses to.
    Wont = 252,
    /// The sender wants the receiver to use an option, or agrees to it.
    Do = 253,
    /// The sender wants the receiver not to use an option.
    Dont = 254,
}

impl Verb {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Will, Self::Wont, Self::Do, Self::Dont].into_iter().find(|verb| *verb as u8 == byte)
    }
}

/// One part of what a peer sends.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// Data bytes, at least one. Consecutive items may be parts of one write of the peer.
    Data(&'a [u8]),
    /// A command without an operand, such as 241 (NOP), 243 (BREAK) or 246 (ARE YOU THERE).
    Command(u8),
    /// An option is offered, asked for or refused.
    Negotiation(Verb, u8),
    /// The parameters of an option, doubled 255s already single.
    Subnegotiation {
        /// Whose parameters they are.
        option: u8,
        /// At most [`LONGEST_SUBNEGOTIATION`] bytes.
        payload: &'a [u8],
    },
    /// A subnegotiation that is longer than [`LONGEST_SUBNEGOTIATION`] has ended; its payload was dropped.
    TooLong {
        /// Whose parameters they were.
        option: u8,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Data,
    Command,
    Negotiation(Verb),
    /// The option of a subnegotiation comes next.
    Option,
    Payload(u8),
    /// The same after a 255.
    PayloadCommand(u8),
}

/// Splits a stream of bytes, in chunks of any size, into its items.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
    payload: Vec<u8>,
    is_too_long: bool,
}

impl Decoder {
    /// Takes the next item off the front of `input`; `None` when all of `input` is used up. What is incomplete then is
    /// continued with the next chunk.
    ///
    /// ```
    /// use rfc2217_wire::{Decoder, Item, Verb};
    ///
    /// let mut decoder = Decoder::default();
    /// let mut input: &[u8] = b"ab\xff\xffc\xff\xfb\x2c";
    /// assert_eq!(decoder.next(&mut input), Some(Item::Data(b"ab")));
    /// assert_eq!(decoder.next(&mut input), Some(Item::Data(b"\xffc")));
    /// assert_eq!(decoder.next(&mut input), Some(Item::Negotiation(Verb::Will, 44)));
    /// assert_eq!(decoder.next(&mut input), None);
    /// ```
    pub fn next<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8]) -> Option<Item<'s>> {
        loop {
            let (&first, rest) = input.split_first()?;
            if self.state == State::Data && first != IAC {
                return Some(Item::Data(take_data(input, 0)));
            }
            if self.state == State::Command && first == IAC {
                self.state = State::Data;
                // The second 255 is data, and so is what follows it.
                return Some(Item::Data(take_data(input, 1)));
            }
            *input = rest;
            let (state, is_item) = self.step(first);
            let ended = std::mem::replace(&mut self.state, state);
            if is_item {
                return Some(self.item(ended, first));
            }
        }
    }

    /// The state after a byte that is no data, and whether the byte completes an item.
    fn step(&mut self, byte: u8) -> (State, bool) {
        match (self.state, byte) {
            (State::Data, _) => (State::Command, false),
            (State::Command, SB) => (State::Option, false),
            (State::Command, _) => match Verb::from_byte(byte) {
                Some(verb) => (State::Negotiation(verb), false),
                None => (State::Data, true),
            },
            (State::Negotiation(_), _) => (State::Data, true),
            (State::Option, option) => {
                self.payload.clear();
                self.is_too_long = false;
                (State::Payload(option), false)
            }
            (State::Payload(option), IAC) => (State::PayloadCommand(option), false),
            (State::PayloadCommand(_), SE) => (State::Data, true),
            // A single 255 that ends nothing is not allowed here. Like a doubled one it is a byte of the payload, so that no
            // peer loses the end of a subnegotiation by it.
            (State::Payload(option) | State::PayloadCommand(option), byte) => {
                self.keep(byte);
                (State::Payload(option), false)
            }
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.payload.len() < LONGEST_SUBNEGOTIATION {
            self.payload.push(byte);
        } else {
            self.is_too_long = true;
        }
    }

    /// What was completed by `byte` in the state that has ended.
    fn item(&self, ended: State, byte: u8) -> Item<'_> {
        match ended {
            State::Negotiation(verb) => Item::Negotiation(verb, byte),
            State::PayloadCommand(option) if self.is_too_long => Item::TooLong { option },
            State::PayloadCommand(option) => Item::Subnegotiation { option, payload: &self.payload },
            _ => Item::Command(byte),
        }
    }
}

/// Takes data off the front of `input`: `certain` bytes and what follows them up to the next 255.
fn take_data<'i>(input: &mut &'i [u8], certain: usize) -> &'i [u8] {
    let follows = input[certain..].iter().position(|&byte| byte == IAC);
    let (data, rest) = input.split_at(follows.map_or(input.len(), |at| certain + at));
    *input = rest;
    data
}

/// Appends data with every 255 doubled.
pub fn escape(data: &[u8], out: &mut Vec<u8>) {
    for run in data.split_inclusive(|&byte| byte == IAC) {
        out.extend_from_slice(run);
        if run.last() == Some(&IAC) {
            out.push(IAC);
        }
    }
}

/// Appends a negotiation.
pub fn put_negotiation(verb: Verb, option: u8, out: &mut Vec<u8>) {
    out.extend([IAC, verb as u8, option]);
}

/// Appends the parameters of an option.
pub fn put_subnegotiation(option: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.extend([IAC, SB, option]);
    escape(payload, out);
    out.extend([IAC, SE]);
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// An item that owns its bytes, data joined.
    #[derive(Debug, Clone, PartialEq, Eq)]
    enum Owned {
        Data(Vec<u8>),
        Command(u8),
        Negotiation(Verb, u8),
        Subnegotiation(u8, Vec<u8>),
        TooLong(u8),
    }

    fn decoded<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Owned> {
        let (mut decoder, mut all) = (Decoder::default(), Vec::new());
        for mut chunk in chunks {
            while let Some(item) = decoder.next(&mut chunk) {
                match item {
                    Item::Data(more) => match all.last_mut() {
                        Some(Owned::Data(data)) => data.extend(more),
                        _ => all.push(Owned::Data(more.to_vec())),
                    },
                    Item::Command(code) => all.push(Owned::Command(code)),
                    Item::Negotiation(verb, option) => all.push(Owned::Negotiation(verb, option)),
                    Item::Subnegotiation { option, payload } => {
                        all.push(Owned::Subnegotiation(option, payload.to_vec()))
                    }
                    Item::TooLong { option } => all.push(Owned::TooLong(option)),
                }
            }
            assert!(decoder.payload.len() <= LONGEST_SUBNEGOTIATION);
        }
        all
    }

    fn encoded(items: &[Owned]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for item in items {
            match item {
                Owned::Data(data) => escape(data, &mut bytes),
                Owned::Command(code) => bytes.extend([IAC, *code]),
                Owned::Negotiation(verb, option) => put_negotiation(*verb, *option, &mut bytes),
                Owned::Subnegotiation(option, payload) => put_subnegotiation(*option, payload, &mut bytes),
                Owned::TooLong(_) => unreachable!("nothing is encoded as too long"),
            }
        }
        bytes
    }

    fn item() -> impl Strategy<Value = Owned> {
        // Much of it 255, which is where mistakes hide.
        let byte = prop_oneof![Just(IAC), Just(SE), Just(SB), any::<u8>()];
        let verb = prop_oneof![Just(Verb::Will), Just(Verb::Wont), Just(Verb::Do), Just(Verb::Dont)];
        prop_oneof![
            vec(byte.clone(), 1..50).prop_map(Owned::Data),
            (241u8..250).prop_map(Owned::Command),
            (verb, any::<u8>()).prop_map(|(verb, option)| Owned::Negotiation(verb, option)),
            (any::<u8>(), vec(byte, 0..50)).prop_map(|(option, payload)| Owned::Subnegotiation(option, payload)),
        ]
    }

    fn joined(items: Vec<Owned>) -> Vec<Owned> {
        items.into_iter().fold(Vec::new(), |mut all, item| {
            match (all.last_mut(), item) {
                (Some(Owned::Data(data)), Owned::Data(more)) => data.extend(more),
                (_, item) => all.push(item),
            }
            all
        })
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded_whatever_the_chunks(items in vec(item(), 0..20), size in 1usize..40) {
            let bytes = encoded(&items);
            prop_assert_eq!(decoded(bytes.chunks(size)), joined(items));
        }

        #[test]
        fn any_bytes_give_the_same_items_whatever_the_chunks(bytes in vec(any::<u8>(), 0..2000), size in 1usize..40) {
            prop_assert_eq!(decoded(bytes.chunks(size)), decoded([&bytes[..]]));
        }
    }

    #[test]
    fn a_subnegotiation_without_end_is_bounded_and_named_when_it_ends() {
        let mut bytes = vec![IAC, SB, 44];
        bytes.extend(vec![7; 1 << 20]);
        bytes.extend([IAC, SE, b'x']);
        assert_eq!(decoded(bytes.chunks(4096)), [Owned::TooLong(44), Owned::Data(b"x".to_vec())]);
    }

    #[test]
    fn a_single_255_in_a_subnegotiation_does_not_hide_its_end() {
        let bytes = [IAC, SB, 44, 1, IAC, 7, IAC, SE, b'x'];
        assert_eq!(decoded([&bytes[..]]), [Owned::Subnegotiation(44, vec![1, 7]), Owned::Data(b"x".to_vec())]);
    }
}
