//! Who a process is that opened a named pipe. Windows compares that with the pipe's security descriptor before anybody can
//! connect, and all pipes of a device have the same: so whoever is there may.

use std::io;

/// User and groups of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials(());

/// What a file is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// To read from it.
    Read,
    /// To write to it, or to connect to it.
    Write,
    /// To go on through it, of a directory.
    Enter,
}

impl Credentials {
    /// Those of the process that connected.
    ///
    /// # Errors
    /// None; elsewhere there may be none.
    pub fn of<T>(_connection: &T) -> io::Result<Self> {
        Ok(Self(()))
    }

    /// Whether it may do everything.
    pub fn is_trusted(&self) -> bool {
        true
    }
}
