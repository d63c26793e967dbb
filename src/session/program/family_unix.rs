//! A program with all that it starts, on Unix: a process group of its own, which is signalled as one.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use super::orphan;
use crate::outlet::restore_limit;
use crate::session::pass::keep_descriptors;

/// The process group whose first one is the program.
pub(super) struct Family(u32);

impl Family {
    /// Of a program that was prepared before it was started.
    ///
    /// # Errors
    /// None; elsewhere a family has to be founded.
    pub(super) fn of(child: &Child) -> io::Result<Self> {
        Ok(Self(child.id().unwrap_or_default()))
    }

    /// The program's number.
    pub(super) fn pid(&self) -> u32 {
        self.0
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
        if let Ok(group @ 1..) = i32::try_from(self.0) {
            // Where nobody is left, nothing is to be done.
            let _ = killpg(Pid::from_raw(group), signal);
        }
    }
}

/// Makes the program that is started the first of a group, under the name that it was called by.
pub(super) fn prepare(command: &mut Command, name: &str) {
    keep_descriptors(|_| false);
    command.arg0(name).process_group(0);
    for variable in OF_THE_DAEMON {
        command.env_remove(variable);
    }
    // SAFETY: it calls getrlimit(2) and setrlimit(2) alone, which may be between fork and exec.
    unsafe { command.pre_exec(restore_limit) };
    orphan::end_with_this_process(command);
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
