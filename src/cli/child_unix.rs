//! A command that runs in this process's place: with its stdin, stdout and stderr, its signals, and its exit status.

use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgrp, tcgetpgrp};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::not_started::NotStarted;
use super::{Failure, Outcome};
use crate::daemon::restore_limit;

/// A command that has been started.
pub(super) struct Running {
    program: String,
    pid: Pid,
    signals: mpsc::Receiver<Signal>,
    ended: JoinHandle<io::Result<ExitStatus>>,
}

impl Running {
    /// Starts a command, and passes signals on to it from now on. What it was given is open in it alone then.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(mut command: Command) -> Result<Self, NotStarted> {
        let program = command.get_program().to_string_lossy().into_owned();
        // SAFETY: it calls getrlimit(2) and setrlimit(2) alone, which may be between fork and exec.
        unsafe { command.pre_exec(restore_limit) };
        match listen().and_then(|signals| Ok((signals, command.spawn()?))) {
            Ok((signals, child)) => {
                let pid = Pid::from_raw(child.id().try_into().unwrap_or(i32::MAX));
                Ok(Self { program, pid, signals, ended: tokio::task::spawn_blocking(move || wait(child)) })
            }
            Err(cause) => Err(NotStarted { program, cause }),
        }
    }

    /// Waits for its end. The exit status is the command's, and 128 and the number of the signal that killed it. Cancel
    /// safe until it is ready.
    pub(super) async fn ended(&mut self) -> Outcome {
        loop {
            tokio::select! {
                ended = &mut self.ended => {
                    let status = ended.map_err(Failure::run_time)?;
                    let failed = |e| Failure::run_time(format!("waiting for {} failed: {e}", self.program));
                    return status.map(code).map_err(failed);
                }
                Some(signal) = self.signals.recv() => {
                    // One that has ended is waited for in a moment.
                    let _ = kill(self.pid, signal);
                }
            }
        }
    }
}

fn wait(mut child: Child) -> io::Result<ExitStatus> {
    child.wait()
}

/// As a shell says it.
fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Signals to this process that the command shall get. Those that a person types reach it anyway.
fn listen() -> io::Result<mpsc::Receiver<Signal>> {
    let (sender, signals) = mpsc::channel(1);
    for passed in PASSED_ON.into_iter().filter(|&passed| !is_ignored(passed)) {
        let kind = SignalKind::from_raw(passed as i32);
        let mut arrivals = signal(kind)?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while arrivals.recv().await.is_some() {
                let is_typed = matches!(passed, Signal::SIGINT | Signal::SIGQUIT) && is_in_foreground();
                if !is_typed && sender.send(passed).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(signals)
}

/// Whether this process was started to ignore it, as nohup(1) does; the command inherits that.
fn is_ignored(signal: Signal) -> bool {
    // SAFETY: the fields are numbers and addresses, for which all zeros are values.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: without a new action sigaction(2) only writes the present one, to memory that outlives the call.
    let result = unsafe { libc::sigaction(signal as i32, std::ptr::null(), &raw mut action) };
    result == 0 && action.sa_sigaction == libc::SIG_IGN
}

/// Whether a terminal sends its signals to this process and its children.
fn is_in_foreground() -> bool {
    File::open("/dev/tty").is_ok_and(|terminal| tcgetpgrp(terminal) == Ok(getpgrp()))
}

const PASSED_ON: [Signal; 6] =
    [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2];
