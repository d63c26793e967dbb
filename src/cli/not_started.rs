//! That a command could not be started, and the exit status for it.

use std::io;

use super::{Failure, words};

/// Why a command runs not.
#[derive(Debug)]
pub(super) struct NotStarted {
    pub(super) program: String,
    pub(super) cause: io::Error,
}

impl NotStarted {
    /// Exit status 127 for a command that is not found, 126 for one that cannot be run.
    pub(super) fn as_a_shell_says(&self) -> Failure {
        let code = if self.cause.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { CANNOT_RUN };
        Failure { code, message: self.to_string() }
    }
}

impl std::fmt::Display for NotStarted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let advice = if self.cause.kind() == io::ErrorKind::NotFound { words::NOT_FOUND } else { "" };
        write!(f, "{} cannot be started: {}{advice}", self.program, self.cause)
    }
}

const NOT_FOUND: u8 = 127;
const CANNOT_RUN: u8 = 126;
