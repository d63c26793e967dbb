//! A command that runs in this process's place: with its stdin, stdout and stderr, its signals, and its exit status.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgrp, tcgetpgrp};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::{Failure, Outcome};

/// Runs a command to its end. The exit status is the command's, and 128 and the number of the signal that killed it.
///
/// # Errors
/// When it cannot be started.
pub(super) async fn run(command: &[String]) -> Outcome {
    let Some((program, arguments)) = command.split_first() else { return Ok(0) };
    let mut signals = listen()?;
    let started = Command::new(program).args(arguments).spawn();
    let child = started.map_err(|e| Failure::run_time(format!("{program} cannot be started: {e}")))?;
    let pid = Pid::from_raw(child.id().try_into().unwrap_or(i32::MAX));
    let mut ended = tokio::task::spawn_blocking(move || wait(child));
    loop {
        tokio::select! {
            ended = &mut ended => {
                let status = ended.map_err(Failure::run_time)?;
                return status.map(code).map_err(|e| Failure::run_time(format!("waiting for {program} failed: {e}")));
            }
            Some(signal) = signals.recv() => {
                // One that has ended is waited for in a moment.
                let _ = kill(pid, signal);
            }
        }
    }
}

fn wait(mut child: Child) -> std::io::Result<ExitStatus> {
    child.wait()
}

/// As a shell says it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// Signals to this process that the command shall get. Those that a person types reach it anyway.
fn listen() -> Result<mpsc::Receiver<Signal>, Failure> {
    let (sender, signals) = mpsc::channel(1);
    for passed in PASSED_ON {
        let kind = SignalKind::from_raw(passed as i32);
        let mut arrivals = signal(kind).map_err(|e| Failure::run_time(format!("cannot listen for signals: {e}")))?;
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

/// Whether a terminal sends its signals to this process and its children.
fn is_in_foreground() -> bool {
    File::open("/dev/tty").is_ok_and(|terminal| tcgetpgrp(terminal) == Ok(getpgrp()))
}

const PASSED_ON: [Signal; 6] =
    [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2];
