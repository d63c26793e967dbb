//! Which processes have a file open, from `/proc`. Slow, and blind to other users' processes unless run by root:
//! good for warnings, never for correctness.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::libc::{O_ACCMODE, O_WRONLY, SYS_kcmp, c_int, c_long, syscall};

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
    // A program that starts another shares its descriptors with it for a moment, and the kernel tells nothing of one that has
    // gone before it was compared.
    openers.retain(|opener| opener.is_there(path));
    openers.into_iter().map(|opener| opener.pid).collect()
}

/// Whether a process has the file at `path` open for reading, or may have: where nobody is seen, somebody out of sight may.
pub(super) fn is_read(path: &Path) -> bool {
    let mut all = all_descriptors(path).peekable();
    all.peek().is_none() || all.any(|descriptor| descriptor.is_for_reading())
}

/// A file as one process has it open.
struct Descriptor {
    pid: u32,
    number: u32,
}

impl Descriptor {
    fn is_there(&self, path: &Path) -> bool {
        let file = |path: &Path| fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
        file(path).is_some_and(|wanted| file(&self.entry()) == Some(wanted))
    }

    fn entry(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", self.pid, self.number).into()
    }

    fn is_for_reading(&self) -> bool {
        let told = fs::read_to_string(format!("/proc/{}/fdinfo/{}", self.pid, self.number));
        told.map_or(true, |told| access(&told) != Some(O_WRONLY))
    }
}

/// The access mode that `/proc/PID/fdinfo/N` tells in octal, see proc_pid_fdinfo(5).
fn access(told: &str) -> Option<c_int> {
    let flags = told.lines().find_map(|line| line.strip_prefix("flags:"))?;
    c_int::from_str_radix(flags.trim(), 8).ok().map(|flags| flags & O_ACCMODE)
}

/// One for each process.
fn descriptors(path: &Path) -> Vec<Descriptor> {
    let mut one_each: Vec<Descriptor> = all_descriptors(path).collect();
    one_each.dedup_by_key(|descriptor| descriptor.pid);
    one_each
}

fn all_descriptors(path: &Path) -> impl Iterator<Item = Descriptor> {
    let wanted = fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
    let processes = wanted.and_then(|_| fs::read_dir("/proc").ok()).into_iter().flatten().flatten();
    let own = std::process::id();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers.filter(move |&pid| pid != own).flat_map(move |pid| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let same =
            descriptors.filter(move |d| fs::metadata(d.path()).is_ok_and(|m| Some((m.dev(), m.ino())) == wanted));
        same.filter_map(move |d| Some(Descriptor { pid, number: d.file_name().to_str()?.parse().ok()? }))
    })
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
    use std::time::{Duration, Instant};

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    /// Waits for bytes that never come.
    fn cat(stdin: impl Into<Stdio>) -> Child {
        Command::new("cat").stdin(stdin).stdout(Stdio::null()).spawn().unwrap()
    }

    #[test]
    fn a_program_that_only_writes_does_not_read() {
        assert_eq!(access("pos:\t0\nflags:\t0100001\nmnt_id:\t14\n"), Some(O_WRONLY));
        assert_eq!(access("pos:\t0\nflags:\t0104002\n"), Some(nix::libc::O_RDWR));
        assert_eq!((access("flags:\t9\n"), access("")), (None, None));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let written = std::fs::File::create(&path).unwrap();
        assert!(is_read(&path), "nobody is seen");
        let mut writer = Command::new("sleep").arg("60").stdout(written).spawn().unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        while is_read(&path) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(!is_read(&path));
        let mut reader = Command::new("sleep").arg("60").stdin(std::fs::File::open(&path).unwrap()).spawn().unwrap();
        assert!(is_read(&path));
        for child in [&mut writer, &mut reader] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// How many hold and have opened a file. A program that another test starts has the descriptors of all tests until it is
    /// executed, which is waited for.
    fn assert_counts(path: &Path, expected: (usize, usize)) {
        let until = Instant::now() + Duration::from_secs(60);
        let counts = || (holders(path).len(), openers(path).len());
        let mut found = counts();
        while found != expected && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
            found = counts();
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn programs_that_were_lent_a_descriptor_count_as_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        let opened = || OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let lent = opened();
        let mut cats = vec![cat(lent.try_clone().unwrap()), cat(lent)];
        assert_counts(&path, (2, 1));
        cats.push(cat(opened()));
        assert_counts(&path, (3, 2));
        for mut cat in cats {
            cat.kill().unwrap();
            cat.wait().unwrap();
        }
    }
}
