//! A connection that keeps messages: a SEQPACKET socket.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, sendmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::PATIENCE;

/// In the configuration of a pipe: any number of programs, each of which sends or gets messages.
pub const MESSAGES: &str = "outlets = [\"socket\"]\nframing = \"packet\"";

/// A SEQPACKET connection.
pub struct Messages(OwnedFd);

/// A descriptor that came some other way.
impl From<OwnedFd> for Messages {
    fn from(fd: OwnedFd) -> Self {
        let patience = TimeVal::new(PATIENCE.as_secs() as i64, 0);
        setsockopt(&fd, sockopt::ReceiveTimeout, &patience).unwrap();
        Self(fd)
    }
}

impl Messages {
    pub fn connect(path: &Path) -> Self {
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
        connect(fd.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
        Self::from(fd)
    }

    /// A client of the socket beside this outlet.
    pub fn of_guest(outlet: &Path) -> Self {
        Self::connect(&outlet.with_extension("sock"))
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

/// Opens an outlet for reading one message a read, which a FIFO in packet mode does by itself.
pub fn open_packets(path: &Path) -> io::Result<File> {
    File::open(path)
}
