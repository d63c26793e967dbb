//! The listening socket that a service manager passes to its service: sd_listen_fds(3). Binds and removes nothing.

use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{SockRef, Type};

use super::place::ADMIN;
use crate::outlet::DirError;

/// A listening socket that was passed to this process.
pub type Passed = UnixListener;

/// The socket that systemd passed to be the `admin.sock` of this run dir; `None` where it passed nothing. To be called
/// once in a process: the descriptor has one owner.
///
/// # Errors
/// [`DirError`] when what was passed is not one listening Unix stream socket bound to that name.
pub fn passed_socket(run_dir: &Path) -> Result<Option<Passed>, DirError> {
    let wanted = run_dir.join(ADMIN);
    let wrong = |problem: String| DirError::new(&wanted, format!("cannot be taken over from systemd: {problem}"));
    let mut passed = sd_notify::listen_fds().map_err(|e| wrong(e.to_string()))?;
    let count = passed.len();
    match (passed.next(), count) {
        (None, _) => Ok(None),
        (Some(fd), 1) => Ok(Some(admin_socket(fd, &wanted).map_err(wrong)?)),
        _ => Err(wrong(format!("it passed {count} descriptors, not one; leave one ListenStream= in usbpipe.socket"))),
    }
}

fn admin_socket(fd: RawFd, wanted: &Path) -> Result<UnixListener, String> {
    // SAFETY: the number was passed to this process alone, LISTEN_PID says; nothing else in the process knows it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let address = address(&fd).map_err(|e| format!("what it passed is no listening Unix stream socket ({e})"))?;
    if place(&address) != place(wanted) {
        let (address, wanted) = (address.display(), wanted.display());
        return Err(format!("it listens at {address}, where no command looks; set ListenStream={wanted}"));
    }
    if !fs::symlink_metadata(&address).is_ok_and(|found| found.file_type().is_socket()) {
        tracing::warn!(
            "{} was removed while systemd listened there, so no command can reach this daemon; systemctl restart \
             usbpipe.socket",
            address.display()
        );
    }
    Ok(UnixListener::from(fd))
}

/// Where a listening Unix stream socket is bound.
fn address(fd: &OwnedFd) -> io::Result<PathBuf> {
    let socket = SockRef::from(fd);
    if socket.r#type()? != Type::STREAM || !socket.is_listener()? {
        return Err(io::Error::other("not a stream socket that listens"));
    }
    let address = socket.local_addr()?;
    address.as_pathname().map(Path::to_owned).ok_or_else(|| io::Error::other("it has no path"))
}

/// The path with the links of its directory resolved; /var/run is one.
fn place(path: &Path) -> Option<PathBuf> {
    Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?))
}
