//! The messages of the COM-PORT option, RFC 2217 section 3.

use crate::telnet::{option, put_subnegotiation};

/// Values of [`Message::Control`].
pub mod control {
    /// Asks for the flow control of both directions; 1 to 3 set it to none, XON/XOFF and RTS/CTS.
    pub const FLOW_QUERY: u8 = 0;
    /// No flow control.
    pub const FLOW_NONE: u8 = 1;
    /// XON/XOFF.
    pub const FLOW_XON_XOFF: u8 = 2;
    /// RTS/CTS.
    pub const FLOW_RTS_CTS: u8 = 3;
    /// Asks whether a break is being sent.
    pub const BREAK_QUERY: u8 = 4;
    /// Starts a break.
    pub const BREAK_ON: u8 = 5;
    /// Ends a break.
    pub const BREAK_OFF: u8 = 6;
    /// Asks for the state of DTR.
    pub const DTR_QUERY: u8 = 7;
    /// Raises DTR.
    pub const DTR_ON: u8 = 8;
    /// Drops DTR.
    pub const DTR_OFF: u8 = 9;
    /// Asks for the state of RTS.
    pub const RTS_QUERY: u8 = 10;
    /// Raises RTS.
    pub const RTS_ON: u8 = 11;
    /// Drops RTS.
    pub const RTS_OFF: u8 = 12;
    /// Asks for the flow control towards the server alone; 14 to 16 set it.
    pub const INBOUND_FLOW_QUERY: u8 = 13;
    /// No flow control towards the server.
    pub const INBOUND_FLOW_NONE: u8 = 14;
    /// XON/XOFF towards the server.
    pub const INBOUND_FLOW_XON_XOFF: u8 = 15;
    /// RTS/CTS towards the server.
    pub const INBOUND_FLOW_RTS_CTS: u8 = 16;
}

/// Bits of [`Message::ModemState`]: the lines, and in the low four bits which of them has changed.
pub mod modem_state {
    /// Carrier detect.
    pub const CD: u8 = 0x80;
    /// Ring indicator.
    pub const RI: u8 = 0x40;
    /// Data set ready.
    pub const DSR: u8 = 0x20;
    /// Clear to send.
    pub const CTS: u8 = 0x10;
}

/// Values of [`Message::Purge`].
pub mod purge {
    /// What was received and not yet sent to the client.
    pub const RECEIVED: u8 = 1;
    /// What the client has sent and the line has not.
    pub const TO_SEND: u8 = 2;
    /// Both.
    pub const BOTH: u8 = 3;
}

/// Which end sends a message; a server adds 100 to its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// The end that uses the line.
    Client,
    /// The end that has the line.
    Server,
}

/// One message. Values are as in the protocol; the server answers each request with the value that is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// Text that describes an end; empty to ask for the other's.
    Signature(&'a [u8]),
    /// Bits a second; 0 asks.
    BaudRate(u32),
    /// Data bits, 5 to 8; 0 asks.
    DataSize(u8),
    /// 1 none, 2 odd, 3 even, 4 mark, 5 space; 0 asks.
    Parity(u8),
    /// 1 one, 2 two, 3 one and a half stop bits; 0 asks.
    StopSize(u8),
    /// See [`control`].
    Control(u8),
    /// Bits of the UART's line status register, from the server.
    LineState(u8),
    /// See [`modem_state`], from the server.
    ModemState(u8),
    /// The sender can take no more data.
    FlowSuspend,
    /// The sender can take data again.
    FlowResume,
    /// Which bits of the line state the client wants to be notified of.
    LineStateMask(u8),
    /// Which bits of the modem state the client wants to be notified of.
    ModemStateMask(u8),
    /// See [`purge`].
    Purge(u8),
}

/// A subnegotiation that is no message of RFC 2217.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageError {
    /// It has no code.
    Empty,
    /// Its code is not of the protocol.
    Code(u8),
    /// Its value has the wrong length for its code.
    Length {
        /// The code, 100 more where a server sent it.
        code: u8,
        /// Bytes after the code.
        length: usize,
    },
}

impl std::fmt::Display for MessageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => write!(f, "an empty COM-PORT subnegotiation"),
            Self::Code(code) => write!(f, "unknown COM-PORT command {code}"),
            Self::Length { code, length } => write!(f, "COM-PORT command {code} with {length} bytes"),
        }
    }
}

impl std::error::Error for MessageError {}

const SERVER: u8 = 100;

impl<'a> Message<'a> {
    /// Decodes the payload of a subnegotiation.
    ///
    /// # Errors
    /// [`MessageError`] where it is no message of the protocol.
    pub fn decode(payload: &'a [u8]) -> Result<(Sender, Self), MessageError> {
        let (&code, value) = payload.split_first().ok_or(MessageError::Empty)?;
        let (sender, command) = if code >= SERVER { (Sender::Server, code - SERVER) } else { (Sender::Client, code) };
        let wrong = || MessageError::Length { code, length: value.len() };
        let byte = |message: fn(u8) -> Self| match value {
            [value] => Ok(message(*value)),
            _ => Err(wrong()),
        };
        let message = match command {
            0 => Self::Signature(value),
            1 => Self::BaudRate(u32::from_be_bytes(value.try_into().map_err(|_| wrong())?)),
            2 => byte(Self::DataSize)?,
            3 => byte(Self::Parity)?,
            4 => byte(Self::StopSize)?,
            5 => byte(Self::Control)?,
            6 => byte(Self::LineState)?,
            7 => byte(Self::ModemState)?,
            8 => Self::FlowSuspend,
            9 => Self::FlowResume,
            10 => byte(Self::LineStateMask)?,
            11 => byte(Self::ModemStateMask)?,
            12 => byte(Self::Purge)?,
            _ => return Err(MessageError::Code(code)),
        };
        Ok((sender, message))
    }

    /// Appends the message as a whole subnegotiation.
    pub fn encode(&self, sender: Sender, out: &mut Vec<u8>) {
        let baud_rate;
        let (code, value): (u8, &[u8]) = match self {
            Self::Signature(text) => (0, text),
            Self::BaudRate(value) => {
                baud_rate = value.to_be_bytes();
                (1, &baud_rate)
            }
            Self::DataSize(value) => (2, std::slice::from_ref(value)),
            Self::Parity(value) => (3, std::slice::from_ref(value)),
            Self::StopSize(value) => (4, std::slice::from_ref(value)),
            Self::Control(value) => (5, std::slice::from_ref(value)),
            Self::LineState(value) => (6, std::slice::from_ref(value)),
            Self::ModemState(value) => (7, std::slice::from_ref(value)),
            Self::FlowSuspend => (8, &[]),
            Self::FlowResume => (9, &[]),
            Self::LineStateMask(value) => (10, std::slice::from_ref(value)),
            Self::ModemStateMask(value) => (11, std::slice::from_ref(value)),
            Self::Purge(value) => (12, std::slice::from_ref(value)),
        };
        let code = if sender == Sender::Server { code + SERVER } else { code };
        put_subnegotiation(option::COM_PORT, &[&[code], value].concat(), out);
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::telnet::{Decoder, Item};

    fn message(kind: u8, number: u32, text: &[u8]) -> Message<'_> {
        let value = number as u8;
        match kind {
            0 => Message::Signature(text),
            1 => Message::BaudRate(number),
            2 => Message::DataSize(value),
            3 => Message::Parity(value),
            4 => Message::StopSize(value),
            5 => Message::Control(value),
            6 => Message::LineState(value),
            7 => Message::ModemState(value),
            8 => Message::FlowSuspend,
            9 => Message::FlowResume,
            10 => Message::LineStateMask(value),
            11 => Message::ModemStateMask(value),
            _ => Message::Purge(value),
        }
    }

    proptest! {
        #[test]
        fn each_message_comes_back_from_its_bytes(
            kind in 0u8..=12,
            number in any::<u32>(),
            text in vec(any::<u8>(), 0..100),
            sender in prop_oneof![Just(Sender::Client), Just(Sender::Server)],
        ) {
            let message = message(kind, number, &text);
            let mut bytes = Vec::new();
            message.encode(sender, &mut bytes);
            let (mut decoder, mut input) = (Decoder::default(), &bytes[..]);
            match decoder.next(&mut input) {
                Some(Item::Subnegotiation { option: option::COM_PORT, payload }) => {
                    prop_assert_eq!(Message::decode(payload), Ok((sender, message)));
                }
                other => prop_assert!(false, "{:?}", other),
            }
            prop_assert!(input.is_empty());
        }

        #[test]
        fn any_payload_is_a_message_or_an_error(payload in vec(any::<u8>(), 0..20)) {
            if let Ok((sender, message)) = Message::decode(&payload) {
                let mut bytes = Vec::new();
                message.encode(sender, &mut bytes);
                prop_assert!(bytes.len() >= 6);
            }
        }
    }

    #[test]
    fn a_baud_rate_is_four_bytes_high_byte_first_as_pyserial_sends_it() {
        let mut bytes = Vec::new();
        Message::BaudRate(115_200).encode(Sender::Client, &mut bytes);
        assert_eq!(bytes, [255, 250, 44, 1, 0x00, 0x01, 0xc2, 0x00, 255, 240]);
        assert_eq!(Message::decode(&[1, 0, 1]), Err(MessageError::Length { code: 1, length: 2 }));
        assert_eq!(Message::decode(&[77, 0]), Err(MessageError::Code(77)));
        assert_eq!(Message::decode(&[]), Err(MessageError::Empty));
    }
}
