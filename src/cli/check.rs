//! `config check`: says whether a configuration would do, with what it names.

use std::path::PathBuf;

use super::{Failure, Outcome, status::print_line};
use crate::config::{self, Config};

/// `usbpipe config check`.
pub(super) fn check(config: Option<PathBuf>) -> Outcome {
    let file = config::find(config.as_deref()).map_err(Failure::usage)?;
    match Config::load_complete(&file) {
        Ok(config) => {
            print_line(&format!("{}: good, {} devices", file.display(), config.devices.len()))?;
            Ok(0)
        }
        Err(errors) => {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Err(Failure::usage(lines.join("\nusbpipe: ")))
        }
    }
}
