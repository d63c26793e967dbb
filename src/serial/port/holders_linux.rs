//! Which programs have a port open, from `/proc`. Slow, and blind to other users' programs unless run by root: good
//! for messages, never for decisions about correctness.

use std::fmt;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// A program that has a port open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Holder {
    pid: u32,
}

/// The programs that have the port at `path` open, this one included.
pub(super) fn holders(path: &Path) -> Vec<Holder> {
    let Some(port) = port_number(path) else { return Vec::new() };
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers.filter(|&pid| holds(pid, port)).map(|pid| Holder { pid }).collect()
}

impl Holder {
    pub(super) fn is_this_process(self) -> bool {
        self.pid == std::process::id()
    }
}

/// `picocom (process 1234)`.
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match fs::read_to_string(format!("/proc/{}/comm", self.pid)) {
            Ok(name) => write!(f, "{} (process {})", name.trim().escape_debug(), self.pid),
            Err(_) => write!(f, "process {}", self.pid),
        }
    }
}

fn holds(pid: u32, port: u64) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors.flatten().any(|descriptor| port_number(&descriptor.path()) == Some(port))
}

/// The number of a character device, which is the same whatever its node is called.
fn port_number(path: &Path) -> Option<u64> {
    let metadata = fs::metadata(path).ok()?;
    metadata.file_type().is_char_device().then(|| metadata.rdev())
}
