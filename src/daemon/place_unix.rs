//! Where a daemon and its commands meet on Unix. It serves nobody.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{Backlog, listen};
use tokio::net::UnixListener;

use super::link::Listener;
use super::passed::Passed;
use crate::outlet::{Access, Dir, DirError, SocketKind};

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
    let listening = listen_beside(dir, ADMIN)?;
    let cannot = |e| DirError::from_io(&dir.path().join(ADMIN), "cannot serve on the socket", e);
    UnixListener::from_std(listening).map(Listener::of).map_err(cannot)
}

/// Another place in the run dir where programs connect.
pub type Beside = std::os::unix::net::UnixListener;

/// Listens on a socket in the run dir, in place of one that a killed daemon left.
///
/// # Errors
/// [`DirError`] when something else is in the way.
pub(super) fn listen_beside(dir: &Dir, name: &str) -> Result<Beside, DirError> {
    let fd = dir.bind(name, SocketKind::Stream, SOCKET_MODE, &Access::default())?;
    let cannot = |e: Errno| DirError::from_io(&dir.path().join(name), "cannot listen on the socket", e.into());
    listen(&fd, Backlog::MAXCONN).map_err(cannot)?;
    Ok(fd.into())
}

/// The socket's name in the run dir.
pub(super) const ADMIN: &str = "admin.sock";
const SOCKET_MODE: u32 = 0o660;
/// What those can do who may not talk to a daemon.
pub(super) const MAY_NOT: &str = "join the group that owns admin.sock there";
/// The run dir of the service.
pub(super) const SERVICE: Option<&str> = Some("/run/usbpipe");
