//! Unix sockets that programs connect to, and what a connected descriptor is. Knows nothing of what goes through them.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc::c_int;
use nix::sys::socket::{Backlog, SockFlag, accept4, listen};
use nix::sys::stat::{SFlag, fstat};
use socket2::{SockRef, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::descriptors::is_one_of_the_last;
use super::{Access, Dir, DirError};

#[allow(unreachable_pub, reason = "the macros write `pub`")]
mod raw {
    use nix::libc::{self, c_int};

    nix::ioctl_read_bad!(fionread, libc::FIONREAD, c_int);
}

/// The daemon's end of what a program has connected to, or was given.
pub type Connection = OwnedFd;

/// What kind of socket programs find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketKind {
    /// SOCK_STREAM: just bytes.
    Stream,
    /// SOCK_SEQPACKET: messages.
    Messages,
}

/// What a descriptor is that bytes go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FdKind {
    Pipe,
    Stream,
    Messages,
}

/// A socket in a device's directory that programs connect to.
#[derive(Debug)]
pub struct Listener {
    fd: AsyncFd<OwnedFd>,
    /// Given up for a moment where descriptors have run out, so that a connection can be taken and closed.
    reserve: Option<OwnedFd>,
    /// A connection was closed for want of descriptors, and it was not reported.
    has_turned_away: bool,
}

impl Listener {
    /// What `status` calls those who connect.
    pub const KIND: &str = "socket";

    /// The socket's name for a line such as `ep_81`.
    pub fn name_for(line: &str) -> String {
        format!("{line}.sock")
    }

    /// Binds the socket `name` in `dir`, in place of one that an earlier daemon left. Nobody can connect before owner
    /// and mode are set.
    ///
    /// # Errors
    /// [`DirError`] when the name is taken by something else, or the socket cannot be made.
    pub fn bind(dir: &Dir, name: &str, kind: SocketKind, default_mode: u32, access: &Access) -> Result<Self, DirError> {
        let cannot = |e: io::Error| DirError::from_io(&dir.path().join(name), "cannot listen on the socket", e);
        let fd = dir.bind(name, kind, default_mode, access)?;
        let backlog = Backlog::new(BACKLOG).unwrap_or(Backlog::MAXCONN);
        listen(&fd, backlog).map_err(|e| cannot(e.into()))?;
        // SAFETY: an `OwnedFd` owns its descriptor, and gives the same number for as long as it lives.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
        let fd = fd.map_err(|e| cannot(e.into()))?;
        Ok(Self { fd, reserve: reserve(), has_turned_away: false })
    }

    /// The next connection. One that takes one of the last descriptors is closed, because the clients that are there may
    /// still need some.
    ///
    /// # Errors
    /// Those of accept(2); see [`is_exhausted`].
    pub async fn accept(&mut self) -> io::Result<Connection> {
        let connection = self.fd.async_io(Interest::READABLE, |fd| accept(fd.as_raw_fd())).await?;
        if is_one_of_the_last(&connection) {
            self.has_turned_away = true;
            return Err(Errno::EMFILE.into());
        }
        Ok(connection)
    }

    /// Closes one waiting connection although there is no descriptor for it, if [`Listener::accept`] has not. False when
    /// that is impossible too, or when none waits; then [`Listener::accept`] waits for the next one.
    pub fn turn_away(&mut self) -> bool {
        if std::mem::take(&mut self.has_turned_away) {
            return true;
        }
        let had_reserve = self.reserve.take().is_some();
        let turned_away = had_reserve && self.fd.try_io(Interest::READABLE, |fd| accept(fd.as_raw_fd())).is_ok();
        self.reserve = reserve();
        turned_away
    }
}

/// Resolves when the kernel has all that was written for programs: it had it at once.
pub async fn written(_patience: Duration) {}

/// Whether accept(2) failed because descriptors have run out, of this process or of the system.
pub fn is_exhausted(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM))
}

fn accept(listener: RawFd) -> io::Result<OwnedFd> {
    let fd = accept4(listener, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)?;
    // SAFETY: accept4 has just made this descriptor, and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn reserve() -> Option<OwnedFd> {
    std::fs::File::open("/dev/null").ok().map(OwnedFd::from)
}

/// # Errors
/// `InvalidInput` for what is neither a pipe nor a stream or SEQPACKET socket.
pub(super) fn kind_of(fd: &OwnedFd) -> io::Result<FdKind> {
    let mode = SFlag::from_bits_truncate(fstat(fd)?.st_mode & SFlag::S_IFMT.bits());
    match mode {
        SFlag::S_IFIFO => Ok(FdKind::Pipe),
        SFlag::S_IFSOCK => match SockRef::from(fd).r#type()? {
            Type::STREAM => Ok(FdKind::Stream),
            Type::SEQPACKET => Ok(FdKind::Messages),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        },
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

pub(super) fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// How many bytes can be read from a pipe or a stream socket without waiting.
pub(super) fn bytes_waiting(fd: &OwnedFd) -> usize {
    let mut n: c_int = 0;
    // SAFETY: FIONREAD writes one int, which outlives the call, and the descriptor is open.
    let result = unsafe { raw::fionread(fd.as_raw_fd(), &raw mut n) };
    if result.is_ok() { usize::try_from(n).unwrap_or(0) } else { 0 }
}

/// Connections that wait to be taken; the system may allow fewer.
const BACKLOG: i32 = 1024;
