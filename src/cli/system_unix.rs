//! Commands that another system has and Unix has not: here the service is systemd's, and all others are in `args`.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgMatches, Command, Error, FromArgMatches, Subcommand};

use super::Outcome;

/// None.
#[derive(Debug)]
pub(super) enum SystemCommand {}

impl SystemCommand {
    pub(super) fn run(self, _dir: Option<PathBuf>, _config: Option<PathBuf>) -> Outcome {
        match self {}
    }

    /// Where the log goes, if not to stderr.
    pub(super) fn log_file(&self) -> Option<PathBuf> {
        match *self {}
    }
}

impl FromArgMatches for SystemCommand {
    fn from_arg_matches(_matches: &ArgMatches) -> Result<Self, Error> {
        Err(Error::new(ErrorKind::InvalidSubcommand))
    }

    fn update_from_arg_matches(&mut self, _matches: &ArgMatches) -> Result<(), Error> {
        match *self {}
    }
}

impl Subcommand for SystemCommand {
    fn augment_subcommands(command: Command) -> Command {
        command
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        command
    }

    fn has_subcommand(_name: &str) -> bool {
        false
    }
}
