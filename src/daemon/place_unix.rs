//! Where a daemon and its commands meet on Unix. It serves nobody.

use std::env;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use super::link::Listener;
use super::passed::Passed;
use crate::outlet::{Access, Dir, DirError};

/// Where the run dir is if nobody says: `$USBPIPE_DIR`, else `/run/usbpipe` for root, else
/// `$XDG_RUNTIME_DIR/usbpipe`.
///
/// # Errors
/// What to set, when none of them is there.
pub fn default_run_dir() -> Result<PathBuf, String> {
    if let Some(dir) = env::var_os("USBPIPE_DIR").filter(|d| !d.is_empty()) {
        return Ok(dir.into());
    }
    if nix::unistd::geteuid().is_root() {
        return Ok("/run/usbpipe".into());
    }
    match env::var_os("XDG_RUNTIME_DIR").filter(|d| !d.is_empty()) {
        Some(dir) => Ok(Path::new(&dir).join("usbpipe")),
        None => Err("no run directory: XDG_RUNTIME_DIR is not set; give one with --dir DIR or USBPIPE_DIR".to_owned()),
    }
}

/// A socket that is bound already.
///
/// # Errors
/// Those of the reactor.
pub(super) fn take(passed: Passed) -> io::Result<Listener> {
    passed.set_nonblocking(true)?;
    UnixListener::from_std(passed).map(Listener::of)
}

/// Binds the socket, in place of one that a killed daemon left.
///
/// # Errors
/// [`DirError`] when something else is in the way.
pub(super) fn bind(dir: &Dir) -> Result<Listener, DirError> {
    let path = dir.socket_path(ADMIN)?;
    let listener = UnixListener::bind(&path).map_err(|e| DirError::from_io(&path, "cannot bind the socket", e))?;
    dir.set_access(ADMIN, 0o660, &Access::default()).inspect_err(|_| dir.remove(ADMIN))?;
    Ok(Listener::of(listener))
}

/// Whether the file that is held is still the one of this name.
pub(super) fn is_still_there(lock: &File, path: &Path) -> bool {
    let held = lock.metadata().map(|m| (m.dev(), m.ino()));
    let named = std::fs::symlink_metadata(path).map(|m| (m.dev(), m.ino()));
    matches!((held, named), (Ok(a), Ok(b)) if a == b)
}

/// The socket's name in the run dir.
pub(super) const ADMIN: &str = "admin.sock";
/// What those can do who may not talk to a daemon.
pub(super) const MAY_NOT: &str = "join the group that owns admin.sock there";
/// The run dir of the service.
pub(super) const SERVICE: Option<&str> = Some("/run/usbpipe");
