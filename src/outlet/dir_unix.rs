//! Directories that outlets stand in: made and cleared through descriptors, so that no link is ever followed.
//!
//! It takes over what an earlier daemon left behind and refuses to touch anything that is not of the kind it makes.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open, openat};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, fstatat, mkdirat};
use nix::unistd::{Group, UnlinkatFlags, User, fchownat, getegid, mkfifoat, symlinkat, unlinkat};

use super::{Access, DirError};

/// An open directory.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    /// Opens the directory at `path`, making it (mode 0750) where it is missing. The second value says whether it
    /// was made. The last component may not be a link; what comes before it is the user's choice.
    ///
    /// # Errors
    /// [`DirError`] when it cannot be made or is not a directory.
    pub fn open_or_create(path: &Path) -> Result<(Self, bool), DirError> {
        let made = match nix::unistd::mkdir(path, DIR_MODE) {
            Ok(()) => true,
            Err(Errno::EEXIST) => false,
            Err(e) => return Err(failed(path, "cannot make the directory", e)),
        };
        let fd = open(path, DIR_FLAGS, Mode::empty()).map_err(|e| not_a_directory(path, e))?;
        Ok((Self { fd, path: path.to_owned() }, made))
    }

    /// The directory `name` in this one, made where it is missing.
    ///
    /// # Errors
    /// [`DirError`], also when the name is taken by a link or by something that is not a directory.
    pub fn subdir(&self, name: &str, access: &Access) -> Result<Self, DirError> {
        let path = self.path.join(name);
        let (user, group) = self.ids(access)?;
        match mkdirat(&self.fd, name, DIR_MODE) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(e) => return Err(failed(&path, "cannot make the directory", e)),
        }
        let fd = openat(&self.fd, name, DIR_FLAGS, Mode::empty()).map_err(|e| not_a_directory(&path, e))?;
        let dir = Self { fd, path };
        dir.apply(AT_FDCWD, &dir.path, user, group, None)?;
        Ok(dir)
    }

    /// Makes the FIFO `name`, or takes over the one that is there, and returns its path.
    ///
    /// # Errors
    /// [`DirError`] when the name is taken by something else.
    pub fn fifo(&self, name: &str, default_mode: u32, access: &Access) -> Result<PathBuf, DirError> {
        let path = self.path.join(name);
        match mkfifoat(&self.fd, name, Mode::from_bits_truncate(default_mode)) {
            Ok(()) => {}
            Err(Errno::EEXIST) => self.expect_kind(name, SFlag::S_IFIFO, "a FIFO")?,
            Err(e) => return Err(failed(&path, "cannot make the FIFO", e)),
        }
        let (user, group) = self.ids(access)?;
        self.apply(self.fd.as_fd(), Path::new(name), user, group, Some(access.mode.unwrap_or(default_mode)))?;
        Ok(path)
    }

    /// Clears the way for a Unix socket named `name` and returns the path to bind it to.
    ///
    /// # Errors
    /// [`DirError`] when the name is taken by something that is not a socket.
    pub fn socket_path(&self, name: &str) -> Result<PathBuf, DirError> {
        let path = self.path.join(name);
        match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => return Ok(path),
            Err(e) => return Err(failed(&path, "cannot look at", e)),
            Ok(_) => self.expect_kind(name, SFlag::S_IFSOCK, "a socket")?,
        }
        self.remove(name);
        Ok(path)
    }

    /// Makes the link `name` to `target`; an old link of this name is replaced as a whole.
    ///
    /// # Errors
    /// [`DirError`] when the name is taken by something that is no link.
    pub fn link(&self, name: &str, target: &Path) -> Result<(), DirError> {
        if self.kind(name).is_some() {
            self.expect_kind(name, SFlag::S_IFLNK, "a link")?;
        }
        let fail = |e| failed(&self.path.join(name), "cannot make the link", e);
        let temporary = format!(".{name}.new");
        self.remove(&temporary);
        symlinkat(target, &self.fd, temporary.as_str()).map_err(fail)?;
        nix::fcntl::renameat(&self.fd, temporary.as_str(), &self.fd, name).map_err(fail)
    }

    /// Sets owner and mode of a node elsewhere that an entry leads to; without a group it gets the daemon's.
    ///
    /// # Errors
    /// [`DirError`] when a name is unknown or the change is not permitted.
    pub fn grant(&self, node: &Path, default_mode: u32, access: &Access) -> Result<(), DirError> {
        let (user, group) = self.ids(access)?;
        self.apply(AT_FDCWD, node, user, group.or(Some(getegid())), Some(access.mode.unwrap_or(default_mode)))
    }

    /// A second hold on the same directory.
    ///
    /// # Errors
    /// [`DirError`] when there are no more descriptors.
    pub fn try_clone(&self) -> Result<Self, DirError> {
        let path = self.path.clone();
        let fd = self.fd.try_clone().map_err(|e| DirError::from_io(&path, "cannot be opened once more", e))?;
        Ok(Self { fd, path })
    }

    /// A path of the entry `name` that a socket can be bound to: the plain one, or one through this directory's
    /// descriptor where that is longer than an address may be (unix(7)).
    pub fn short_path(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        if path.as_os_str().len() < LONGEST_ADDRESS {
            return path;
        }
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.fd.as_raw_fd()))
    }

    /// Sets owner and mode of the entry `name`.
    ///
    /// # Errors
    /// [`DirError`] when a name is unknown or the change is not permitted.
    pub fn set_access(&self, name: &str, default_mode: u32, access: &Access) -> Result<(), DirError> {
        let (user, group) = self.ids(access)?;
        self.apply(self.fd.as_fd(), Path::new(name), user, group, Some(access.mode.unwrap_or(default_mode)))
    }

    /// Replaces the file `name` as a whole: readers see the old or the new content, never a part.
    ///
    /// # Errors
    /// [`DirError`] when it cannot be written.
    pub fn write_file(&self, name: &str, content: &[u8]) -> Result<(), DirError> {
        let path = self.path.join(name);
        let fail = |e: Errno| failed(&path, "cannot write", e);
        let temporary = format!(".{name}.new");
        self.remove(&temporary);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(&self.fd, temporary.as_str(), flags, Mode::from_bits_truncate(0o640)).map_err(fail)?;
        io::Write::write_all(&mut std::fs::File::from(fd), content)
            .map_err(|e| DirError::from_io(&path, "cannot write", e))?;
        nix::fcntl::renameat(&self.fd, temporary.as_str(), &self.fd, name).map_err(fail)
    }

    /// Removes the entry `name`; one that is not there is as good.
    pub fn remove(&self, name: &str) {
        let _ = unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir);
    }

    /// Removes what daemons make in a device's directory; anything else stays, also under the name of an outlet.
    pub fn clear(&self) {
        for name in self.entries() {
            let is_outlet = name.starts_with("ep_") || is_of_serial_line(&name);
            let is_ours = match self.kind(&name) {
                Some(SFlag::S_IFIFO | SFlag::S_IFSOCK) => is_outlet,
                Some(SFlag::S_IFLNK) => is_link_to_terminal(&name),
                Some(SFlag::S_IFREG) => name == "device.json" || name == ".device.json.new",
                _ => false,
            };
            if is_ours {
                self.remove(&name);
            }
        }
    }

    fn kind(&self, name: &str) -> Option<SFlag> {
        let stat = fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
        Some(SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()))
    }

    /// Names of directories in this one that look like a device's: they hold a `device.json`.
    pub fn device_dirs(&self) -> Vec<String> {
        let is_device = |name: &String| {
            let json = format!("{name}/device.json");
            fstatat(&self.fd, json.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
        };
        self.entries().into_iter().filter(is_device).collect()
    }

    /// Opens the file `name` for reading and writing, making it (mode 0640) where it is missing.
    ///
    /// # Errors
    /// [`DirError`], also when the name is taken by a link.
    pub fn open_file(&self, name: &str) -> Result<std::fs::File, DirError> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        openat(&self.fd, name, flags, Mode::from_bits_truncate(0o640))
            .map(std::fs::File::from)
            .map_err(|e| failed(&self.path.join(name), "cannot open", e))
    }

    fn entries(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(&self.path) else { return Vec::new() };
        entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect()
    }

    /// Removes the directory `name` if it is empty.
    pub fn remove_subdir(&self, name: &str) {
        let _ = unlinkat(&self.fd, name, UnlinkatFlags::RemoveDir);
    }

    /// Where the file `name` stands.
    pub fn file_path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Removes the directory itself if it is empty.
    pub fn remove_itself(&self) {
        let _ = std::fs::remove_dir(&self.path);
    }

    /// Where it stands.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn expect_kind(&self, name: &str, kind: SFlag, what: &str) -> Result<(), DirError> {
        let path = self.path.join(name);
        let stat =
            fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(|e| failed(&path, "cannot look at", e))?;
        if SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == kind {
            return Ok(());
        }
        let problem = format!("is in the way: it is not {what}; move it away, or choose another --dir");
        Err(DirError::new(&path, problem))
    }

    fn apply(
        &self,
        at: BorrowedFd<'_>,
        name: &Path,
        user: Option<nix::unistd::Uid>,
        group: Option<nix::unistd::Gid>,
        mode: Option<u32>,
    ) -> Result<(), DirError> {
        if user.is_some() || group.is_some() {
            fchownat(at, name, user, group, AtFlags::AT_SYMLINK_NOFOLLOW)
                .map_err(|e| failed(&self.path.join(name), "cannot change owner or group of", e))?;
        }
        if let Some(mode) = mode {
            fchmodat(at, name, Mode::from_bits_truncate(mode), FchmodatFlags::FollowSymlink)
                .map_err(|e| failed(&self.path.join(name), "cannot change the mode of", e))?;
        }
        Ok(())
    }

    fn ids(&self, access: &Access) -> Result<(Option<nix::unistd::Uid>, Option<nix::unistd::Gid>), DirError> {
        let unknown = |what: &str, name: &str| {
            let problem = format!("there is no {what} {name:?} on this system, as asked for in the configuration");
            DirError::new(&self.path, problem)
        };
        let user = match &access.owner {
            None => None,
            Some(name) => Some(user_id(name).ok_or_else(|| unknown("user", name))?),
        };
        let group = match &access.group {
            None => None,
            Some(name) => Some(group_id(name).ok_or_else(|| unknown("group", name))?),
        };
        Ok((user, group))
    }
}

fn user_id(name: &str) -> Option<nix::unistd::Uid> {
    name.parse().ok().map(nix::unistd::Uid::from_raw).or_else(|| User::from_name(name).ok()?.map(|u| u.uid))
}

fn group_id(name: &str) -> Option<nix::unistd::Gid> {
    name.parse().ok().map(nix::unistd::Gid::from_raw).or_else(|| Group::from_name(name).ok()?.map(|g| g.gid))
}

fn not_a_directory(path: &Path, errno: Errno) -> DirError {
    match errno {
        Errno::ELOOP | Errno::ENOTDIR => {
            DirError::new(path, "is in the way: it is a link or no directory, and links are not followed; move it away")
        }
        other => failed(path, "cannot open the directory", other),
    }
}

fn failed(path: &Path, problem: &str, cause: Errno) -> DirError {
    DirError::from_io(path, problem, cause.into())
}

/// Whether an outlet of a serial line may be called so: `serial.rx`, `serial-2.rx`.
fn is_of_serial_line(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("serial") else { return false };
    let number = rest.strip_prefix('-').map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    number.unwrap_or(rest).starts_with('.')
}

/// Whether a link to a terminal is called so, or until it stands.
fn is_link_to_terminal(name: &str) -> bool {
    let standing = name.strip_prefix('.').and_then(|name| name.strip_suffix(".new")).unwrap_or(name);
    is_of_serial_line(standing) && (standing.ends_with(".tty") || standing.ends_with(".lent"))
}

/// Bytes of `sun_path`, with the NUL at its end.
const LONGEST_ADDRESS: usize = 108;
const DIR_MODE: Mode = Mode::S_IRWXU.union(Mode::S_IRGRP).union(Mode::S_IXGRP);
const DIR_FLAGS: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
