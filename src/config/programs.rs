//! Programs that a configuration names and that are not there. The daemon starts without them, because they may come later.

use std::path::Path;

use super::error::{ConfigError, Source};
use super::program::find;
use super::typed;

/// The programs of `run` that cannot be found now, ordered by position, each with where it was looked for. A text that
/// [`super::Config::parse`] refuses for its shape gives nothing.
pub fn missing_programs(text: &str, file: &Path) -> Vec<ConfigError> {
    let source = Source::new(text, file);
    let Ok(typed) = typed::read(&source) else { return Vec::new() };
    let serials = typed.device.iter().flat_map(|device| device.get_ref().serials());
    let programs = serials.filter_map(|serial| serial.get_ref().run.as_ref()?.get_ref().first());
    let missing = programs.filter_map(|program| {
        let why = find(program.get_ref(), &source.folder()).err()?;
        Some(source.error(program.span(), &format!("`run`: {why}")))
    });
    missing.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_is_named_with_its_place_and_where_it_was_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("usbpipe.toml");
        let text = "[[device]]\nname = \"d\"\nmatch = { vid = 1 }\n[device.serial]\nrun = [\"./nope\", \"x\"]\n";
        let missing = missing_programs(text, &file);
        assert_eq!((missing.len(), missing[0].line, missing[0].column), (1, 5, 8));
        let path = dir.path().join("./nope");
        assert!(missing[0].message.contains(&path.display().to_string()), "{}", missing[0]);
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        assert!(!missing_programs(text, &file).iter().any(|error| error.message.contains("is not there")));
        assert!(missing_programs("run = 1", &file).is_empty() && missing_programs("", &file).is_empty());
    }
}
