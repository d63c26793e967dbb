//! A number or a text as typed, and the readings of it: integers, sizes, durations, permission bits. Knows no key.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use toml::Spanned;

/// A TOML number or string whose meaning depends on its key.
///
/// Readings fail with the end of a sentence that begins with the key: `is 0, but must be …`.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Integer(i128),
    Float(f64),
    Text(String),
}

/// One value, or an array of values.
#[derive(Debug)]
pub(super) enum OneOrMany {
    One(Value),
    Many(Vec<Spanned<Value>>),
}

impl Value {
    /// An integer of this range, which must fit into `T`.
    pub(super) fn integer<T: TryFrom<i128>>(&self, range: RangeInclusive<i128>) -> Result<T, String> {
        let must = || format!("must be {} to {}", range.start(), range.end());
        match self {
            Self::Integer(number) if range.contains(number) => T::try_from(*number).map_err(|_| must()),
            Self::Text(_) => Err(format!("is {self}, but must be a number without quotes")),
            _ => Err(format!("is {self}, but {}", must())),
        }
    }

    /// An integer in hex, as idVendor is usually written.
    pub(super) fn id(&self) -> Result<u16, String> {
        self.integer(0..=0xffff).map_err(|_| format!("is {self}, but must be a number from 0x0000 to 0xffff"))
    }

    /// Bytes: an integer, or a text like `"64K"` or `"1M"` in powers of 1024.
    pub(super) fn size(&self, range: RangeInclusive<i128>) -> Result<u32, String> {
        let bytes = match self {
            Self::Text(text) => parse_size(text).ok_or(format!("is {self}, but must be bytes, as 65536 or \"64K\""))?,
            Self::Integer(number) => *number,
            Self::Float(_) => return Err(format!("is {self}, but must be whole bytes")),
        };
        let wrong = || format!("is {self}, but must be {} to {} bytes", range.start(), range.end());
        u32::try_from(bytes).ok().filter(|_| range.contains(&bytes)).ok_or_else(wrong)
    }

    /// A time: seconds as a number, or a text like `"250ms"`, `"1.5s"` or `"2m"`.
    pub(super) fn duration(&self, range: RangeInclusive<Duration>) -> Result<Duration, String> {
        let seconds = match self {
            Self::Integer(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            Self::Text(text) => parse_seconds(text),
        };
        let seconds =
            seconds.ok_or(format!("is {self}, but must be seconds, or a time like \"250ms\", \"1s\" or \"2m\""))?;
        let time = Duration::try_from_secs_f64(seconds).ok().filter(|time| range.contains(time));
        time.ok_or_else(|| format!("is {self}, but must be {} to {}", in_words(*range.start()), in_words(*range.end())))
    }

    /// Permission bits: `"0640"`, or `0o640`.
    pub(super) fn permissions(&self) -> Result<u32, String> {
        let bits = match self {
            Self::Integer(number) => u32::try_from(*number).ok(),
            Self::Text(text) => parse_octal(text),
            Self::Float(_) => None,
        };
        let wrong = || format!("is {self}, but must be octal and at most 0777, as \"0640\" or 0o640");
        bits.filter(|&bits| bits <= 0o777).ok_or_else(wrong)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => number.fmt(f),
            Self::Float(number) => number.fmt(f),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor)
    }
}

struct ValueVisitor;

impl Visitor<'_> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or a string")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Integer(number.into()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Integer(number.into()))
    }

    fn visit_i128<E: Error>(self, number: i128) -> Result<Value, E> {
        Ok(Value::Integer(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }
}

struct OneOrManyVisitor;

impl<'de> Visitor<'de> for OneOrManyVisitor {
    type Value = OneOrMany;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or an array of numbers")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<OneOrMany, E> {
        ValueVisitor.visit_i64(number).map(OneOrMany::One)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<OneOrMany, E> {
        ValueVisitor.visit_str(text).map(OneOrMany::One)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<OneOrMany, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element()? {
            values.push(value);
        }
        Ok(OneOrMany::Many(values))
    }
}

/// Bytes as people write them: `65536`, `64K`, `1 MiB`, `2G`, in powers of 1024.
pub fn parse_size(text: &str) -> Option<i128> {
    let (digits, unit) = split_unit(text);
    let factor = match unit {
        "" => 1,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u32>().ok().map(|number| i128::from(number) * factor)
}

fn parse_seconds(text: &str) -> Option<f64> {
    let (digits, unit) = split_unit(text);
    let factor = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    // Rounded to nanoseconds by hand: 0.1 ms must not become 99.999 µs.
    digits.parse::<f64>().ok().map(|number| (number * factor * 1e9).round() / 1e9)
}

fn in_words(time: Duration) -> String {
    match time {
        Duration::ZERO => "0".to_owned(),
        DAY => "1 day".to_owned(),
        time => format!("{time:?}"),
    }
}

/// Splits `1.5 s` behind its digits and dots.
fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

fn parse_octal(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| u32::from_str_radix(digits, 8).ok()).flatten()
}

/// The longest time that any key takes.
pub(super) const DAY: Duration = Duration::from_secs(86400);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn times_are_seconds_or_carry_a_unit() {
        for (value, ms) in [
            (Value::Integer(2), 2000),
            (Value::Float(0.25), 250),
            (text("250ms"), 250),
            (text("1s"), 1000),
            (text("1.5 s"), 1500),
            (text("2m"), 120_000),
            (text("0s"), 0),
        ] {
            assert_eq!(value.duration(Duration::ZERO..=DAY), Ok(Duration::from_millis(ms)), "{value}");
        }
        assert_eq!(text("100us").duration(Duration::ZERO..=DAY), Ok(Duration::from_micros(100)));
    }

    #[test]
    fn impossible_times_are_refused() {
        let values = [Value::Integer(-1), Value::Integer(86401), Value::Float(f64::NAN), Value::Float(f64::INFINITY)];
        for value in values.into_iter().chain(["", "5", "s", "1 day", "-1s", "1..5s", "25h", "1e3s"].map(text)) {
            assert!(value.duration(Duration::ZERO..=DAY).is_err(), "{value}");
        }
    }

    #[test]
    fn sizes_are_bytes_or_carry_a_unit() {
        assert_eq!(text("64K").size(1..=65536), Ok(65536));
        assert_eq!(text("1 MiB").size(1..=1 << 20), Ok(1 << 20));
        assert_eq!(Value::Integer(512).size(1..=512), Ok(512));
        for value in [text("64X"), text("0.5K"), text("65K"), text("4294967295M"), Value::Integer(0), Value::Float(1.0)]
        {
            assert!(value.size(1..=65536).is_err(), "{value}");
        }
    }

    #[test]
    fn permissions_are_octal() {
        assert_eq!(text("0640").permissions(), Ok(0o640));
        assert_eq!(text("0o640").permissions(), Ok(0o640));
        assert_eq!(Value::Integer(0o640).permissions(), Ok(0o640));
        for value in
            [text(""), text("0800"), text("1777"), text("+640"), text("rw"), Value::Integer(640), Value::Integer(-1)]
        {
            assert!(value.permissions().is_err(), "{value}");
        }
    }

    #[test]
    fn an_id_in_quotes_is_told_to_lose_them() {
        assert_eq!(text("2341").id(), Err("is \"2341\", but must be a number from 0x0000 to 0xffff".into()));
        assert!(text("1").integer::<u8>(0..=9).unwrap_err().contains("without quotes"));
    }

    proptest! {
        #[test]
        fn any_value_can_be_read_or_not(
            value in prop_oneof![
                any::<i128>().prop_map(Value::Integer),
                any::<f64>().prop_map(Value::Float),
                any::<String>().prop_map(Value::Text),
                "[0-9.]{0,30} ?[a-zA-Z]{0,2}".prop_map(Value::Text),
            ],
        ) {
            let _ = value.integer::<u8>(0..=255);
            let _ = value.size(1..=1 << 24);
            let _ = value.duration(Duration::ZERO..=DAY);
            let _ = value.permissions();
        }
    }
}
