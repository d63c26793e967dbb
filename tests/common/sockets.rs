//! Programs that use an outlet's Unix socket.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "each test binary uses its own part of it"
)]

use std::io::{ErrorKind, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, sendmsg, socket};
use nix::sys::time::TimeVal;

use crate::common::{Daemon, PATIENCE};

/// Connects to a stream socket and waits until the daemon has taken the connection.
pub fn connect_stream(daemon: &Daemon, name: &str) -> UnixStream {
    let before = clients(daemon, name);
    let stream = UnixStream::connect(daemon.path(name)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (device, outlet) = outlet(name);
    daemon.wait_pipe(device, outlet, |pipe| pipe["clients"].as_array().unwrap().len() > before);
    stream
}

/// How many programs are at the outlet of this socket.
pub fn clients(daemon: &Daemon, name: &str) -> usize {
    let (device, outlet) = outlet(name);
    daemon.pipe(device, outlet)["clients"].as_array().unwrap().len()
}

/// Device and line of a socket such as `zero/ep_81.sock`.
fn outlet(name: &str) -> (&str, &str) {
    let (device, outlet) = name.split_once('/').unwrap();
    match outlet.trim_end_matches(".sock") {
        "serial" => (device, "serial.rx"),
        line => (device, line),
    }
}

/// A SEQPACKET connection.
pub struct Packets(OwnedFd);

/// A descriptor that came some other way.
impl From<OwnedFd> for Packets {
    fn from(fd: OwnedFd) -> Self {
        let patience = TimeVal::new(PATIENCE.as_secs() as i64, 0);
        nix::sys::socket::setsockopt(&fd, nix::sys::socket::sockopt::ReceiveTimeout, &patience).unwrap();
        Self(fd)
    }
}

impl Packets {
    pub fn connect(path: &Path) -> Self {
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
        connect(fd.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
        Self::from(fd)
    }

    /// As [`Packets::connect`], once the daemon has taken the connection.
    pub fn connect_to(daemon: &Daemon, name: &str) -> Self {
        let before = clients(daemon, name);
        let connection = Self::connect(&daemon.path(name));
        let (device, outlet) = outlet(name);
        daemon.wait_pipe(device, outlet, |pipe| pipe["clients"].as_array().unwrap().len() > before);
        connection
    }

    pub fn send(&self, message: &[u8]) {
        self.try_send(message).unwrap();
    }

    pub fn try_send(&self, message: &[u8]) -> Result<usize, nix::Error> {
        sendmsg::<UnixAddr>(self.0.as_raw_fd(), &[IoSlice::new(message)], &[], MsgFlags::MSG_NOSIGNAL, None)
    }

    /// The next message, an empty one or the end of the connection as empty.
    pub fn receive(&self) -> Vec<u8> {
        let mut buffer = vec![0; 256 * 1024];
        let n = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()).unwrap();
        buffer.truncate(n);
        buffer
    }
}

/// The same end of a stream as a file, for helpers that take one.
pub fn file(stream: &UnixStream) -> std::fs::File {
    std::fs::File::from(OwnedFd::from(stream.try_clone().unwrap()))
}

/// Whether the daemon has closed the connection: reading ends, or fails because it was reset.
pub fn is_closed(stream: &UnixStream) -> bool {
    use std::io::Read;
    match (&*stream).read(&mut [0; 1]) {
        Ok(n) => n == 0,
        Err(e) => e.kind() == ErrorKind::ConnectionReset,
    }
}
