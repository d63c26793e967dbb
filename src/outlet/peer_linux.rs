//! Who is at the other end of a connected Unix socket. Good for showing, not for deciding who may do what.

use std::os::fd::AsFd;

use nix::sys::socket::{getsockopt, sockopt};

use super::peer::{Peer, printable};

impl Peer {
    /// Who connected, as the kernel noted then: unix(7), SO_PEERCRED. Unknown for what is no Unix socket.
    pub fn of(socket: impl AsFd) -> Self {
        let Ok(credentials) = getsockopt(&socket, sockopt::PeerCredentials) else { return Self::default() };
        let pid = u32::try_from(credentials.pid()).ok().filter(|&pid| pid > 0);
        Self { uid: Some(credentials.uid()), ..pid.map(Self::process).unwrap_or_default() }
    }

    /// The process with this number.
    pub fn process(pid: u32) -> Self {
        let command = std::fs::read(format!("/proc/{pid}/comm")).ok();
        let command = command.map(|name| printable(String::from_utf8_lossy(&name).trim_end_matches('\n')));
        Self { pid: Some(pid), uid: None, command, address: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_of_a_socketpair_is_this_process() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let peer = Peer::of(&one);
        assert_eq!(peer.pid, Some(std::process::id()));
        assert!(peer.uid.is_some() && peer.command.is_some(), "{peer:?}");
    }
}
