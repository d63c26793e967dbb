//! The reference of the configuration: every key with what it takes, and its default. It reads no configuration.
//!
//! ```text
//! tables.rs ──► markdown.rs ──► docs/configuration.md
//!          └──► manual.rs   ──► usbpipe.toml(5)
//! ```
//!
//! A key that the parser knows and `tables.rs` does not, or the other way round, fails `tests.rs`, as does a default or a
//! limit that is not the parser's.

mod manual;
mod markdown;
mod tables;
#[cfg(test)]
mod tests;

pub use manual::manual;
pub use markdown::markdown;

/// One table of the file.
struct Table {
    /// As it is written in the file.
    name: &'static str,
    /// What it is for; paragraphs, in which code stands between backticks.
    about: &'static str,
    /// A complete configuration that shows it.
    example: &'static str,
    /// Its keys, the most used ones first.
    keys: &'static [Key],
}

/// One key of a table.
struct Key {
    name: &'static str,
    /// What it sets; sentences, in which code stands between backticks.
    about: &'static str,
    values: Values,
    default: Default,
    /// A value that is not the default, as written in the file.
    example: Text,
    endpoints: Endpoints,
    systems: Systems,
}

/// What a key takes. Values are as written in the file.
#[cfg_attr(not(test), expect(dead_code, reason = "values are held against the parser by tests alone"))]
enum Values {
    /// One of these strings.
    Choice(&'static [&'static str]),
    /// A list of these strings.
    Choices(&'static [&'static str]),
    /// `true` or `false`.
    Switch,
    /// From the least to the most, both included; values beyond are refused.
    Range { unit: &'static str, least: &'static str, most: &'static str, refused: &'static [&'static str] },
    /// Something that only words describe.
    Other { words: &'static str, accepted: &'static [&'static str], refused: &'static [&'static str] },
    /// A table with keys of its own.
    Table(&'static str),
}

/// What holds without a key.
enum Default {
    /// Nothing: the key is required.
    Required,
    /// This value, as written in the file.
    Value(Text),
    /// Something that no value stands for, in words.
    Words(&'static str),
}

/// A text that may differ between the systems.
enum Text {
    Same(&'static str),
    Each { linux: &'static str, windows: &'static str },
}

/// Which endpoints a key of a pipe is for.
#[derive(Clone, Copy, PartialEq)]
enum Endpoints {
    Any,
    In,
    Out,
    IsochronousIn,
    IsochronousOut,
}

/// Which systems have a key. The others refuse it.
#[derive(Clone, Copy, PartialEq)]
enum Systems {
    Both,
    Linux,
    Windows,
}

impl Key {
    /// A key of every system and every endpoint.
    const fn new(
        name: &'static str,
        values: Values,
        default: Default,
        example: &'static str,
        about: &'static str,
    ) -> Self {
        let (endpoints, systems) = (Endpoints::Any, Systems::Both);
        Self { name, about, values, default, example: Text::Same(example), endpoints, systems }
    }

    const fn of(mut self, endpoints: Endpoints) -> Self {
        self.endpoints = endpoints;
        self
    }

    const fn on(mut self, systems: Systems) -> Self {
        self.systems = systems;
        self
    }

    const fn with_example(mut self, example: Text) -> Self {
        self.example = example;
        self
    }
}

impl Values {
    /// In words, with code between backticks.
    fn words(&self) -> String {
        match self {
            Self::Choice(names) => names.iter().map(|name| format!("`\"{name}\"`")).collect::<Vec<_>>().join(", "),
            Self::Choices(names) => {
                let names: Vec<String> = names.iter().map(|name| format!("`\"{name}\"`")).collect();
                format!("a list of {}", names.join(", "))
            }
            Self::Switch => "`true` or `false`".to_owned(),
            Self::Range { unit, least, most, .. } => format!("{unit}, `{least}` to `{most}`"),
            Self::Other { words, .. } => (*words).to_owned(),
            Self::Table(name) => format!("a table, see `{name}`"),
        }
    }
}

impl Default {
    fn words(&self) -> String {
        match self {
            Self::Required => "none, the key is required".to_owned(),
            Self::Value(value) => value.words(|value| format!("`{value}`")),
            Self::Words(words) => (*words).to_owned(),
        }
    }
}

impl Text {
    /// The text, or that of each system.
    fn words(&self, quoted: impl Fn(&str) -> String) -> String {
        match self {
            Self::Same(text) => quoted(text),
            Self::Each { linux, windows } => format!("{} on Linux, {} on Windows", quoted(linux), quoted(windows)),
        }
    }
}

impl Endpoints {
    /// `None` where every endpoint has the key.
    fn words(self) -> Option<&'static str> {
        match self {
            Self::Any => None,
            Self::In => Some("IN"),
            Self::Out => Some("OUT"),
            Self::IsochronousIn => Some("isochronous IN"),
            Self::IsochronousOut => Some("isochronous OUT"),
        }
    }
}

impl Systems {
    fn words(self) -> &'static str {
        match self {
            Self::Both => "Linux, Windows",
            Self::Linux => "Linux",
            Self::Windows => "Windows",
        }
    }
}

/// What a reader sees of a key: label and words, with code between backticks.
fn facts(key: &Key) -> Vec<(&'static str, String)> {
    let mut facts = vec![("Values", key.values.words()), ("Default", key.default.words())];
    if !matches!(key.values, Values::Table(_)) {
        facts.push(("Example", key.example.words(|value| format!("`{} = {value}`", key.name))));
    }
    if let Some(words) = key.endpoints.words() {
        facts.push(("Endpoints", words.to_owned()));
    }
    facts.push(("Systems", key.systems.words().to_owned()));
    facts
}

/// The text in pieces that are code or not, in turn: the first is not.
fn pieces(text: &str) -> impl Iterator<Item = (bool, &str)> {
    text.split('`').enumerate().map(|(n, piece)| (n % 2 == 1, piece)).filter(|(_, piece)| !piece.is_empty())
}

/// What holds for the whole file.
const ABOUT: &str = "usbpipe.toml is the configuration of `usbpipe run`. It is looked for in the current directory, in \
`$XDG_CONFIG_HOME/usbpipe/` and in `/etc/usbpipe/`; on Windows in the current directory, in `%APPDATA%\\usbpipe` and in \
`%PROGRAMDATA%\\usbpipe`. `-c FILE` names another file.

The file is TOML. Unknown keys, doubled names and impossible values are errors with file, line and column; `usbpipe config \
check` reports them without running anything. SIGHUP has the daemon read the file again.

Times are seconds as a number, or text with a unit: `us`, `ms`, `s`, `m` or `h`, as `\"250ms\"`. Sizes are bytes, or text with \
`K`, `M` or `G`, which are powers of 1024, as `\"64K\"`.

`usbpipe bridge` and `usbpipe exec` need no configuration; their options `--detach`, `--interface`, `--alt`, `--framing` and \
`--socket` set what some keys set here.";
