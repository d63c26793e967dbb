//! A command that runs in this process's place: with its stdin, stdout and stderr, and its exit status. Ctrl-C reaches it
//! by itself, because it has the same console; this process waits for what it makes of it.

use std::io;
use std::process::{Child, Command, ExitStatus};

use tokio::task::JoinHandle;

use super::not_started::NotStarted;
use super::signals::Signals;
use super::{Failure, Outcome};

/// A command that has been started.
pub(super) struct Running {
    program: String,
    signals: Signals,
    ended: JoinHandle<io::Result<ExitStatus>>,
}

impl Running {
    /// Starts a command. What it was given is open in it alone then.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(mut command: Command) -> Result<Self, NotStarted> {
        let program = command.get_program().to_string_lossy().into_owned();
        let listening = Signals::new().map_err(|failure| io::Error::other(failure.message));
        match listening.and_then(|signals| Ok((signals, command.spawn()?))) {
            Ok((signals, child)) => {
                Ok(Self { program, signals, ended: tokio::task::spawn_blocking(move || wait(child)) })
            }
            Err(cause) => Err(NotStarted { program, cause }),
        }
    }

    /// Waits for its end. The exit status is the command's. Cancel safe until it is ready.
    pub(super) async fn ended(&mut self) -> Outcome {
        loop {
            tokio::select! {
                ended = &mut self.ended => {
                    let status = ended.map_err(Failure::run_time)?;
                    let failed = |e| Failure::run_time(format!("waiting for {} failed: {e}", self.program));
                    return status.map(code).map_err(failed);
                }
                // The command has it as well.
                _ = self.signals.next() => {}
            }
        }
    }
}

fn wait(mut child: Child) -> io::Result<ExitStatus> {
    child.wait()
}

/// All 32 bits: 0xc0000005 is a crash.
fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_default()
}
