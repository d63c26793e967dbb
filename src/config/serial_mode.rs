//! Line settings as everybody writes them, `8N1`, to a type and back. Knows no speed and no device.

use std::fmt;
use std::str::FromStr;

/// Data bits, parity and stop bits. Printing it parses back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SerialMode {
    /// Bits a character, 5 to 8.
    pub data_bits: u8,
    /// The parity bit.
    pub parity: Parity,
    /// Length of the stop bit.
    pub stop_bits: StopBits,
}

/// The parity bit, numbered as bParityType of CDC (PSTN 1.2 table 17).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parity {
    /// `N`.
    None,
    /// `O`.
    Odd,
    /// `E`.
    Even,
    /// `M`: always 1.
    Mark,
    /// `S`: always 0.
    Space,
}

/// The length of the stop bit, numbered as bCharFormat of CDC (PSTN 1.2 table 17).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopBits {
    /// `1`.
    One,
    /// `1.5`.
    OnePointFive,
    /// `2`.
    Two,
}

/// The text is no mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SerialModeError;

impl FromStr for SerialMode {
    type Err = SerialModeError;

    fn from_str(text: &str) -> Result<Self, SerialModeError> {
        let mut chars = text.chars();
        let data_bits = chars.next().and_then(|c| c.to_digit(10)).filter(|bits| (5..=8).contains(bits));
        let parity = chars.next().and_then(|c| position(&PARITIES, |&(letter, _)| letter == c.to_ascii_uppercase()));
        let stop_bits = position(&STOP_BITS, |&(text, _)| text == chars.as_str());
        match (data_bits, parity, stop_bits) {
            (Some(bits), Some(parity), Some(stop_bits)) => Ok(Self { data_bits: bits as u8, parity, stop_bits }),
            _ => Err(SerialModeError),
        }
    }
}

impl fmt::Display for SerialMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parity = PARITIES[self.parity as usize].0;
        let stop_bits = STOP_BITS[self.stop_bits as usize].0;
        write!(f, "{}{parity}{stop_bits}", self.data_bits)
    }
}

impl fmt::Display for SerialModeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no serial mode; write data bits 5 to 8, parity N, O, E, M or S, stop bits 1, 1.5 or 2, as in 8N1")
    }
}

impl std::error::Error for SerialModeError {}

fn position<K, V: Copy>(table: &[(K, V)], is: impl Fn(&(K, V)) -> bool) -> Option<V> {
    table.iter().find(|row| is(row)).map(|row| row.1)
}

/// In the order of the enums, which index them.
const PARITIES: [(char, Parity); 5] =
    [('N', Parity::None), ('O', Parity::Odd), ('E', Parity::Even), ('M', Parity::Mark), ('S', Parity::Space)];
const STOP_BITS: [(&str, StopBits); 3] = [("1", StopBits::One), ("1.5", StopBits::OnePointFive), ("2", StopBits::Two)];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_usual_mode_is_understood() {
        let mode = SerialMode { data_bits: 8, parity: Parity::None, stop_bits: StopBits::One };
        assert_eq!("8N1".parse(), Ok(mode));
        assert_eq!("8n1".parse(), Ok(mode));
    }

    #[test]
    fn every_mode_prints_and_parses_back() {
        for data_bits in 5..=8 {
            for (_, parity) in PARITIES {
                for (_, stop_bits) in STOP_BITS {
                    let mode = SerialMode { data_bits, parity, stop_bits };
                    assert_eq!(mode.to_string().parse(), Ok(mode));
                }
            }
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "8", "8N", "9N1", "4N1", "8X1", "8N3", "8N1 ", " 8N1", "8N1.50", "8-N-1", "８N1"] {
            assert_eq!(text.parse::<SerialMode>(), Err(SerialModeError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_or_fails(text in any::<String>()) {
            let _ = text.parse::<SerialMode>();
        }
    }
}
