//! Which processes have a file open, from `/proc`. Slow, and blind to other users' processes unless run by root:
//! good for warnings, never for correctness.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Process numbers of those who have the file at `path` open, without this process.
pub fn holders(path: &Path) -> Vec<u32> {
    let Ok(wanted) = fs::metadata(path).map(|m| (m.dev(), m.ino())) else { return Vec::new() };
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let own = std::process::id();
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|&pid| pid != own && holds(pid, wanted))
        .collect()
}

fn holds(pid: u32, wanted: (u64, u64)) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors.flatten().any(|d| fs::metadata(d.path()).is_ok_and(|m| (m.dev(), m.ino()) == wanted))
}
