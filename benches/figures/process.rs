//! Child processes that never outlive their owner, and how much CPU time they used.

use std::process::{Child, Command};
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// A child that is killed, if it still runs, when this is dropped.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let child = command.spawn().unwrap_or_else(|e| panic!("{:?} does not start: {e}", command.get_program()));
        Self(child)
    }

    /// CPU time so far, of all its threads.
    pub(crate) fn cpu(&self) -> Duration {
        cpu(&self.0.id().to_string())
    }

    /// Waits for its end and says how much CPU time it used; a child that has ended keeps its figures until it is
    /// waited for.
    pub(crate) fn finish(mut self) -> Duration {
        waitid(Id::Pid(self.pid()), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).expect("it is our child");
        let used = self.cpu();
        let status = self.0.wait().expect("it is our child");
        assert!(status.success(), "a process of the measurement failed: {status}");
        used
    }

    /// Asks it to end in order, and waits.
    pub(crate) fn terminate(&mut self) {
        let _ = kill(self.pid(), Signal::SIGTERM);
        let _ = self.0.wait();
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id().cast_signed())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail when it has been waited for, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The cores that this process may use, lowest first.
pub(crate) fn cores() -> Vec<usize> {
    let allowed = sched_getaffinity(OWN).expect("known on Linux");
    (0..CpuSet::count()).filter(|&core| allowed.is_set(core).unwrap_or(false)).collect()
}

/// Lets the main thread of a process run on these cores only. Nothing that is measured for latency has a second one.
pub(crate) fn place(process: Pid, cores: &[usize]) {
    let mut set = CpuSet::new();
    cores.iter().for_each(|&core| set.set(core).expect("a core of this machine"));
    sched_setaffinity(process, &set).expect("cores that we may use ourselves");
}

/// Stands for the calling thread.
pub(crate) const OWN: Pid = Pid::from_raw(0);

/// utime and stime of this process so far.
pub(crate) fn own_cpu() -> Duration {
    cpu("self")
}

/// Fields 14 and 15 of proc_pid_stat(5), counted behind the name, which may contain blanks.
pub(crate) fn cpu(pid: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    let behind_name = &stat[stat.rfind(')').expect("the name is in parentheses") + 1..];
    let fields: Vec<&str> = behind_name.split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|f| f.parse::<u64>().expect("a number")).sum();
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().expect("known on Linux");
    Duration::from_secs_f64(ticks as f64 / per_second as f64)
}
