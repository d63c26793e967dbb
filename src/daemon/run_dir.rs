//! The run dir: who owns it, and what is removed from it.

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;

use super::link::Listener;
use super::passed::Passed;
use super::place::{self, ADMIN, Beside};
use crate::outlet::{Access, Dir, DirError};

/// A run dir that this process owns.
pub(super) struct RunDir {
    dir: Arc<Dir>,
    /// Held, not used: the lock lasts as long as the file is open.
    lock: File,
    made: bool,
    /// Sockets that are this process's to remove.
    bound: Vec<String>,
}

impl RunDir {
    /// Opens or makes the directory and locks it against other daemons.
    pub(super) fn take(path: &Path) -> Result<Self, DirError> {
        let (dir, made) = Dir::open_or_create(path)?;
        Self::lock(dir, made)
    }

    /// The same of a new one, which has a name of its own.
    pub(super) fn take_private(prefix: &str) -> Result<Self, DirError> {
        Self::lock(Dir::private(prefix)?, true)
    }

    fn lock(dir: Dir, made: bool) -> Result<Self, DirError> {
        loop {
            let mut lock = dir.open_file(LOCK)?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(taken(dir.path(), &mut lock)),
                Err(TryLockError::Error(e)) => return Err(DirError::from_io(&dir.file_path(LOCK), "cannot lock", e)),
            }
            // A daemon that ended in between may have removed the file that was locked here.
            if dir.holds(LOCK, &lock) {
                let _ = lock.set_len(0);
                let _ = lock.write_all(format!("{}\n", std::process::id()).as_bytes());
                return Ok(Self { dir: Arc::new(dir), lock, made, bound: Vec::new() });
            }
        }
    }

    pub(super) fn dir(&self) -> Arc<Dir> {
        self.dir.clone()
    }

    /// Removes the directories of devices that a killed daemon had and this one has not.
    pub(super) fn clear_leftovers(&self, configured: HashSet<&str>) {
        let there = self.dir.device_dirs();
        self.clear(there.iter().map(String::as_str).filter(|name| !configured.contains(name)));
    }

    /// Removes the directories of these devices, which nobody serves any more.
    pub(super) fn clear<'a>(&self, names: impl Iterator<Item = &'a str>) {
        for name in names {
            if let Ok(leftover) = self.dir.subdir(name, &Access::default()) {
                leftover.clear();
                self.dir.remove_subdir(name);
            }
        }
    }

    /// Serves on a socket that is bound here already. It stays at the end: whoever bound it goes on listening.
    pub(super) fn take_admin(&self, passed: Passed) -> Result<Listener, DirError> {
        place::take(passed)
            .map_err(|e| DirError::from_io(&self.dir.path().join(ADMIN), "cannot serve on the socket", e))
    }

    /// Makes the place where commands connect, instead of one that a killed daemon left.
    pub(super) fn bind_admin(&mut self) -> Result<Listener, DirError> {
        let listener = place::bind(&self.dir)?;
        self.bound.push(ADMIN.to_owned());
        Ok(listener)
    }

    /// Makes another place where programs connect, which is gone at the end.
    pub(super) fn listen_beside(&mut self, name: &str) -> Result<Beside, DirError> {
        let beside = place::listen_beside(&self.dir, name)?;
        self.bound.push(name.to_owned());
        Ok(beside)
    }

    /// Removes what is left, and the directory itself if it was made by this process.
    pub(super) fn remove(self) {
        self.bound.iter().for_each(|name| self.dir.remove(name));
        self.dir.remove(LOCK);
        // Where a file that is open goes only when it is closed, the directory would not be empty.
        drop(self.lock);
        if self.made {
            self.dir.remove_itself();
        }
    }
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
