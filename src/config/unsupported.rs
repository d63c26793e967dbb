//! What the contract promises and this version cannot do yet, found in what was typed. Judges nothing else.
//!
//! A version that learns one of these deletes its row from the table; nothing else has to change.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;

use super::ConfigError;
use super::error::Source;
use super::typed::{self, Typed, TypedDevice, TypedSerial};

/// What a configuration asks for that this version cannot do, ordered by position. A text that [`super::Config::parse`]
/// refuses for its shape gives nothing.
pub fn unsupported(text: &str, file: &Path) -> Vec<ConfigError> {
    let source = Source::new(text, file);
    let Ok(typed) = typed::read(&source) else { return Vec::new() };
    let mut errors = Vec::new();
    for device in &typed.device {
        for (find, instead) in GAPS {
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
type Gap = (fn(&TypedDevice) -> Places, &'static str);
type Places = Vec<Range<usize>>;

const GAPS: &[Gap] = &[(|d| serial(d, |serial| span(&serial.run)), "running a program at attach; leave `run` out")];

fn serial(device: &TypedDevice, find: impl Fn(&TypedSerial) -> Option<Range<usize>>) -> Places {
    device.serial.iter().filter_map(|serial| find(serial.get_ref())).collect()
}

fn span<T>(typed: &Typed<T>) -> Option<Range<usize>> {
    typed.as_ref().map(Spanned::span)
}
