//! Readings that every table shares, and the list of what was found wrong. Knows no table.

use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;

use crate::config::error::{ConfigError, Source};
use crate::config::typed::Typed;
use crate::config::value::Value;
use crate::config::{Access, OutletKind};

/// What was found wrong so far. After a refusal readings go on with the default, so that one run shows all.
pub(super) struct Checks<'a> {
    source: &'a Source<'a>,
    errors: Vec<ConfigError>,
}

impl<'a> Checks<'a> {
    pub(super) fn new(source: &'a Source<'a>) -> Self {
        Self { source, errors: Vec::new() }
    }

    /// Where the file is, whatever the working directory becomes.
    pub(super) fn folder(&self) -> PathBuf {
        self.source.folder()
    }

    /// The verdict: errors by their place.
    pub(super) fn finish(mut self) -> Result<(), Vec<ConfigError>> {
        self.errors.sort_by_key(|error| (error.line, error.column));
        if self.errors.is_empty() { Ok(()) } else { Err(self.errors) }
    }

    pub(super) fn refuse(&mut self, span: Range<usize>, message: impl AsRef<str>) {
        self.errors.push(self.source.error(span, message.as_ref()));
    }

    /// The line of a byte offset, to point from one place to another.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.source.line(offset)
    }

    /// A value through its reading; `None` where it is absent or refused.
    pub(super) fn read<T>(
        &mut self,
        key: &str,
        typed: &Typed<Value>,
        reading: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        self.read_one(key, typed.as_ref()?, reading)
    }

    /// As [`Checks::read`], for a value that is there.
    pub(super) fn read_one<T>(
        &mut self,
        key: &str,
        typed: &Spanned<Value>,
        reading: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        reading(typed.get_ref()).map_err(|why| self.refuse(typed.span(), format!("`{key}` {why}"))).ok()
    }

    /// A string that says something: not empty, no control characters.
    pub(super) fn text(&mut self, key: &str, typed: &Typed<String>) -> Option<String> {
        let typed = typed.as_ref()?;
        let wrong = match typed.get_ref() {
            text if text.is_empty() => "is empty; leave the key out or say something",
            text if text.contains(char::is_control) => "has control characters; leave them out",
            text => return Some(text.clone()),
        };
        self.refuse(typed.span(), format!("`{key}` {wrong}"));
        None
    }

    /// Kinds of outlets, each at most once.
    pub(super) fn outlets(&mut self, typed: &Typed<Vec<Spanned<OutletKind>>>) -> Option<Vec<OutletKind>> {
        let mut kinds = Vec::new();
        for kind in typed.as_ref()?.get_ref() {
            match kinds.contains(kind.get_ref()) {
                true => self.refuse(kind.span(), "the same outlet twice; name each kind once"),
                false => kinds.push(*kind.get_ref()),
            }
        }
        Some(kinds)
    }

    pub(super) fn access(
        &mut self,
        owner: &Typed<String>,
        group: &Typed<String>,
        mode: &Typed<Value>,
        sddl: &Typed<String>,
    ) -> Access {
        Access {
            owner: self.text("owner", owner),
            group: self.text("group", group),
            mode: self.read("mode", mode, Value::permissions),
            sddl: self.text("sddl", sddl),
        }
    }
}

/// A key whose typed form is what it means.
pub(super) fn choice<T: Copy>(typed: &Typed<T>) -> Option<T> {
    typed.as_ref().map(|typed| *typed.get_ref())
}
