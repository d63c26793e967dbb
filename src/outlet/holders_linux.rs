//! Which processes have a file open, from `/proc`. Slow, and blind to other users' processes unless run by root:
//! good for warnings, never for correctness.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::libc::{SYS_kcmp, c_long, syscall};

/// Process numbers of those who have the file at `path` open, without this process.
pub(super) fn holders(path: &Path) -> Vec<u32> {
    descriptors(path).into_iter().map(|holder| holder.pid).collect()
}

/// As `holders`, but one process for each time the file was opened: a shell and the programs that it lends its
/// descriptor to read in turn, and take nothing from each other.
pub fn openers(path: &Path) -> Vec<u32> {
    let mut openers: Vec<Descriptor> = Vec::new();
    for holder in descriptors(path) {
        if !openers.iter().any(|known| is_same_opening(known, &holder)) {
            openers.push(holder);
        }
    }
    openers.into_iter().map(|opener| opener.pid).collect()
}

/// A file as one process has it open.
struct Descriptor {
    pid: u32,
    number: u32,
}

fn descriptors(path: &Path) -> Vec<Descriptor> {
    let Ok(wanted) = fs::metadata(path).map(|m| (m.dev(), m.ino())) else { return Vec::new() };
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let own = std::process::id();
    let numbers = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers.filter(|&pid| pid != own).filter_map(|pid| descriptor(pid, wanted)).collect()
}

fn descriptor(pid: u32, wanted: (u64, u64)) -> Option<Descriptor> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let found = descriptors.flatten().find(|d| fs::metadata(d.path()).is_ok_and(|m| (m.dev(), m.ino()) == wanted))?;
    Some(Descriptor { pid, number: found.file_name().to_str()?.parse().ok()? })
}

/// Whether two descriptors come from one open(2): kcmp(2). Where the kernel does not tell, they count as two.
fn is_same_opening(a: &Descriptor, b: &Descriptor) -> bool {
    let [pid_a, pid_b, a, b] = [a.pid, b.pid, a.number, b.number].map(c_long::from);
    // SAFETY: kcmp takes numbers only, and changes nothing.
    unsafe { syscall(SYS_kcmp, pid_a, pid_b, KCMP_FILE, a, b) == 0 }
}

/// From linux/kcmp.h.
const KCMP_FILE: c_long = 0;

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::process::{Child, Command, Stdio};

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    /// Waits for bytes that never come.
    fn cat(stdin: impl Into<Stdio>) -> Child {
        Command::new("cat").stdin(stdin).stdout(Stdio::null()).spawn().unwrap()
    }

    #[test]
    fn programs_that_were_lent_a_descriptor_count_as_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        let opened = || OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let lent = opened();
        let mut cats = vec![cat(lent.try_clone().unwrap()), cat(lent)];
        assert_eq!((holders(&path).len(), openers(&path).len()), (2, 1));
        cats.push(cat(opened()));
        assert_eq!((holders(&path).len(), openers(&path).len()), (3, 2));
        for mut cat in cats {
            cat.kill().unwrap();
            cat.wait().unwrap();
        }
    }
}
