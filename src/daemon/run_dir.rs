//! The run dir: who owns it, and what is removed from it.

use std::env;
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::UnixListener;

use crate::outlet::{Access, Dir, DirError};

/// A run dir that this process owns.
pub(super) struct RunDir {
    dir: Arc<Dir>,
    /// Held, not used: the lock lasts as long as the file is open.
    _lock: File,
    made: bool,
    /// Whether `admin.sock` is this process's to remove.
    bound: bool,
}

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

impl RunDir {
    /// Opens or makes the directory and locks it against other daemons.
    pub(super) fn take(path: &Path) -> Result<Self, DirError> {
        let (dir, made) = Dir::open_or_create(path)?;
        loop {
            let mut lock = dir.open_file(LOCK)?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(taken(path, &mut lock)),
                Err(TryLockError::Error(e)) => return Err(DirError::from_io(&path.join(LOCK), "cannot lock", e)),
            }
            // A daemon that ended in between may have removed the file that was locked here.
            if is_still_there(&lock, &path.join(LOCK)) {
                let _ = lock.set_len(0);
                let _ = lock.write_all(format!("{}\n", std::process::id()).as_bytes());
                return Ok(Self { dir: Arc::new(dir), _lock: lock, made, bound: false });
            }
        }
    }

    pub(super) fn dir(&self) -> Arc<Dir> {
        self.dir.clone()
    }

    /// Removes the directories of devices that a killed daemon had and this one has not.
    pub(super) fn clear_leftovers(&self, configured: &[&str]) {
        for name in self.dir.device_dirs() {
            if configured.contains(&name.as_str()) {
                continue;
            }
            if let Ok(leftover) = self.dir.subdir(&name, &Access::default()) {
                leftover.clear();
                self.dir.remove_subdir(&name);
            }
        }
    }

    /// Serves on a socket that is bound here already. It stays at the end: whoever bound it goes on listening.
    pub(super) fn take_admin(&self, passed: std::os::unix::net::UnixListener) -> Result<UnixListener, DirError> {
        let listener = passed.set_nonblocking(true).and_then(|()| UnixListener::from_std(passed));
        listener.map_err(|e| DirError::from_io(&self.dir.path().join(ADMIN), "cannot serve on the socket", e))
    }

    /// Binds the socket, in place of one that a killed daemon left.
    pub(super) fn bind_admin(&mut self) -> Result<UnixListener, DirError> {
        let path = self.dir.socket_path(ADMIN)?;
        let listener = UnixListener::bind(&path).map_err(|e| DirError::from_io(&path, "cannot bind the socket", e))?;
        self.bound = true;
        self.dir.set_access(ADMIN, 0o660, &Access::default())?;
        Ok(listener)
    }

    /// Removes what is left, and the directory itself if it was made by this process.
    pub(super) fn remove(self) {
        if self.bound {
            self.dir.remove(ADMIN);
        }
        self.dir.remove(LOCK);
        if self.made {
            let _ = std::fs::remove_dir(self.dir.path());
        }
    }
}

fn is_still_there(lock: &File, path: &Path) -> bool {
    let held = lock.metadata().map(|m| (m.dev(), m.ino()));
    let named = std::fs::symlink_metadata(path).map(|m| (m.dev(), m.ino()));
    matches!((held, named), (Ok(a), Ok(b)) if a == b)
}

fn taken(path: &Path, lock: &mut File) -> DirError {
    let mut pid = String::new();
    let _ = lock.rewind();
    let _ = lock.take(32).read_to_string(&mut pid);
    let who = match pid.trim() {
        "" => "another daemon".to_owned(),
        pid => format!("another daemon (process {pid})"),
    };
    let problem = format!("is used by {who}; end it, talk to it with `usbpipe status`, or choose another --dir");
    DirError::new(path, problem)
}

const LOCK: &str = "lock";
/// The socket's name in the run dir.
pub(super) const ADMIN: &str = "admin.sock";
