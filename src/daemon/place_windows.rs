//! Where a daemon and its commands meet on Windows. It serves nobody.

use std::env;
use std::io;
use std::path::PathBuf;

use super::link::Listener;
use super::passed::Passed;
use crate::outlet::{Dir, DirError, Direction, Security, Shape};

/// Where the run dir is if nobody says: `%USBPIPE_DIR%`, else `\\.\pipe\usbpipe`.
///
/// # Errors
/// None; elsewhere there may be no place for it.
pub fn default_run_dir() -> Result<PathBuf, String> {
    let set = env::var_os("USBPIPE_DIR").filter(|dir| !dir.is_empty());
    Ok(set.map_or_else(|| PathBuf::from(PREFIX), PathBuf::from))
}

/// A pipe that was passed.
///
/// # Errors
/// None, as there is none.
pub(super) fn take(passed: Passed) -> io::Result<Listener> {
    match passed {}
}

/// Makes the pipe.
///
/// # Errors
/// [`DirError`] when another program has it.
pub(super) fn bind(dir: &Dir) -> Result<Listener, DirError> {
    let cannot = |e| DirError::from_io(&dir.path().join(ADMIN), "cannot say who may open it", e);
    let security = Security::of_this_user().map_err(cannot)?;
    Listener::bind(dir, ADMIN, Shape { direction: Direction::Both, messages: false }, security)
}

/// Another name below the prefix, for a pipe that somebody else makes.
pub type Beside = PathBuf;

/// The name of that pipe.
///
/// # Errors
/// None; elsewhere something may be in the way.
pub(super) fn listen_beside(dir: &Dir, name: &str) -> Result<Beside, DirError> {
    Ok(dir.path().join(name))
}

/// The pipe's name in the run dir.
pub(super) const ADMIN: &str = "admin";
/// What those can do who may not talk to a daemon.
pub(super) const MAY_NOT: &str = "its pipe `admin` is for the user who runs it, for administrators and the system: try it \
                                  in a terminal that was opened as administrator";
/// The service has the same place as everybody.
pub(super) const SERVICE: Option<&str> = None;
const PREFIX: &str = r"\\.\pipe\usbpipe";
