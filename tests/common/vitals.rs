//! What a process costs, read from `/proc`; and the events of a daemon, as `usbpipe events` prints them.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "each test binary uses its own part of it"
)]

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{Daemon, PATIENCE, usbpipe, wait_for};

/// Processor time in clock ticks of 10 ms, of the whole process.
pub fn cpu_ticks(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// How often threads of the process were switched to, in all.
pub fn switches(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks
        .filter_map(|task| fs::read_to_string(task.unwrap().path().join("status")).ok())
        .flat_map(|text| {
            let lines: Vec<u64> = text
                .lines()
                .filter(|l| l.contains("ctxt_switches"))
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

/// Device and inode.
pub fn inode(path: &Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    let m = fs::symlink_metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    (m.dev(), m.ino())
}

/// Permission bits.
pub fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::MetadataExt;
    fs::symlink_metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).mode() & 0o7777
}

/// `usbpipe events`, running.
pub struct Events {
    child: Child,
    lines: Receiver<String>,
    seen: VecDeque<Value>,
}

impl Events {
    /// Listens to this daemon from now on.
    pub fn of(daemon: &Daemon) -> Self {
        let mut child = usbpipe().arg("--dir").arg(&daemon.dir).arg("events").stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut events = Self { child, lines, seen: VecDeque::new() };
        events.wait_listening(daemon);
        events
    }

    /// Opens a control FIFO's neighbour until its event is seen: only then is the listener known to be there.
    fn wait_listening(&mut self, daemon: &Daemon) {
        let connected = || {
            let ours = format!("/proc/{}/fd", self.child.id());
            let sockets = fs::read_dir(ours).ok()?.flatten().filter_map(|e| fs::read_link(e.path()).ok());
            (sockets.filter(|l| l.to_string_lossy().starts_with("socket:")).count() > 0).then_some(())
        };
        wait_for(connected, || "usbpipe events never connected".into());
        // The daemon answers requests in the order of its connections: after this one it has taken the first.
        daemon.ask(&["status"]);
        daemon.ask(&["status"]);
    }

    /// The next event that fits, waiting for it; events in between are dropped.
    pub fn wait(&mut self, kind: &str, device: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let event = self.next(deadline.saturating_duration_since(Instant::now()));
            let Some(event) = event else { panic!("no {kind:?} of {device:?}; there were {:#?}", self.seen) };
            if event["event"] == kind && event["device"] == device {
                return event;
            }
        }
    }

    /// The next event, if one comes in time.
    pub fn next(&mut self, time: Duration) -> Option<Value> {
        let line = self.lines.recv_timeout(time).ok()?;
        let event: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e} in {line:?}"));
        self.seen.push_back(event.clone());
        if self.seen.len() > 50 {
            self.seen.pop_front();
        }
        Some(event)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
