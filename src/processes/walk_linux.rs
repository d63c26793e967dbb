//! One walk through `/proc`, for any number of files at once. It never touches a file that is not asked about: one on a
//! server that does not answer would hold it up for ever.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::libc::{O_ACCMODE, O_WRONLY, SYS_kcmp, c_int, c_long, syscall};

/// The file that is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// The file at this path, which may be a link to it.
    File(PathBuf),
    /// The character device that the node at this path stands for, whatever other nodes of it are called.
    Device(PathBuf),
}

/// What was found. Nothing is known where nobody looked in time.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Every descriptor of the file, by process.
    pub holders: Vec<Holder>,
    /// Whether all processes were looked at that can be.
    pub is_whole: bool,
}

/// A file as one process has it open.
#[derive(Debug, Clone)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    number: u32,
    name: Option<String>,
    access: Option<c_int>,
}

impl Seen {
    /// The processes, without this one; one for each time the file was opened. A shell and the programs that it lends its
    /// descriptor to read in turn, and take nothing from each other.
    pub fn openers(&self) -> Vec<u32> {
        let mut openers: Vec<&Holder> = Vec::new();
        for holder in self.others() {
            if !openers.iter().any(|known| known.pid == holder.pid || is_same_opening(known, holder)) {
                openers.push(holder);
            }
        }
        openers.into_iter().map(|opener| opener.pid).collect()
    }

    /// Whether a process has the file open for reading, or may have: where nobody is seen, somebody out of sight may.
    pub fn is_read(&self) -> bool {
        let mut others = self.others().peekable();
        !self.is_whole || others.peek().is_none() || others.any(|holder| holder.access != Some(O_WRONLY))
    }

    /// Each other process once.
    pub fn processes(&self) -> Vec<&Holder> {
        let mut processes: Vec<&Holder> = self.others().collect();
        processes.dedup_by_key(|holder| holder.pid);
        processes
    }

    /// As text, this process among them, if any has it open.
    pub fn names(&self) -> Option<String> {
        let mut holders = self.holders.clone();
        holders.dedup_by_key(|holder| holder.pid);
        let names: Vec<String> = holders.iter().map(ToString::to_string).collect();
        (!names.is_empty()).then(|| names.join(" and "))
    }

    fn others(&self) -> impl Iterator<Item = &Holder> {
        self.holders.iter().filter(|holder| holder.pid != std::process::id())
    }
}

/// `picocom (process 1234)`.
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} (process {})", self.pid),
            None => write!(f, "process {}", self.pid),
        }
    }
}

/// Looks through the processes below `root` until all are seen or it is time to end.
pub(super) fn walk(root: &Path, questions: &[Question], until: Instant) -> Vec<Seen> {
    let wanted: Vec<Option<Wanted>> = questions.iter().map(Wanted::of).collect();
    let mut all = vec![Seen { holders: Vec::new(), is_whole: true }; questions.len()];
    let filter = Filter::of(root, wanted.iter().flatten());
    let processes = fs::read_dir(root).into_iter().flatten().flatten();
    for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        if filter.is_empty() {
            break;
        }
        let folder = root.join(pid.to_string());
        let is_elsewhere = filter.is_elsewhere(&folder);
        for entry in fs::read_dir(folder.join("fd")).into_iter().flatten().flatten() {
            if Instant::now() >= until {
                all.iter_mut().for_each(|seen| seen.is_whole = false);
                return all;
            }
            let entry = entry.path();
            if !fs::read_link(&entry).is_ok_and(|target| is_elsewhere || filter.fits(&target)) {
                continue;
            }
            let Ok(file) = fs::metadata(&entry) else { continue };
            for (seen, _) in all.iter_mut().zip(&wanted).filter(|(_, w)| w.as_ref().is_some_and(|w| w.is(&file))) {
                seen.holders.extend(Holder::of(&folder, pid, &entry));
            }
        }
    }
    // A program that starts another shares its descriptors with it for a moment.
    for (seen, wanted) in all.iter_mut().zip(&wanted) {
        seen.holders.retain(|holder| wanted.as_ref().is_some_and(|wanted| holder.is_there(root, wanted)));
    }
    all
}

/// What a file that is asked about is known by.
enum Wanted {
    File { name: OsString, device: u64, inode: u64 },
    Device { name: OsString, number: u64 },
}

impl Wanted {
    fn of(question: &Question) -> Option<Self> {
        let (Question::File(path) | Question::Device(path)) = question;
        let path = path.canonicalize().ok()?;
        let (file, name) = (fs::metadata(&path).ok()?, path.file_name()?.to_owned());
        match question {
            Question::File(_) => Some(Self::File { name, device: file.dev(), inode: file.ino() }),
            Question::Device(_) => device_number(&file).map(|number| Self::Device { name, number }),
        }
    }

    fn is(&self, file: &Metadata) -> bool {
        match self {
            Self::File { device, inode, .. } => (file.dev(), file.ino()) == (*device, *inode),
            Self::Device { number, .. } => device_number(file) == Some(*number),
        }
    }
}

fn device_number(file: &Metadata) -> Option<u64> {
    file.file_type().is_char_device().then(|| file.rdev())
}

/// Which descriptors are worth a look, by what they are called.
struct Filter<'a> {
    names: HashSet<&'a OsStr>,
    has_device: bool,
    /// This process's mounts, under which files are called as here.
    mounts: Option<PathBuf>,
}

impl<'a> Filter<'a> {
    fn of(root: &Path, wanted: impl Iterator<Item = &'a Wanted>) -> Self {
        let mounts = fs::read_link(root.join("self/ns/mnt")).ok();
        let mut filter = Self { names: HashSet::new(), has_device: false, mounts };
        for wanted in wanted {
            let (Wanted::File { name, .. } | Wanted::Device { name, .. }) = wanted;
            filter.names.insert(name);
            filter.has_device |= matches!(wanted, Wanted::Device { .. });
        }
        filter
    }

    fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether files of a process may be called otherwise, as in a container.
    fn is_elsewhere(&self, process: &Path) -> bool {
        fs::read_link(process.join("ns/mnt")).is_ok_and(|mounts| self.mounts.as_ref() != Some(&mounts))
    }

    fn fits(&self, target: &Path) -> bool {
        let is_named = || target.file_name().is_some_and(|name| self.names.contains(name));
        target.is_absolute() && (self.has_device && target.starts_with("/dev") || is_named())
    }
}

impl Holder {
    fn of(process: &Path, pid: u32, entry: &Path) -> Option<Self> {
        let number = entry.file_name()?.to_str()?;
        let name = fs::read_to_string(process.join("comm")).ok();
        let info = fs::read_to_string(process.join("fdinfo").join(number)).ok();
        Some(Self {
            pid,
            number: number.parse().ok()?,
            name: name.map(|name| name.trim_end().escape_debug().to_string()),
            access: info.as_deref().and_then(access),
        })
    }

    fn is_there(&self, root: &Path, wanted: &Wanted) -> bool {
        let entry = root.join(self.pid.to_string()).join("fd").join(self.number.to_string());
        fs::metadata(entry).is_ok_and(|file| wanted.is(&file))
    }
}

/// The access mode that `/proc/PID/fdinfo/N` has in octal, see proc_pid_fdinfo(5).
fn access(info: &str) -> Option<c_int> {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
    c_int::from_str_radix(flags.trim(), 8).ok().map(|flags| flags & O_ACCMODE)
}

/// Whether two descriptors come from one open(2): kcmp(2). Where the kernel does not say, they count as two.
fn is_same_opening(a: &Holder, b: &Holder) -> bool {
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
    use std::time::Duration;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    fn seen(path: &Path) -> Seen {
        let until = Instant::now() + Duration::from_secs(60);
        walk(Path::new("/proc"), &[Question::File(path.to_owned())], until).remove(0)
    }

    /// A program that another test starts has the descriptors of all tests until it is executed, which is waited for.
    fn wait_until(fits: impl Fn() -> bool) {
        let until = Instant::now() + Duration::from_secs(60);
        while !fits() {
            assert!(Instant::now() < until);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for bytes that never come.
    fn cat(stdin: impl Into<Stdio>) -> Child {
        Command::new("cat").stdin(stdin).stdout(Stdio::null()).spawn().unwrap()
    }

    fn end(children: Vec<Child>) {
        for mut child in children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    #[test]
    fn a_program_that_only_writes_does_not_read() {
        assert_eq!(access("pos:\t0\nflags:\t0100001\nmnt_id:\t14\n"), Some(O_WRONLY));
        assert_eq!(access("pos:\t0\nflags:\t0104002\n"), Some(nix::libc::O_RDWR));
        assert_eq!((access("flags:\t9\n"), access("")), (None, None));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let written = fs::File::create(&path).unwrap();
        assert!(seen(&path).is_read(), "nobody is seen");
        let writer = Command::new("sleep").arg("60").stdout(written).spawn().unwrap();
        wait_until(|| !seen(&path).is_read());
        let reader = Command::new("sleep").arg("60").stdin(fs::File::open(&path).unwrap()).spawn().unwrap();
        assert!(seen(&path).is_read());
        end(vec![writer, reader]);
        assert!(Seen::default().is_read(), "nobody has looked");
    }

    #[test]
    fn programs_that_were_lent_a_descriptor_count_as_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        let opened = || OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let counts = || (seen(&path).processes().len(), seen(&path).openers().len());
        let lent = opened();
        let mut cats = vec![cat(lent.try_clone().unwrap()), cat(lent)];
        wait_until(|| counts() == (2, 1));
        cats.push(cat(opened()));
        wait_until(|| counts() == (3, 2));
        let name = seen(&path).processes()[0].to_string();
        assert!(name.starts_with("cat (process "), "{name}");
        end(cats);
    }

    #[test]
    fn a_device_is_known_by_its_number_and_several_questions_are_one_walk() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("nothing");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        let child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        let missing = Question::File(dir.path().join("missing"));
        let all = walk(Path::new("/proc"), &[missing, Question::Device(link)], until);
        assert!(all[0].holders.is_empty());
        assert!(all[1].holders.iter().any(|holder| holder.pid == child.id()));
        end(vec![child]);
    }

    #[test]
    fn it_ends_in_time() {
        let all = walk(Path::new("/proc"), &[Question::Device("/dev/null".into())], Instant::now());
        assert!(!all[0].is_whole);
    }
}
