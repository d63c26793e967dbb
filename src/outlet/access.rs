//! What can go wrong with the directories that outlets stand in, and who may open what stands there. It touches no file.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::is_exhausted;

/// Who may open an outlet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// User name or number; unset keeps the daemon's.
    pub owner: Option<String>,
    /// Group name or number; unset keeps the daemon's.
    pub group: Option<String>,
    /// Permission bits; unset takes the default of the outlet's kind.
    pub mode: Option<u32>,
    /// Security descriptor of Windows as text (SDDL); unset is for this user, administrators and the system.
    pub sddl: Option<String>,
}

/// Why something could not be made, with its path and what to do.
#[derive(Debug)]
pub struct DirError {
    path: PathBuf,
    problem: String,
    cause: Option<io::Error>,
}

impl DirError {
    /// A problem of this path, in words that follow it in a sentence.
    pub fn new(path: &Path, problem: impl Into<String>) -> Self {
        Self { path: path.to_owned(), problem: problem.into(), cause: None }
    }

    /// An I/O error at this path.
    pub fn from_io(path: &Path, problem: &str, cause: io::Error) -> Self {
        Self { path: path.to_owned(), problem: problem.to_owned(), cause: Some(cause) }
    }

    /// Whether descriptors or memory have run out, which may change.
    pub fn is_exhausted(&self) -> bool {
        self.cause.as_ref().is_some_and(is_exhausted)
    }
}

impl fmt::Display for DirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Some(cause) => write!(f, "{}: {}: {cause}", self.path.display(), self.problem),
            None => write!(f, "{} {}", self.path.display(), self.problem),
        }
    }
}

impl std::error::Error for DirError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_ref().map(|e| e as _)
    }
}
