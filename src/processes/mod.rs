//! Which processes have a file open, where the system lets a program know. Other users' processes are out of sight unless
//! this runs as root: good for messages, never for correctness.

#[cfg(target_os = "linux")]
#[path = "look_linux.rs"]
mod look;
#[cfg(target_os = "linux")]
#[path = "walk_linux.rs"]
mod walk;

#[cfg(target_os = "linux")]
pub use look::{look, look_blocking};
#[cfg(target_os = "linux")]
pub use walk::{Holder, Question, Seen};
