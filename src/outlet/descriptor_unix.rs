//! Files, directories, FIFOs, sockets and terminals by their descriptors: opened without following links, looked at (fstat)
//! after they were opened, and changed through the descriptor alone.
//!
//! What is opened is pinned first (O_PATH), which does nothing to it: no device is opened, no FIFO gets a reader. Only what
//! is of the wanted kind is then opened through `/proc/self/fd`. It refuses to take a path apart from a name in a directory.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open, openat};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmodat, fstat};
use nix::unistd::{Gid, Uid, fchownat};

/// What tells a file from any other: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

/// What fstat(2) says of a descriptor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) identity: Identity,
    pub(super) kind: SFlag,
    pub(super) user: Uid,
    pub(super) group: Gid,
    /// Permission bits, with those of set-user-ID and the like.
    pub(super) mode: u32,
    /// Names of the file; a directory has more.
    pub(super) links: u64,
}

/// Owner, group and permission bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Permissions {
    pub(super) user: Uid,
    pub(super) group: Gid,
    pub(super) mode: u32,
}

impl Seen {
    /// What is behind this descriptor.
    pub(super) fn of(fd: impl AsFd) -> nix::Result<Self> {
        fstat(fd).map(Self::from)
    }

    /// What it has now.
    pub(super) fn permissions(&self) -> Permissions {
        Permissions { user: self.user, group: self.group, mode: self.mode }
    }

    /// Whether it is one file of this kind, without another name elsewhere.
    pub(super) fn is(&self, kind: SFlag) -> bool {
        self.kind == kind && (kind == SFlag::S_IFDIR || self.links <= 1)
    }
}

impl From<FileStat> for Seen {
    fn from(stat: FileStat) -> Self {
        Self {
            identity: Identity { device: stat.st_dev, inode: stat.st_ino },
            kind: SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()),
            user: Uid::from_raw(stat.st_uid),
            group: Gid::from_raw(stat.st_gid),
            mode: stat.st_mode & 0o7777,
            links: stat.st_nlink,
        }
    }
}

/// In words, for errors.
impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            SFlag::S_IFDIR => "a directory",
            SFlag::S_IFLNK => "a link",
            SFlag::S_IFIFO if self.links > 1 => "a FIFO that has other names, too",
            SFlag::S_IFIFO => "another FIFO",
            SFlag::S_IFSOCK => "a socket",
            SFlag::S_IFREG => "a file",
            _ => "a device",
        })
    }
}

/// The entry `name` of a directory, whatever it is: nothing is done to it, and a link is not followed.
pub(super) fn pin(dir: impl AsFd, name: &str) -> nix::Result<OwnedFd> {
    openat(dir, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
}

/// A terminal of the kernel's, such as `/dev/pts/7`.
pub(super) fn pin_terminal(node: &Path) -> nix::Result<OwnedFd> {
    let pinned = open(node, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
    if Seen::of(&pinned)?.kind != SFlag::S_IFCHR {
        return Err(Errno::ENOTTY);
    }
    Ok(pinned)
}

/// Takes all permissions from a terminal.
pub(super) fn shut_terminal(node: &Path) -> nix::Result<()> {
    let pinned = pin_terminal(node)?;
    permit(&pinned, Permissions { mode: 0, ..Seen::of(&pinned)?.permissions() })
}

/// Opens what a descriptor stands for, pinned or open: the same file, whatever its name leads to by now.
pub(super) fn reopen(fd: impl AsFd, flags: OFlag) -> nix::Result<OwnedFd> {
    open(&through(fd), flags | OFlag::O_CLOEXEC, Mode::empty())
}

/// A path that leads to what a descriptor stands for, for as long as it is open: proc_pid_fd(5).
pub(super) fn through(fd: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}

/// Gives a file its owner, group and permission bits. On the way it is never wider than what it was and never wider than
/// what it becomes; where nothing is to be changed, nothing is.
pub(super) fn permit(fd: impl AsFd, wanted: Permissions) -> nix::Result<()> {
    let fd = fd.as_fd();
    let seen = Seen::of(fd)?;
    let mut mode = seen.mode;
    let mut set_mode = |bits: u32| -> nix::Result<()> {
        if std::mem::replace(&mut mode, bits) != bits {
            let bits = Mode::from_bits_truncate(bits);
            fchmodat(AT_FDCWD, &through(fd), bits, FchmodatFlags::FollowSymlink)?;
        }
        Ok(())
    };
    let user = (seen.user != wanted.user).then_some(wanted.user);
    let group = (seen.group != wanted.group).then_some(wanted.group);
    if user.is_some() || group.is_some() {
        set_mode(seen.mode & wanted.mode)?;
        fchownat(fd, "", user, group, AtFlags::AT_EMPTY_PATH)?;
    }
    set_mode(wanted.mode)
}

/// What was pinned is not what was made.
pub(super) fn replaced(seen: Seen) -> io::Error {
    io::Error::other(format!(
        "{seen} is there instead of the FIFO that usbpipe made; move it away and plug the device in again"
    ))
}
