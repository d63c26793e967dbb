//! What a process costs, read from `/proc`.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "each test binary uses its own part of it"
)]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

#[allow(unused_imports, reason = "each test binary uses its own part of it")]
pub use crate::common::events::Events;
#[allow(unused_imports, reason = "each test binary uses its own part of it")]
pub use crate::common::identity as inode;
use crate::common::{Daemon, wait_for};

/// Processor time in clock ticks of 10 ms, of the whole process.
pub fn cpu_ticks(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// How often threads of the process were switched to, in all.
pub fn switches(pid: u32) -> u64 {
    switches_named(pid, "ctxt_switches")
}

/// How often a thread of the process had to make way for another while it had something to do.
pub fn preemptions(pid: u32) -> u64 {
    switches_named(pid, "nonvoluntary_ctxt_switches")
}

fn switches_named(pid: u32, name: &str) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks
        .filter_map(|task| fs::read_to_string(task.unwrap().path().join("status")).ok())
        .flat_map(|text| {
            let lines: Vec<u64> = text
                .lines()
                .filter(|l| l.contains(name))
                .map(|l| l.split_whitespace().nth(1).unwrap().parse().unwrap())
                .collect();
            lines
        })
        .sum()
}

/// Waits until the process uses no processor time for a while, and fails if it never rests.
pub fn wait_rest(pid: u32) {
    let mut last = (cpu_ticks(pid), Instant::now());
    let rests = || {
        let now = cpu_ticks(pid);
        if now > last.0 {
            last = (now, Instant::now());
        }
        (last.1.elapsed() > Duration::from_millis(500)).then_some(())
    };
    wait_for(rests, || format!("process {pid} does not come to rest, {} ticks so far", cpu_ticks(pid)));
}

/// Waits until the process has no helper threads any more: it is not asleep before.
pub fn wait_without_helpers(pid: u32) {
    let threads = || fs::read_dir(format!("/proc/{pid}/task")).unwrap().count();
    wait_for(|| (threads() == 1).then_some(()), || format!("{} threads stay", threads()));
}

/// How many descriptors a daemon has when it has answered everybody and nothing looks through `/proc`, which takes some, too.
pub fn descriptors_at_rest(daemon: &Daemon) -> usize {
    wait_without_helpers(daemon.child.id());
    wait_rest(daemon.child.id());
    daemon.descriptors()
}

/// Waits until the process sleeps for two seconds on end; fails if something wakes it up again and again.
pub fn wait_asleep(pid: u32) {
    let sleeps = || {
        let before = switches(pid);
        std::thread::sleep(Duration::from_secs(2));
        (switches(pid) == before).then_some(())
    };
    wait_for(sleeps, || format!("process {pid} does not sleep, {} switches so far", switches(pid)));
}

/// What a daemon costs while bytes flow.
#[derive(Debug)]
pub struct Size {
    descriptors: usize,
    threads: u64,
    kib: u64,
}

impl Size {
    pub fn of(daemon: &Daemon) -> Self {
        Self {
            descriptors: daemon.descriptors(),
            threads: daemon.proc_status("Threads"),
            kib: daemon.proc_status("VmRSS"),
        }
    }

    /// Fails if the daemon has grown since.
    pub fn assert_still_holds(&self, daemon: &Daemon) {
        let small = || {
            let now = Self::of(daemon);
            (now.descriptors <= self.descriptors + BUSY && now.threads <= self.threads.max(2)).then_some(())
        };
        wait_for(small, || format!("was {self:?}, is {:?}", Self::of(daemon)));
        let now = Self::of(daemon);
        eprintln!("first {self:?}, later {now:?}");
        assert!(now.kib < self.kib + 1024, "was {self:?}, is {now:?}");
    }
}

/// Descriptors that come and go while bytes flow: one for each pipe that waits.
const BUSY: usize = 4;

/// Permission bits.
pub fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::MetadataExt;
    fs::symlink_metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).mode() & 0o7777
}
