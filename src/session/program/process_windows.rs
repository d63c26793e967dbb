//! A program as a process of Windows: with pipes as its stdin and stdout. When it shall run is not its business.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::Ends;
use super::said::Log;
use crate::config::Program;
use crate::session::pass::pipe;

/// A program that runs. It is ended when this is dropped.
pub(super) struct Process {
    child: Child,
    pid: u32,
    stderr: Option<Log>,
}

impl Process {
    /// Starts a program with this in its environment; what it says on stderr is logged under `name`.
    ///
    /// # Errors
    /// Why it cannot be started, and what to do, in words for people.
    pub(super) fn start(program: &Program, name: &str, environment: &[(&str, &Path)]) -> Result<(Self, Ends), String> {
        let (stdin, theirs_in) = pipe(true, false)?;
        let (stdout, theirs_out) = pipe(false, false)?;
        let mut command = Command::new(path(program));
        command.args(&program.words[1..]).current_dir(&program.folder).envs(environment.iter().copied());
        command.stdin(Stdio::from(theirs_in)).stdout(Stdio::from(theirs_out)).stderr(Stdio::piped());
        command.kill_on_drop(true);
        let mut child = command.spawn().map_err(|e| not_started(program, &e))?;
        let pid = child.id().unwrap_or_default();
        let stderr = child.stderr.take().map(|stderr| Log::of(stderr, name));
        Ok((Self { child, pid, stderr }, Ends { stdin, stdout }))
    }

    /// The process number.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for its end and says how it ended. Cancel safe.
    pub(super) async fn ended(&mut self) -> String {
        in_words(self.child.wait().await)
    }

    /// After it was told by the end of its stdin: gives it some time, and then ends it. Windows has nothing gentler for a
    /// program without a window. Says how it ended.
    pub(super) async fn end(&mut self) -> String {
        if let Ok(how) = timeout(AFTER_EOF, self.ended()).await {
            return how;
        }
        let _ = self.child.start_kill();
        format!("was ended, because it had not ended {} s after its stdin", AFTER_EOF.as_secs())
    }

    /// Waits until nothing of it is left.
    pub(super) async fn bury(mut self) {
        let _ = self.child.start_kill();
        let _ = self.child.wait().await;
        if let Some(stderr) = self.stderr.take() {
            stderr.finish().await;
        }
    }
}

/// Where the program is: a name alone is looked for as a command prompt would.
fn path(program: &Program) -> PathBuf {
    let word = &program.words[0];
    if word.contains(['/', '\\']) { program.folder.join(word) } else { PathBuf::from(word) }
}

fn not_started(program: &Program, cause: &io::Error) -> String {
    let word = &program.words[0];
    let advice = match cause.kind() {
        io::ErrorKind::NotFound => "no folder of the daemon's PATH has it; write its whole path in `run`",
        _ => "correct `run`",
    };
    format!("{word} cannot be started: {cause}; {advice}")
}

fn in_words(ended: io::Result<ExitStatus>) -> String {
    match ended {
        Ok(status) => format!("ended with status {}", status.code().unwrap_or_default()),
        Err(e) => format!("cannot be waited for: {e}"),
    }
}

/// How long a program may take to end by itself when its stdin has ended.
const AFTER_EOF: Duration = Duration::from_secs(2);
