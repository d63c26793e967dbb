//! The run dir and the directories of devices: everything that is made, opened, changed, renamed or removed in them goes
//! through their descriptors here, so that no link is followed and no directory of another user is used.
//!
//! It takes over what an earlier daemon left behind and refuses to touch anything that is not of the kind it makes. What it
//! makes begins with mode 0000 and is widened through its descriptor, see `descriptor`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, open, openat, readlinkat, renameat};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, socket};
use nix::sys::stat::{Mode, SFlag, fchmod, mkdirat};
use nix::unistd::{Gid, Group, Uid, UnlinkatFlags, User, getegid, geteuid, mkdir, mkdtemp, symlinkat, unlinkat};

use super::descriptor::{Permissions, Seen, permit, pin, pin_terminal, reopen, through};
use super::{Access, Credentials, DirError, Node, SocketKind, Want};

/// An open directory. Clones share its descriptor.
#[derive(Debug, Clone)]
pub struct Dir {
    fd: Arc<OwnedFd>,
    path: PathBuf,
}

impl Dir {
    /// Opens the directory at `path`, making it where it is missing. The second value says whether it was made. The last
    /// component may not be a link; what comes before it is the user's choice.
    ///
    /// # Errors
    /// [`DirError`] when it cannot be made, is not a directory, is another user's, or is not empty and may be written by
    /// others.
    pub fn open_or_create(path: &Path) -> Result<(Self, bool), DirError> {
        let made = match mkdir(path, Mode::empty()) {
            Ok(()) => true,
            Err(Errno::EEXIST) => false,
            Err(e) => return Err(failed(path, "cannot make the directory", e)),
        };
        let fd = open(path, PIN_DIR, Mode::empty()).map_err(|e| not_a_directory(path, e))?;
        let (dir, seen) = Self::checked(fd, path.to_owned())?;
        dir.narrow(seen, made)?;
        Ok((dir, made))
    }

    /// The run dir's mode: at most 0711. A directory with other files in it is somebody's, and stays as it is if others may
    /// not write there.
    fn narrow(&self, seen: Seen, made: bool) -> Result<(), DirError> {
        let entries = if made { Vec::new() } else { self.entries() };
        if !entries.is_empty() && seen.mode & OTHERS_WRITE != 0 {
            let problem = format!(
                "may be written by other users (mode {:04o}), who could replace what is made there; choose another --dir, or \
                 `chmod go-w` it",
                seen.mode
            );
            return Err(DirError::new(&self.path, problem));
        }
        let mode = if made { RUN_DIR_MODE } else { seen.mode & RUN_DIR_MODE };
        if entries.is_empty() || entries.iter().any(|name| name == "lock" || name == "admin.sock") {
            self.permit(self.fd(), &self.path, Permissions { mode, ..seen.permissions() })?;
        }
        Ok(())
    }

    /// A new directory where temporary files are, for this user alone.
    ///
    /// # Errors
    /// [`DirError`] when it cannot be made.
    pub fn private(prefix: &str) -> Result<Self, DirError> {
        let template = std::env::temp_dir().join(format!("{prefix}-XXXXXX"));
        let path = mkdtemp(&template).map_err(|e| failed(&template, "cannot make a directory", e))?;
        let fd = open(&path, PIN_DIR, Mode::empty()).map_err(|e| not_a_directory(&path, e))?;
        Ok(Self::checked(fd, path)?.0)
    }

    /// The directory `name` in this one, made where it is missing: for the daemon, and the group of the device to enter.
    ///
    /// # Errors
    /// [`DirError`], also when the name is taken by a link, by something that is not a directory, or by a directory of
    /// another user.
    pub fn subdir(&self, name: &str, access: &Access) -> Result<Self, DirError> {
        let path = self.path.join(name);
        let group = self.group_of_dir(access)?;
        match mkdirat(self.fd(), name, Mode::empty()) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(e) => return Err(failed(&path, "cannot make the directory", e)),
        }
        let fd = openat(self.fd(), name, PIN_DIR, Mode::empty()).map_err(|e| not_a_directory(&path, e))?;
        let (dir, seen) = Self::checked(fd, path)?;
        dir.permit(dir.fd(), &dir.path, Permissions { group, mode: DEVICE_DIR_MODE, ..seen.permissions() })?;
        Ok(dir)
    }

    /// The one check of who a directory belongs to.
    fn checked(fd: OwnedFd, path: PathBuf) -> Result<(Self, Seen), DirError> {
        let seen = Seen::of(&fd).map_err(|e| failed(&path, "cannot look at", e))?;
        if seen.user != geteuid() {
            let owner =
                User::from_uid(seen.user).ok().flatten().map_or_else(|| seen.user.to_string(), |user| user.name);
            let problem = format!(
                "belongs to user {owner}, who could replace what is made there; remove it, choose another --dir, or run \
                 usbpipe as {owner}"
            );
            return Err(DirError::new(&path, problem));
        }
        Ok((Self { fd: Arc::new(fd), path }, seen))
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Makes the FIFO `name`, or takes over the one that is there.
    ///
    /// # Errors
    /// [`DirError`] when the name is taken by something else.
    pub fn fifo(&self, name: &str, default_mode: u32, access: &Access) -> Result<Node, DirError> {
        let permissions = self.permissions(default_mode, access)?;
        Node::make(self, name, permissions).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => self.in_the_way(name, "a FIFO"),
            _ => DirError::from_io(&self.path.join(name), "cannot make the FIFO", e),
        })
    }

    /// Binds a Unix socket to `name`, in place of one that an earlier daemon left. Nobody can connect before listen(2).
    ///
    /// # Errors
    /// [`DirError`] when the name is taken by something that is not a socket.
    pub fn bind(&self, name: &str, kind: SocketKind, default_mode: u32, access: &Access) -> Result<OwnedFd, DirError> {
        let permissions = self.permissions(default_mode, access)?;
        match self.look(name) {
            Some(seen) if !seen.is(SFlag::S_IFSOCK) => return Err(self.in_the_way(name, "a socket")),
            Some(_) => self.remove(name),
            None => {}
        }
        let path = self.path.join(name);
        let cannot = |e| failed(&path, "cannot bind the socket", e);
        let fd = bound(&self.inner_path(name), kind).map_err(cannot)?;
        let pinned = pin(self.fd(), name).map_err(cannot)?;
        if !Seen::of(&pinned).map_err(cannot)?.is(SFlag::S_IFSOCK) {
            return Err(self.in_the_way(name, "a socket"));
        }
        self.permit(pinned.as_fd(), &path, permissions).inspect_err(|_| self.remove(name))?;
        Ok(fd)
    }

    /// Makes the link `name` to `target`; an old link of this name is replaced as a whole.
    ///
    /// # Errors
    /// [`DirError`] when the name is taken by something that is no link.
    pub fn link(&self, name: &str, target: &Path) -> Result<(), DirError> {
        if self.look(name).is_some_and(|seen| seen.kind != SFlag::S_IFLNK) {
            return Err(self.in_the_way(name, "a link"));
        }
        let fail = |e| failed(&self.path.join(name), "cannot make the link", e);
        let temporary = format!(".{name}.new");
        self.remove(&temporary);
        symlinkat(target, self.fd(), temporary.as_str()).map_err(fail)?;
        renameat(self.fd(), temporary.as_str(), self.fd(), name).map_err(fail)
    }

    /// Sets owner and mode of a terminal elsewhere that an entry leads to.
    ///
    /// # Errors
    /// [`DirError`] when a name is unknown or the change is not permitted.
    pub fn grant(&self, terminal: &Path, default_mode: u32, access: &Access) -> Result<(), DirError> {
        let permissions = self.permissions(default_mode, access)?;
        let pinned = pin_terminal(terminal).map_err(|e| failed(terminal, "cannot look at", e))?;
        self.permit(pinned.as_fd(), terminal, permissions)
    }

    /// Replaces the file `name` as a whole: readers see the old or the new content, never a part.
    ///
    /// # Errors
    /// [`DirError`] when it cannot be written.
    pub fn write_file(&self, name: &str, content: &[u8], mode: u32, access: &Access) -> Result<(), DirError> {
        let path = self.path.join(name);
        let fail = |e: Errno| failed(&path, "cannot write", e);
        let mode = mode & access.mode.unwrap_or(mode);
        let permissions = self.permissions(mode, &Access { mode: None, ..access.clone() })?;
        let temporary = format!(".{name}.new");
        self.remove(&temporary);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | FILE_FLAGS;
        let fd = openat(self.fd(), temporary.as_str(), flags, Mode::empty()).map_err(fail)?;
        self.permit(fd.as_fd(), &path, permissions)?;
        File::from(fd).write_all(content).map_err(|e| DirError::from_io(&path, "cannot write", e))?;
        renameat(self.fd(), temporary.as_str(), self.fd(), name).map_err(fail)
    }

    /// What the file `name` holds; `None` where there is none.
    ///
    /// # Errors
    /// [`DirError`] when it cannot be read, or is no file of this user.
    pub fn read_file(&self, name: &str) -> Result<Option<String>, DirError> {
        if self.look(name).is_none() {
            return Ok(None);
        }
        let mut text = String::new();
        let read = self.own_file(name, OFlag::O_RDONLY)?.read_to_string(&mut text);
        read.map_err(|e| DirError::from_io(&self.path.join(name), "cannot read", e))?;
        Ok(Some(text))
    }

    /// Opens the file `name` for reading and writing, making it where it is missing. It is this user's alone: whoever can
    /// open a file can lock it.
    ///
    /// # Errors
    /// [`DirError`], also when the name is taken by something else.
    pub fn open_file(&self, name: &str) -> Result<File, DirError> {
        let flags = OFlag::O_RDONLY | OFlag::O_CREAT | OFlag::O_EXCL | FILE_FLAGS;
        match openat(self.fd(), name, flags, Mode::empty()) {
            Ok(_) | Err(Errno::EEXIST) => self.own_file(name, OFlag::O_RDWR),
            Err(e) => Err(failed(&self.path.join(name), "cannot open", e)),
        }
    }

    /// Opens a file that is there, if it is this user's. It is this user's alone from then on.
    fn own_file(&self, name: &str, flags: OFlag) -> Result<File, DirError> {
        let path = self.path.join(name);
        let fail = |e| failed(&path, "cannot open", e);
        let pinned = pin(self.fd(), name).map_err(fail)?;
        let seen = Seen::of(&pinned).map_err(fail)?;
        if !seen.is(SFlag::S_IFREG) || seen.user != geteuid() {
            return Err(self.in_the_way(name, "a file of the user who runs usbpipe"));
        }
        self.permit(pinned.as_fd(), &path, Permissions { mode: PRIVATE_FILE_MODE, ..seen.permissions() })?;
        reopen(&pinned, flags | OFlag::O_NONBLOCK).map(File::from).map_err(fail)
    }

    /// Whether the file `name` is the one that is open here.
    pub fn holds(&self, name: &str, file: &File) -> bool {
        let held = Seen::of(file).map(|seen| seen.identity).ok();
        held.is_some() && self.look(name).map(|seen| seen.identity) == held
    }

    /// Removes the entry `name`; one that is not there is as good.
    pub fn remove(&self, name: &str) {
        let _ = unlinkat(self.fd(), name, UnlinkatFlags::NoRemoveDir);
    }

    /// Removes what daemons make in a device's directory; anything else stays, also under the name of an outlet.
    pub fn clear(&self) {
        for name in self.entries() {
            let is_outlet = name.starts_with("ep_") || is_of_serial_line(&name);
            let is_ours = match self.look(&name).map(|seen| seen.kind) {
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

    /// What the entry `name` is, if it is there.
    pub(super) fn look(&self, name: &str) -> Option<Seen> {
        pin(self.fd(), name).and_then(Seen::of).ok()
    }

    /// Names of directories in this one that look like a device's: they hold a `device.json`.
    pub fn device_dirs(&self) -> Vec<String> {
        let is_device = |name: &String| {
            let dir = openat(self.fd(), name.as_str(), PIN_DIR, Mode::empty());
            dir.and_then(|dir| pin(dir, "device.json")).is_ok()
        };
        self.entries().into_iter().filter(is_device).collect()
    }

    fn entries(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(through(&self.fd)) else { return Vec::new() };
        entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect()
    }

    /// Removes the directory `name` if it is empty.
    pub fn remove_subdir(&self, name: &str) {
        let _ = unlinkat(self.fd(), name, UnlinkatFlags::RemoveDir);
    }

    /// Removes the directory itself if it is empty, and still where it was opened.
    pub fn remove_itself(&self) {
        let there = open(&self.path, PIN_DIR, Mode::empty()).and_then(Seen::of).map(|seen| seen.identity);
        if there.is_ok() && there == Seen::of(&self.fd).map(|seen| seen.identity) {
            let _ = unlinkat(AT_FDCWD, &self.path, UnlinkatFlags::RemoveDir);
        }
    }

    /// Whether a process with these credentials may enter it.
    pub fn lets_in(&self, who: &Credentials) -> bool {
        Seen::of(&self.fd).is_ok_and(|seen| who.may(Want::Enter, &seen))
    }

    /// Whether a process that may enter may open the outlet `name`, or the terminal that it leads to.
    pub fn lets_open(&self, name: &str, want: Want, who: &Credentials) -> bool {
        let seen = match self.look(name) {
            Some(seen) if seen.kind == SFlag::S_IFLNK => {
                let terminal = readlinkat(self.fd(), name).and_then(|target| pin_terminal(Path::new(&target)));
                terminal.and_then(Seen::of).ok()
            }
            seen => seen.filter(|seen| matches!(seen.kind, SFlag::S_IFIFO | SFlag::S_IFSOCK)),
        };
        seen.is_some_and(|seen| who.may(want, &seen))
    }

    /// Where the file `name` is, for people.
    pub fn file_path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Where it is, for people.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path that leads to the entry `name` of the directory that was opened, wherever that is by now. It is short enough
    /// for the address of a socket: unix(7).
    pub fn inner_path(&self, name: &str) -> PathBuf {
        through(&self.fd).join(name)
    }

    fn in_the_way(&self, name: &str, what: &str) -> DirError {
        let problem = format!("is in the way: it is not {what}; move it away, or choose another --dir");
        DirError::new(&self.path.join(name), problem)
    }

    fn permit(&self, fd: BorrowedFd<'_>, path: &Path, permissions: Permissions) -> Result<(), DirError> {
        permit(fd, permissions).map_err(|e| failed(path, "cannot change owner, group or mode of", e))
    }

    fn permissions(&self, default_mode: u32, access: &Access) -> Result<Permissions, DirError> {
        let user = self.user(access)?.map_or_else(geteuid, |(user, _)| user);
        let group = self.group(access)?.unwrap_or_else(getegid);
        Ok(Permissions { user, group, mode: access.mode.unwrap_or(default_mode) })
    }

    /// The group that may enter the directory of a device: the device's, or that of the user to whom its outlets belong.
    fn group_of_dir(&self, access: &Access) -> Result<Gid, DirError> {
        let of_owner = self.user(access)?.and_then(|(_, group)| group);
        Ok(self.group(access)?.or(of_owner).unwrap_or_else(getegid))
    }

    /// The configured user, and that user's group where it is known.
    fn user(&self, access: &Access) -> Result<Option<(Uid, Option<Gid>)>, DirError> {
        let Some(name) = &access.owner else { return Ok(None) };
        let known = match name.parse() {
            Ok(number) => User::from_uid(Uid::from_raw(number)),
            Err(_) => User::from_name(name),
        };
        let known = known.ok().flatten().map(|user| (user.uid, Some(user.gid)));
        let user = known.or_else(|| Some((Uid::from_raw(name.parse().ok()?), None)));
        user.map(Some).ok_or_else(|| self.unknown("user", name))
    }

    fn group(&self, access: &Access) -> Result<Option<Gid>, DirError> {
        let Some(name) = &access.group else { return Ok(None) };
        let number = name.parse().ok().map(Gid::from_raw);
        let group = number.or_else(|| Group::from_name(name).ok()?.map(|group| group.gid));
        group.map(Some).ok_or_else(|| self.unknown("group", name))
    }

    fn unknown(&self, what: &str, name: &str) -> DirError {
        let problem = format!("there is no {what} {name:?} on this system, as asked for in the configuration");
        DirError::new(&self.path, problem)
    }
}

/// A socket that is bound. Its file has the mode of the socket itself, less the umask: nobody may use it yet.
fn bound(path: &Path, kind: SocketKind) -> nix::Result<OwnedFd> {
    let kind = match kind {
        SocketKind::Stream => SockType::Stream,
        SocketKind::Messages => SockType::SeqPacket,
    };
    let fd = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    fchmod(&fd, Mode::empty())?;
    bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(fd)
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

/// Everybody may go on to a device's directory whose group that allows, and nobody sees which there are.
const RUN_DIR_MODE: u32 = 0o711;
const DEVICE_DIR_MODE: u32 = 0o750;
/// The lock, and what is for the next daemon.
const PRIVATE_FILE_MODE: u32 = 0o600;
const OTHERS_WRITE: u32 = 0o022;
const PIN_DIR: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
const FILE_FLAGS: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_CLOEXEC).union(OFlag::O_NONBLOCK);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn run_dir() -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open_or_create(&temp.path().join("run")).unwrap().0;
        (temp, dir)
    }

    fn mode(dir: &Dir, name: &str) -> u32 {
        dir.look(name).unwrap().mode
    }

    fn access(mode: u32) -> Access {
        Access { mode: Some(mode), ..Access::default() }
    }

    #[test]
    fn a_socket_is_for_nobody_until_it_is_widened() {
        let (_temp, dir) = run_dir();
        let _bound = bound(&dir.inner_path("bound"), SocketKind::Stream).unwrap();
        assert_eq!(mode(&dir, "bound"), 0);
        let _fd = dir.bind("bound", SocketKind::Messages, 0o660, &Access::default()).unwrap();
        assert_eq!(mode(&dir, "bound"), 0o660);
    }

    #[test]
    fn what_is_made_has_the_modes_of_the_contract() {
        let (_temp, dir) = run_dir();
        assert_eq!(Seen::of(&dir.fd).unwrap().mode, 0o711);
        let device = dir.subdir("zero", &Access::default()).unwrap();
        assert_eq!(mode(&dir, "zero"), 0o750);
        device.fifo("ep_81", 0o640, &Access::default()).unwrap();
        device.fifo("ep_02", 0o620, &access(0o600)).unwrap();
        assert_eq!((mode(&device, "ep_81"), mode(&device, "ep_02")), (0o640, 0o600));
        for (bits, expected) in [(0o666, 0o640), (0o600, 0o600), (0o444, 0o440)] {
            device.write_file("device.json", b"{}", 0o640, &access(bits)).unwrap();
            assert_eq!(mode(&device, "device.json"), expected);
        }
        dir.open_file("lock").unwrap();
        assert_eq!(mode(&dir, "lock"), 0o600);
        let private = Dir::private("usbpipe-test").unwrap();
        assert_eq!(Seen::of(&private.fd).unwrap().mode, 0o700);
        private.remove_itself();
        assert!(!private.path().exists());
    }

    #[test]
    fn a_directory_that_was_moved_is_used_where_it_is_and_not_removed_by_its_name() {
        let (temp, dir) = run_dir();
        std::fs::rename(dir.path(), temp.path().join("moved")).unwrap();
        std::fs::create_dir(dir.path()).unwrap();
        dir.fifo("ep_81", 0o640, &Access::default()).unwrap();
        assert!(temp.path().join("moved/ep_81").exists());
        dir.remove("ep_81");
        dir.remove_itself();
        assert!(dir.path().exists(), "it is another one");
    }

    #[test]
    fn a_lock_that_is_a_link_or_has_another_name_is_refused() {
        let (temp, dir) = run_dir();
        let file = temp.path().join("file");
        std::fs::write(&file, "precious").unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
        for make in [symlink::<&Path, PathBuf> as fn(_, _) -> _, std::fs::hard_link] {
            make(file.as_path(), dir.file_path("lock")).unwrap();
            let refused = dir.open_file("lock").unwrap_err().to_string();
            assert!(refused.contains("is in the way: it is not a file"), "{refused}");
            dir.remove("lock");
        }
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o644);
    }

    #[test]
    fn a_fifo_is_opened_only_if_it_is_the_one_that_was_made() {
        let (_temp, dir) = run_dir();
        let mut node = dir.fifo("ep_81", 0o640, &Access::default()).unwrap();
        let first = dir.look("ep_81").unwrap().identity;
        node.open(OFlag::O_RDWR).unwrap();
        let kept = node.open(OFlag::O_RDWR).unwrap();
        dir.remove("ep_81");
        dir.write_file("ep_81", b"precious", 0o640, &Access::default()).unwrap();
        let refused = node.open(OFlag::O_RDWR).unwrap_err().to_string();
        assert!(refused.starts_with("a file is there"), "{refused}");
        assert!(node.is_removed().is_err());
        dir.remove("ep_81");
        assert!(node.is_removed().unwrap());
        node.open(OFlag::O_RDWR).unwrap();
        let second = dir.look("ep_81").unwrap();
        assert!(second.identity != first && second.mode == 0o640 && !node.is_removed().unwrap());
        drop(kept);
    }
}
