//! What is said of a terminal: where it stands, what programs set there and what else they do. It does none of it.

use crate::outlet::{Access, Dir};

/// Where the link stands, and who may open what it leads to.
pub struct Place {
    /// The directory of the link.
    pub dir: Dir,
    /// The link's name.
    pub name: String,
    /// Owner and mode of the terminals.
    pub access: Access,
}

/// What programs can set on a pseudo-terminal and its master can see. Character size and parity are not among it: the
/// kernel keeps 8 bits without parity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// Bits a second; 0 asks for hanging up the line (B0, termios(3)).
    pub speed: u32,
    /// Two stop bits instead of one.
    pub two_stop_bits: bool,
    /// Flow control by RTS and CTS (CRTSCTS).
    pub rts_cts: bool,
    /// Flow control by XON and XOFF (IXON).
    pub xon_xoff: bool,
}

/// What a program did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The terminal has these settings now, which may be the same as before (tcsetattr(3)).
    Set(Settings),
    /// The last program closed it. Bytes that it wrote may be left.
    Closed,
    /// Its sink or source was dropped while a program had it open.
    Abandoned,
}
