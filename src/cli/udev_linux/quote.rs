//! Text from devices, people and configurations as it may stand in a udev rule. Knows no key and no device.
//!
//! udev(7): a value ends at a `"` that no backslash precedes; a match is a shell pattern (`*`, `?`, `[…]`), or several
//! with `|` between them; `$` and `%` are substituted in what is assigned, not in what is matched.

/// The pattern that fits `text` and nothing else. Only a character that no pattern can hold literally (`|`, control and
/// other invisible characters) is replaced by `?`, which fits any one byte.
pub(super) fn pattern(text: &str) -> String {
    text.chars().map(pattern_of).collect()
}

fn pattern_of(c: char) -> String {
    match c {
        '"' => "\\\"".to_owned(),
        // In brackets, because a backslash before the closing quote would be taken as belonging to the quote.
        '\\' => "[\\\\]".to_owned(),
        '*' | '?' | '[' => format!("[{c}]"),
        '|' => "?".to_owned(),
        ' ' => " ".to_owned(),
        c if c.is_ascii_graphic() || c.is_alphanumeric() => c.to_string(),
        // udevd compares bytes.
        c => "?".repeat(c.len_utf8()),
    }
}

/// Text for a comment, on one line whatever it holds.
pub(super) fn comment(text: &str) -> String {
    text.escape_debug().collect()
}

/// The name or number of a group as it may be assigned.
///
/// # Errors
/// Why it may not.
pub(super) fn group(name: &str) -> Result<&str, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if (1..=32).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with(['-', '.']) {
        return Ok(name);
    }
    Err(format!("{name:?} is no name of a group that a rule may hold; letters, digits, `_`, `-` and `.` are"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_stays_as_it_is() {
        for text in ["75330303035351E0F1B1", "a b", "{x}$%'#,=!^-]", "Gerät 7"] {
            assert_eq!(pattern(text), text);
        }
    }

    #[test]
    fn what_a_rule_would_read_as_its_own_is_taken_from_it() {
        assert_eq!(pattern(r#"a"b"#), r#"a\"b"#);
        assert_eq!(pattern(r"a\"), r"a[\\]");
        assert_eq!(pattern("*?[x]"), "[*][?][[]x]");
        assert_eq!(pattern("a|b\n\t\u{202e}"), "a?b?????");
    }

    #[test]
    fn a_group_is_a_plain_word() {
        for name in ["usbpipe", "plugdev", "46", "_a-b.c", "Domain_Users"] {
            assert_eq!(group(name), Ok(name));
        }
        for name in ["", "a b", "a\"", "$x", "%k", "-x", "a\n", "ä", &"x".repeat(33)] {
            assert!(group(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_comment_stays_on_its_line() {
        assert_eq!(comment("a\nb\r\u{2028}\\"), r"a\nb\r\u{2028}\\");
    }
}
