//! The guard of a program: a process between it and the daemon, by which all that the program starts ends with it, also
//! after `kill -9` of the daemon.
//!
//! ```text
//!   daemon ──(starts, as itself with other words)──► guard ──► program ──► whatever that starts
//!     └── a socket, which ends with the daemon ────────┘ └───────◄─ orphans become children of the guard: subreaper
//! ```
//!
//! The guard says how the start went, and then waits: for the end of the program, whose status becomes its own, or for the end
//! of the socket. It refuses to know what the program is for.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, killpg, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout};
use tokio::io::AsyncReadExt;

/// The first word of a guard's command line, which is no command of a person's.
const WORD: &str = "guard-of-a-program";

/// The daemon's end of the socket. The program and all that it has started end with it.
#[derive(Debug)]
pub(super) struct Guard(tokio::net::UnixStream);

/// A command that runs this program with these words under a guard, and the guard's hold.
///
/// # Errors
/// Those of socketpair(2).
pub(super) fn guarded(program: &Path, words: &[String]) -> io::Result<(tokio::process::Command, Guard)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let mut command = tokio::process::Command::new("/proc/self/exe");
    command.arg0("usbpipe").arg(WORD).arg(theirs.as_raw_fd().to_string()).arg(program).args(words).process_group(0);
    let theirs = OwnedFd::from(theirs);
    // SAFETY: between fork and exec it makes one system call, and allocates nothing.
    unsafe { command.pre_exec(move || inherit(&theirs)) };
    Ok((command, Guard(tokio::net::UnixStream::from_std(ours)?)))
}

fn inherit(fd: &OwnedFd) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(())
}

impl Guard {
    /// The number of the program, once it runs.
    ///
    /// # Errors
    /// Why it cannot be started.
    pub(super) async fn started(&mut self) -> io::Result<u32> {
        let mut report = [0; 8];
        self.0.read_exact(&mut report).await?;
        let [a, b, c, d, numbers @ ..] = report;
        match i32::from_ne_bytes([a, b, c, d]) {
            0 => Ok(u32::from_ne_bytes(numbers)),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}

/// Is the guard, where this process was started as one.
pub fn guard(mut words: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    words.next()?;
    if words.next()? != WORD {
        return None;
    }
    let (hold, program, name) = (words.next()?, words.next()?, words.next()?);
    let hold: RawFd = hold.to_str()?.parse().ok()?;
    // SAFETY: whoever started this guard left the descriptor open for it, and nothing else here knows of it.
    let hold = UnixStream::from(unsafe { OwnedFd::from_raw_fd(hold) });
    fcntl(&hold, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
    Some(watch(hold, &program, &name, words).unwrap_or(ExitCode::FAILURE))
}

fn watch(
    mut hold: UnixStream,
    program: &OsStr,
    name: &OsStr,
    words: impl Iterator<Item = OsString>,
) -> io::Result<ExitCode> {
    let _ = prctl::set_name(c"usbpipe-guard");
    prctl::set_child_subreaper(true)?;
    let heard = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT];
    let heard: SigSet = heard.into_iter().collect();
    let mask = heard.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let signals = SignalFd::with_flags(&heard, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let pid = match start(program, name, words, mask) {
        Ok(pid) => pid,
        Err(e) => {
            hold.write_all(&report(e.raw_os_error().unwrap_or(Errno::EINVAL as i32), 0))?;
            return Ok(ExitCode::FAILURE);
        }
    };
    hold.write_all(&report(0, pid.as_raw().cast_unsigned()))?;
    let status = wait(pid, &hold, &signals)?;
    end_all(pid);
    Ok(leave(status))
}

fn report(error: i32, pid: u32) -> Vec<u8> {
    [error.to_ne_bytes(), pid.to_ne_bytes()].concat()
}

/// Starts the program as the first of a group, with this process's stdin, stdout and stderr, which it has alone then.
fn start(program: &OsStr, name: &OsStr, words: impl Iterator<Item = OsString>, mask: SigSet) -> io::Result<Pid> {
    let mut command = Command::new(program);
    command.arg0(name).args(words).process_group(0);
    let prepare = move || {
        mask.thread_set_mask()?;
        Ok(prctl::set_pdeathsig(Signal::SIGTERM)?)
    };
    // SAFETY: between fork and exec it makes system calls only, and allocates nothing.
    unsafe { command.pre_exec(prepare) };
    let child = command.spawn()?;
    let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    Ok(Pid::from_raw(child.id().cast_signed()))
}

/// Waits for the end of the program, which is brought about when the daemon has gone.
fn wait(pid: Pid, hold: &UnixStream, signals: &SignalFd) -> nix::Result<WaitStatus> {
    let (mut is_held, mut killed_at) = (true, None::<Instant>);
    loop {
        if let Some(status) = reap(pid) {
            return Ok(status);
        }
        let rest = killed_at.map(|at| at.saturating_duration_since(Instant::now()));
        if rest == Some(Duration::ZERO) {
            signal(pid, Signal::SIGKILL);
            killed_at = None;
        }
        let timeout = rest.map_or(PollTimeout::NONE, |rest| PollTimeout::try_from(rest).unwrap_or(PollTimeout::MAX));
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(hold.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds[..1 + usize::from(is_held)], timeout) {
            Err(Errno::EINTR) | Ok(_) => {}
            Err(e) => return Err(e),
        }
        while let Ok(Some(_)) = signals.read_signal() {}
        if is_held && fds[1].any().unwrap_or(false) && has_ended(hold) {
            is_held = false;
            signal(pid, Signal::SIGTERM);
            // One that was stopped learns of it only then.
            signal(pid, Signal::SIGCONT);
            killed_at = Some(Instant::now() + AFTER_ASKING);
        }
    }
}

fn has_ended(mut hold: &UnixStream) -> bool {
    !matches!(hold.read(&mut [0; 16]), Ok(1..))
}

/// Takes note of all children that have ended; the status of the program, once it has.
fn reap(pid: Pid) -> Option<WaitStatus> {
    let mut found = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(_) => return found,
            Ok(status) if status.pid() == Some(pid) => found = Some(status),
            Ok(_) => {}
        }
    }
}

/// To the program's group, and to those that have left it.
fn signal(pid: Pid, signal: Signal) {
    let _ = killpg(pid, signal);
    for child in children().filter(|child| *child != pid) {
        let _ = kill(child, signal);
    }
}

/// Ends all that the program has left behind. What one of them has started is this process's child in its turn.
fn end_all(pid: Pid) {
    let _ = killpg(pid, Signal::SIGKILL);
    let until = Instant::now() + AFTER_KILLING;
    while Instant::now() < until {
        for child in children() {
            let _ = kill(child, Signal::SIGKILL);
        }
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => thread::sleep(Duration::from_millis(1)),
            Ok(_) | Err(Errno::EINTR) => {}
            // None is left.
            Err(_) => return,
        }
    }
}

fn children() -> impl Iterator<Item = Pid> {
    let text = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    let numbers: Vec<i32> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    numbers.into_iter().map(Pid::from_raw)
}

/// Ends as the program did.
fn leave(status: WaitStatus) -> ExitCode {
    match status {
        WaitStatus::Exited(_, code) => std::process::exit(code),
        WaitStatus::Signaled(_, signal, _) => {
            // One core is enough.
            let _ = prctl::set_dumpable(false);
            let _ = SigSet::from(signal).thread_unblock();
            let _ = raise(signal);
            ExitCode::FAILURE
        }
        _ => ExitCode::FAILURE,
    }
}

/// How long a program may take to end when its daemon has gone.
const AFTER_ASKING: Duration = Duration::from_secs(2);
/// How long the kernel may take to end what was killed. What it holds up for longer is left to init.
const AFTER_KILLING: Duration = Duration::from_secs(1);
