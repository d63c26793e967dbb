//! Text from devices, programs and servers, made fit for terminals, logs and JSON: the one place where that is decided.
//!
//! A terminal takes control characters for commands, those of C1 (U+0080 to U+009F) too, and bidirectional controls have text
//! read otherwise than it is. They are escaped, never dropped, so that what was sent can still be seen.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

/// Whether a character is shown as itself, and does nothing else.
pub fn is_printable(c: char) -> bool {
    let is_bidirectional =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    // Line and paragraph separators, the invisible byte order mark, and tags.
    let is_hidden = matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}');
    !(c.is_control() || is_bidirectional || is_hidden)
}

/// One line: everything that is not printable is written as `\u{9b}`.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, is_printable)
}

/// Lines: the same, but for line ends and tabulators.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_printable(c) || matches!(c, '\n' | '\t'))
}

fn escaped(text: &str, is_kept: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text.chars().all(&is_kept) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match is_kept(c) {
            true => escaped.push(c),
            false => drop(write!(escaped, "\\u{{{:x}}}", c as u32)),
        }
    }
    escaped.into()
}

/// JSON in one line. It reads back as what it was: what is not printable is written as `\u009b`.
///
/// # Errors
/// Those of the value's own `Serialize`.
pub fn json(value: &impl Serialize) -> serde_json::Result<String> {
    write_json(value, CompactFormatter)
}

/// The same in many lines, for people.
///
/// # Errors
/// As of [`json`].
pub fn pretty_json(value: &impl Serialize) -> serde_json::Result<String> {
    write_json(value, PrettyFormatter::new())
}

fn write_json(value: &impl Serialize, formatter: impl Formatter) -> serde_json::Result<String> {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, Escaping(formatter)))?;
    String::from_utf8(bytes).map_err(serde::ser::Error::custom)
}

/// Lays out as another one does, and escapes more in strings.
struct Escaping<F>(F);

/// Passes these on.
macro_rules! pass_on {
    ($($method:ident($($flag:ident)?)),*) => {
        $(fn $method<W: ?Sized + io::Write>(&mut self, writer: &mut W $(, $flag: bool)?) -> io::Result<()> {
            self.0.$method(writer $(, $flag)?)
        })*
    };
}

impl<F: Formatter> Formatter for Escaping<F> {
    pass_on!(
        begin_array(),
        end_array(),
        begin_array_value(first),
        end_array_value(),
        begin_object(),
        end_object(),
        begin_object_key(first),
        end_object_key(),
        begin_object_value(),
        end_object_value()
    );

    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| !is_printable(*c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn what_terminals_obey_is_escaped_and_what_people_write_is_not() {
        assert_eq!(
            line("a\x1b[2J\u{9b}31m\u{202e}cod\n\t\x7f"),
            "a\\u{1b}[2J\\u{9b}31m\\u{202e}cod\\u{a}\\u{9}\\u{7f}"
        );
        assert_eq!(lines("one\n\ttwo\r\n"), "one\n\ttwo\\u{d}\n");
        for plain in ["Größe 5 µm", "日本語", "שלום", "e\u{301}", "\\u{9b}", "👩\u{200d}🔬"] {
            assert_eq!(line(plain), plain);
        }
    }

    #[test]
    fn json_escapes_it_as_json_does() {
        assert_eq!(json(&"\u{9b}\u{202e}\x7f\u{e0041}\"\n").unwrap(), r#""\u009b\u202e\u007f\udb40\udc41\"\n""#);
        assert_eq!(
            pretty_json(&serde_json::json!({"a": ["\u{9b}", 1]})).unwrap(),
            "{\n  \"a\": [\n    \"\\u009b\",\n    1\n  ]\n}"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_printable_afterwards(text in any::<String>()) {
            prop_assert!(line(&text).chars().all(is_printable));
            prop_assert!(lines(&text).chars().all(|c| is_printable(c) || matches!(c, '\n' | '\t')));
        }

        #[test]
        fn any_json_reads_back(text in any::<String>(), number in any::<i32>()) {
            let value = serde_json::json!({text.clone(): [text.clone(), number], "other": {"none": null}});
            for written in [json(&value).unwrap(), pretty_json(&value).unwrap()] {
                prop_assert!(written.chars().all(|c| is_printable(c) || c == '\n'));
                prop_assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), value.clone());
            }
        }
    }
}
