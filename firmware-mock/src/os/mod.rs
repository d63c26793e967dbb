//! What differs between operating systems: the control socket and the signals.
//!
//! One job: choose the file. It refuses to say anything else.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub use unix::*;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub use windows::*;
