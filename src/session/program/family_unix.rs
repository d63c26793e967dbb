//! A program with all that it starts, on Unix: a process group of its own, which is signalled as one, under a guard that ends
//! those that have left it.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use super::guard::{Guard, guarded};
use crate::outlet::restore_limit;
use crate::session::pass::keep_descriptors;

/// The process group whose first one is the program.
pub(super) struct Family {
    pid: u32,
    /// When it is dropped, nothing of the program is left soon.
    _guard: Guard,
}

/// What a family is founded by.
pub(super) type Founder = Guard;

impl Family {
    /// Of a program that was started.
    ///
    /// # Errors
    /// Why the guard could not start it.
    pub(super) async fn of(_child: &Child, mut guard: Founder) -> io::Result<Self> {
        Ok(Self { pid: guard.started().await?, _guard: guard })
    }

    /// The program's number.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// SIGTERM.
    pub(super) fn ask_to_end(&self) {
        self.signal(Signal::SIGTERM);
        // One that was stopped learns of it only then.
        self.signal(Signal::SIGCONT);
    }

    /// SIGKILL. The number is still this group's: the kernel gives it to no other process while one of the group is there,
    /// and goes through all others first where none is.
    pub(super) fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    fn signal(&self, signal: Signal) {
        if let Ok(group @ 1..) = i32::try_from(self.pid) {
            // Where nobody is left, nothing is to be done.
            let _ = killpg(Pid::from_raw(group), signal);
        }
    }
}

/// What starts the program at `path`, with these words, as the first of a group.
///
/// # Errors
/// When there is no descriptor left.
pub(super) fn command(path: &Path, words: &[String]) -> io::Result<(Command, Founder)> {
    let (mut command, guard) = guarded(path, words)?;
    keep_descriptors(|_| false);
    for variable in OF_THE_DAEMON {
        command.env_remove(variable);
    }
    // SAFETY: it calls getrlimit(2) and setrlimit(2) alone, which may be between fork and exec.
    unsafe { command.pre_exec(restore_limit) };
    Ok((command, guard))
}

/// Whether a word is a path, and no name to be looked for.
pub(super) fn is_path(word: &str) -> bool {
    word.contains('/')
}

/// What to do about a program at this path that cannot be started.
pub(super) fn why_not(kind: io::ErrorKind, path: &str) -> Option<String> {
    match kind {
        io::ErrorKind::NotFound => {
            Some(format!("{path} is not there, or what its first line names is not; put it there, or correct `run`"))
        }
        io::ErrorKind::PermissionDenied => Some(format!("let the daemon's user run it: chmod +x {path}")),
        _ => None,
    }
}

/// How it ended.
pub(super) fn in_words(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("ended with status {code}"),
        None => {
            let signal = status.signal().and_then(|n| Signal::try_from(n).ok());
            format!("was ended by {}", signal.map_or("a signal", Signal::as_str))
        }
    }
}

/// What a program is asked to end by.
pub(super) const ASKED: &str = "SIGTERM";
/// What a service manager tells the daemon and nobody else.
const OF_THE_DAEMON: [&str; 6] =
    ["WATCHDOG_USEC", "WATCHDOG_PID", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];
