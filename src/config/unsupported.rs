//! What the contract promises and this version cannot do on this system yet, found in what was typed. Judges nothing else.
//!
//! A version that learns one of these deletes its row from the system's table; nothing else has to change.

use std::ops::Range;
use std::path::Path;

use super::ConfigError;
use super::error::Source;
use super::gaps::GAPS;
use super::typed::{self, TypedDevice};

/// What a configuration asks for that this version cannot do, ordered by position. A text that [`super::Config::parse`]
/// refuses for its shape gives nothing.
pub fn unsupported(text: &str, file: &Path) -> Vec<ConfigError> {
    found(GAPS, text, file)
}

fn found(gaps: &[Gap], text: &str, file: &Path) -> Vec<ConfigError> {
    let source = Source::new(text, file);
    let Ok(typed) = typed::read(&source) else { return Vec::new() };
    let mut errors = Vec::new();
    for device in &typed.device {
        for (find, instead) in gaps {
            let places = find(device.get_ref());
            errors.extend(
                places.into_iter().map(|place| source.error(place, &format!("not in this version: {instead}"))),
            );
        }
    }
    errors.sort_by_key(|error| (error.line, error.column));
    errors
}

/// Finds a wish in a device, and says what it is and what to write instead.
pub(super) type Gap = (fn(&TypedDevice) -> Places, &'static str);
/// Where such wishes stand.
pub(super) type Places = Vec<Range<usize>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_done_is_listed_by_its_place() {
        let name: Gap = (|d| d.name.iter().map(|name| name.span()).collect(), "names; leave `name` out");
        let detach: Gap = (|d| d.detach.iter().map(|detach| detach.span()).collect(), "detaching; leave it out");
        let text = "[[device]]\ndetach = true\nname = \"a\"\nmatch = { vid = 1 }\n[[device]]\nname = \"b\"\n";
        let listed = |text: &str| -> Vec<String> {
            let errors = found(&[name, detach], text, Path::new("t.toml"));
            errors.iter().map(|e| format!("{}:{} {}", e.line, e.column, e.message)).collect()
        };
        assert_eq!(
            listed(text),
            [
                "2:10 not in this version: detaching; leave it out",
                "3:8 not in this version: names; leave `name` out",
                "6:8 not in this version: names; leave `name` out",
            ]
        );
        assert_eq!(listed("[["), [""; 0]);
    }
}
