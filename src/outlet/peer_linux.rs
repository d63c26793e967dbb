//! Who is at the other end of a connected Unix socket. Good for showing, not for deciding who may do what.

use std::os::fd::AsFd;

use nix::sys::socket::{getsockopt, sockopt};

/// A program that uses an outlet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// Process number, where it is known.
    pub pid: Option<u32>,
    /// Its user's number.
    pub uid: Option<u32>,
    /// Its name as in `ps -o comm`, at most 15 bytes.
    pub command: Option<String>,
}

impl Peer {
    /// Who connected, as the kernel noted then: unix(7), SO_PEERCRED. Unknown for what is no Unix socket.
    pub fn of(socket: impl AsFd) -> Self {
        let Ok(credentials) = getsockopt(&socket, sockopt::PeerCredentials) else { return Self::default() };
        let pid = u32::try_from(credentials.pid()).ok().filter(|&pid| pid > 0);
        Self { uid: Some(credentials.uid()), ..pid.map(Self::process).unwrap_or_default() }
    }

    /// The same process under the name of the program that it acts for.
    pub fn called(self, program: &str) -> Self {
        let name: String = program.chars().take(LONGEST_NAME).collect();
        Self { command: Some(printable(&name)), ..self }
    }

    /// The process with this number.
    pub fn process(pid: u32) -> Self {
        let command = std::fs::read(format!("/proc/{pid}/comm")).ok();
        let command = command.map(|name| printable(String::from_utf8_lossy(&name).trim_end_matches('\n')));
        Self { pid: Some(pid), uid: None, command }
    }
}

/// As long as the kernel lets a name be: TASK_COMM_LEN.
const LONGEST_NAME: usize = 15;

/// In words: `process 77 (cat)`.
impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.pid, &self.command) {
            (Some(pid), Some(command)) => write!(f, "process {pid} ({command})"),
            (Some(pid), None) => write!(f, "process {pid}"),
            (None, _) => f.write_str("a program"),
        }
    }
}

/// A process may call itself anything, but it is not to draw on terminals.
fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
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

    #[test]
    fn a_name_is_not_let_loose_on_terminals() {
        assert_eq!(printable("a\x1b[2Jb\n"), "a?[2Jb?");
    }
}
