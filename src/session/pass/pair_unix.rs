//! Pairs of descriptors whose ends are one another's. Everything is close-on-exec; which end is whose is all it knows.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::pipe2;

/// What a program is given: a descriptor.
pub type End = OwnedFd;

/// The daemon's end and the program's.
pub(in crate::session) type Pair = (OwnedFd, OwnedFd);

/// A pipe that the program reads, or writes. In packet mode each write is one read, as long as it has at most 4096 bytes.
pub(in crate::session) fn pipe(program_reads: bool, packets: bool) -> Result<Pair, String> {
    let mode = if packets { OFlag::O_DIRECT } else { OFlag::empty() };
    let (read, write) = pipe2(OFlag::O_CLOEXEC | mode).map_err(cannot)?;
    Ok(if program_reads { (write, read) } else { (read, write) })
}

/// Two stream sockets.
pub(super) fn stream() -> Result<Pair, String> {
    sockets(SockType::Stream)
}

/// Two SEQPACKET sockets.
pub(super) fn packets() -> Result<Pair, String> {
    sockets(SockType::SeqPacket)
}

fn sockets(kind: SockType) -> Result<Pair, String> {
    socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC).map_err(cannot)
}

fn cannot(why: Errno) -> String {
    format!("no pipe can be made for the program: {why}; close some programs, or raise the limit (`ulimit -n`)")
}
