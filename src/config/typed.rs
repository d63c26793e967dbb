//! What was typed: the shape of the file with positions, and nothing about its sense.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use toml::Spanned;

use super::error::{ConfigError, Source};
use super::value::{OneOrMany, Value};
use super::{
    Backend, Driver, Flow, Framing, Idle, ModemLinesPolicy, OnOpen, OutletKind, ResetPolicy, StallPolicy, Underrun,
    Unplug, Writers,
};

/// A key that may be absent, with the place of its value.
pub(super) type Typed<T> = Option<Spanned<T>>;

#[derive(Debug, serde::Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(super) struct TypedConfig {
    #[serde(default)]
    pub(super) device: Vec<Spanned<TypedDevice>>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(super) struct TypedDevice {
    pub(super) name: Typed<String>,
    #[serde(rename = "match")]
    pub(super) matches: Typed<TypedMatch>,
    pub(super) backend: Typed<Backend>,
    pub(super) remote: Typed<String>,
    pub(super) unplug: Typed<Unplug>,
    pub(super) timeout: Typed<Value>,
    pub(super) detach: Typed<bool>,
    pub(super) owner: Typed<String>,
    pub(super) group: Typed<String>,
    pub(super) mode: Typed<Value>,
    pub(super) sddl: Typed<String>,
    pub(super) serial: Typed<TypedSerial>,
    #[serde(rename = "serial-2")]
    pub(super) serial_2: Typed<TypedSerial>,
    #[serde(rename = "serial-3")]
    pub(super) serial_3: Typed<TypedSerial>,
    #[serde(rename = "serial-4")]
    pub(super) serial_4: Typed<TypedSerial>,
    #[serde(default)]
    pub(super) pipe: Vec<Spanned<TypedPipe>>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(super) struct TypedMatch {
    pub(super) vid: Typed<Value>,
    pub(super) pid: Typed<OneOrMany>,
    pub(super) serial: Typed<String>,
    pub(super) port: Typed<String>,
    pub(super) product: Typed<String>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(super) struct TypedPipe {
    pub(super) endpoint: Spanned<Value>,
    pub(super) interface: Typed<Value>,
    pub(super) alt: Typed<Value>,
    pub(super) outlets: Typed<Vec<Spanned<OutletKind>>>,
    pub(super) framing: Typed<Framing>,
    pub(super) transfer: Typed<Value>,
    pub(super) queue: Typed<Value>,
    pub(super) idle: Typed<Idle>,
    pub(super) on_open: Typed<OnOpen>,
    pub(super) stall: Typed<StallPolicy>,
    pub(super) zlp: Typed<bool>,
    pub(super) flush: Typed<Value>,
    pub(super) patience: Typed<Value>,
    pub(super) writers: Typed<Writers>,
    pub(super) prebuffer: Typed<Value>,
    pub(super) underrun: Typed<Underrun>,
    pub(super) packet: Typed<Value>,
    pub(super) buffer: Typed<Value>,
    pub(super) owner: Typed<String>,
    pub(super) group: Typed<String>,
    pub(super) mode: Typed<Value>,
    pub(super) sddl: Typed<String>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(super) struct TypedSerial {
    pub(super) driver: Typed<Driver>,
    pub(super) lock: Typed<bool>,
    pub(super) baud: Typed<Value>,
    pub(super) mode: Typed<String>,
    pub(super) flow: Typed<Flow>,
    pub(super) dtr: Typed<bool>,
    pub(super) rts: Typed<bool>,
    pub(super) reset: Typed<ResetPolicy>,
    pub(super) profile: Typed<String>,
    pub(super) boot_wait: Typed<Value>,
    pub(super) outlets: Typed<Vec<Spanned<OutletKind>>>,
    pub(super) run: Typed<Vec<Spanned<String>>>,
    pub(super) unread: Typed<Value>,
    pub(super) on_open: Typed<OnOpen>,
    pub(super) idle: Typed<Idle>,
    pub(super) flush: Typed<Value>,
    pub(super) patience: Typed<Value>,
    pub(super) interface: Typed<Value>,
    pub(super) rfc2217: Typed<String>,
    pub(super) tcp: Typed<String>,
    pub(super) allow: Typed<Vec<Spanned<String>>>,
    pub(super) modem_lines: Typed<ModemLinesPolicy>,
    pub(super) owner: Typed<String>,
    pub(super) group: Typed<String>,
    pub(super) sddl: Typed<String>,
}

impl TypedDevice {
    /// The tables of its serial lines.
    pub(super) fn serials(&self) -> impl Iterator<Item = &Spanned<TypedSerial>> + Clone {
        [&self.serial, &self.serial_2, &self.serial_3, &self.serial_4].into_iter().flatten()
    }
}

/// Reads the text, or says at which place it has no such shape.
pub(super) fn read(source: &Source<'_>) -> Result<TypedConfig, ConfigError> {
    toml::from_str(source.text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        let message = in_words_of_the_file(error.message());
        match key_before(source.text, span.start) {
            Some(key) => source.error(span, &format!("`{key}`: {message}")),
            None => source.error(span, &message),
        }
    })
}

/// The key whose value, or first element, begins here.
fn key_before(text: &str, value: usize) -> Option<&str> {
    let before = text.get(..value)?.trim_end().trim_end_matches('[').trim_end().strip_suffix('=')?.trim_end();
    before.rsplit(|c: char| !(c.is_alphanumeric() || "_-.".contains(c))).next().filter(|key| !key.is_empty())
}

/// serde speaks of the program's types; the user sees keys and tables.
fn in_words_of_the_file(message: &str) -> String {
    match message {
        "invalid type: map, expected a sequence" => {
            "one table where a list of tables is meant; write [[device]] or [[device.pipe]] with two brackets"
                .to_owned()
        }
        // What an enum says of a value that is no text.
        _ if message.starts_with("wanted ") => "expected a string".to_owned(),
        _ => message
            .replace("unknown field", "unknown key")
            .replace("missing field", "missing key")
            .replace("unknown variant", "unknown value")
            .replace("invalid type: map", "invalid type: table")
            .replace("expected a sequence", "expected an array"),
    }
}

/// A derived struct would also take an array, its elements as keys by position. `remote = "Self"` above makes the
/// derived code an ordinary function, so that only tables get there.
macro_rules! only_from_a_table {
    ($($name:ident),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Table;
                impl<'de> Visitor<'de> for Table {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a table")
                    }

                    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<$name, A::Error> {
                        $name::deserialize(MapAccessDeserializer::new(map))
                    }
                }
                deserializer.deserialize_map(Table)
            }
        }
    )*};
}

only_from_a_table!(TypedConfig, TypedDevice, TypedMatch, TypedPipe, TypedSerial);
