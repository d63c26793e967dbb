//! The name of a FIFO in a directory, and which FIFO was made under it: whatever else is there by now is never opened.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag};
use nix::unistd::{geteuid, mkfifoat};

use super::Dir;
use super::descriptor::{Identity, Permissions, Seen, permit, pin, reopen, replaced};

/// A FIFO as it was made.
#[derive(Debug, Clone)]
pub struct Node {
    dir: Dir,
    name: String,
    path: PathBuf,
    permissions: Permissions,
    identity: Identity,
}

impl Node {
    /// Makes the FIFO, or takes over the one that is there. It begins with mode 0000, and is widened through its descriptor.
    /// One of another user, who may have it open, is made anew.
    ///
    /// # Errors
    /// `AlreadyExists` where something else is there; those of mkfifo(2), chown(2) and chmod(2).
    pub(super) fn make(dir: &Dir, name: &str, permissions: Permissions) -> io::Result<Self> {
        let (mut pinned, mut seen) = found_or_made(dir, name)?;
        if seen.user != geteuid() && seen.user != permissions.user {
            dir.remove(name);
            (pinned, seen) = found_or_made(dir, name)?;
        }
        permit(&pinned, permissions)?;
        let path = dir.path().join(name);
        Ok(Self { dir: dir.clone(), name: name.to_owned(), path, permissions, identity: seen.identity })
    }

    /// Where it is, for people.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path that leads to its name in the directory that was opened, wherever that is by now.
    pub fn inner_path(&self) -> PathBuf {
        self.dir.inner_path(&self.name)
    }

    /// Opens both of its ends at once, so that neither is ever missing.
    ///
    /// # Errors
    /// Those of open(2); what is there instead, where it was replaced.
    pub fn open_both_ways(mut self) -> io::Result<OwnedFd> {
        self.open(OFlag::O_RDWR)
    }

    /// Whether its name was removed.
    ///
    /// # Errors
    /// What is there instead, where it was replaced.
    pub(super) fn is_removed(&self) -> io::Result<bool> {
        match self.dir.look(&self.name) {
            None => Ok(true),
            Some(seen) if seen.identity == self.identity => Ok(false),
            Some(seen) => Err(replaced(seen)),
        }
    }

    /// Opens it, not waiting for programs. One that was removed is made anew.
    ///
    /// # Errors
    /// Those of open(2); what is there instead, where it was replaced.
    pub(super) fn open(&mut self, flags: OFlag) -> io::Result<OwnedFd> {
        let pinned = match pin(self.dir.fd(), &self.name) {
            Err(Errno::ENOENT) => {
                *self = Self::make(&self.dir, &self.name, self.permissions)?;
                pin(self.dir.fd(), &self.name)?
            }
            pinned => pinned?,
        };
        let seen = Seen::of(&pinned)?;
        if seen.identity != self.identity || !seen.is(SFlag::S_IFIFO) {
            return Err(replaced(seen));
        }
        Ok(reopen(&pinned, flags | OFlag::O_NONBLOCK)?)
    }
}

fn found_or_made(dir: &Dir, name: &str) -> io::Result<(OwnedFd, Seen)> {
    match mkfifoat(dir.fd(), name, Mode::empty()) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(e) => return Err(e.into()),
    }
    let pinned = pin(dir.fd(), name)?;
    let seen = Seen::of(&pinned)?;
    if !seen.is(SFlag::S_IFIFO) {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    Ok((pinned, seen))
}
