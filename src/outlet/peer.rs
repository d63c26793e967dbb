//! Who is at the other end of a connection, in words and numbers. It does not find out.

use crate::printable::is_printable;
use std::net::SocketAddr;

/// A program that uses an outlet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// Process number, where it is known.
    pub pid: Option<u32>,
    /// Its user's number.
    pub uid: Option<u32>,
    /// Its name as in `ps -o comm`, at most 15 bytes.
    pub command: Option<String>,
    /// Its address and port, where it is connected over the network.
    pub address: Option<SocketAddr>,
}

impl Peer {
    /// The same process under the name of the program that it acts for.
    pub fn called(self, program: &str) -> Self {
        let name: String = program.chars().take(LONGEST_NAME).collect();
        Self { command: Some(printable(&name)), ..self }
    }
}

/// As long as the kernel lets a name be: TASK_COMM_LEN.
const LONGEST_NAME: usize = 15;

/// In words: `process 77 (cat)`.
impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(address) = self.address {
            return write!(f, "client {address}");
        }
        match (self.pid, &self.command) {
            (Some(pid), Some(command)) => write!(f, "process {pid} ({command})"),
            (Some(pid), None) => write!(f, "process {pid}"),
            (None, _) => f.write_str("a program"),
        }
    }
}

/// A process may call itself anything, but it is not to draw on terminals.
pub(super) fn printable(name: &str) -> String {
    name.chars().map(|c| if is_printable(c) { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_not_let_loose_on_terminals() {
        assert_eq!(printable("a\x1b[2Jb\n\u{9b}\u{202e}"), "a?[2Jb???");
    }
}
