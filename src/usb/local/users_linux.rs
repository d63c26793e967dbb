//! Which programs have a device open, from `/proc`. Slow, and blind to other users' processes unless run by root: good
//! for messages, never for decisions.

use std::fs;
use std::path::Path;

/// Programs that have the device at `node` open, without this one, such as `heimdall (process 4711)`.
pub fn users(node: &Path) -> Vec<String> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let own = std::process::id();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|&pid| pid != own && has_open(pid, node))
        .map(|pid| format!("{} (process {pid})", name(pid)))
        .collect()
}

fn has_open(pid: u32, node: &Path) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| target == node)
}

fn name(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim_end().escape_debug().to_string()
}
