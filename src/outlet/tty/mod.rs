//! The outlet that programs take for a serial port: a link to a pseudo-terminal, and each opening finds a fresh one.
//!
//! ```text
//!   link ──► a terminal that waits ── a program opens it ──► Tty: its bytes, and what it sets ── it closes it ──► renewed
//!     └────► the next one that waits ──► …                                                                           │
//!               ▲                                                                                                    │
//!               └────────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! So no program finds anything of the last one: no byte, no setting, no lock; and programs that are there at the same
//! time each get all bytes. Only programs that open it within the moment that changing the link takes share a terminal.
//! It refuses to know what is behind the terminal.

#[cfg(target_os = "linux")]
mod all_linux;
#[cfg(target_os = "linux")]
mod halves_linux;
#[cfg(windows)]
mod none_windows;
#[cfg(target_os = "linux")]
mod pty_linux;
mod settings;
#[cfg(target_os = "linux")]
mod stirring_linux;
#[cfg(target_os = "linux")]
mod unheard_linux;
#[cfg(target_os = "linux")]
mod waiting_linux;

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;

#[cfg(target_os = "linux")]
pub use all_linux::Settling;
#[cfg(target_os = "linux")]
pub use halves_linux::{TtyNews, TtySink, TtySource};
#[cfg(windows)]
pub use none_windows::{Settling, TtyListener, TtyNews, TtySink, TtySource};
pub use settings::{Change, Place, Settings};
#[cfg(target_os = "linux")]
pub use waiting_linux::TtyListener;

/// A terminal that a program has opened. Dropping all of it hangs up on the program.
pub struct Tty {
    /// What the program reads.
    pub sink: TtySink,
    /// What it writes.
    pub source: TtySource,
    /// What else it does.
    pub news: TtyNews,
}
