//! A program as a process of Unix: with pipes as its stdin and stdout, in a process group of its own, until all of that group
//! has ended. When it shall run is not its business.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::said::Log;
use super::{Ends, orphan};
use crate::config::Program;
use crate::session::pass::{keep_descriptors, pipe};

/// A program that runs. It is killed when this is dropped.
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
        keep_descriptors(|_| false);
        let mut command = Command::new(path(program));
        command.arg0(&program.words[0]).args(&program.words[1..]).current_dir(&program.folder);
        command.envs(environment.iter().copied());
        for variable in OF_THE_DAEMON {
            command.env_remove(variable);
        }
        command.stdin(Stdio::from(theirs_in)).stdout(Stdio::from(theirs_out)).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        orphan::end_with_this_process(&mut command);
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

    /// After it was told by the end of its stdin: gives it a moment, then SIGTERM, then SIGKILL. Says how it ended.
    pub(super) async fn end(&mut self) -> String {
        if let Ok(how) = timeout(AFTER_EOF, self.ended()).await {
            return how;
        }
        self.signal(Signal::SIGTERM);
        // One that was stopped learns of it only then.
        self.signal(Signal::SIGCONT);
        if let Ok(how) = timeout(AFTER_TERM, self.ended()).await {
            return how;
        }
        self.signal(Signal::SIGKILL);
        format!("was killed, because it had not ended {} s after SIGTERM", AFTER_TERM.as_secs())
    }

    /// Waits until nothing of it is left; programs that it has left behind are killed.
    pub(super) async fn bury(mut self) {
        // The number is still this group's: the kernel gives it to no other process while one of the group is there, and
        // goes through all others first where none is.
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait().await;
        if let Some(stderr) = self.stderr.take() {
            stderr.finish().await;
        }
    }

    fn signal(&self, signal: Signal) {
        if let Ok(group @ 1..) = i32::try_from(self.pid) {
            // Where nobody is left, nothing is to be done.
            let _ = killpg(Pid::from_raw(group), signal);
        }
    }
}

impl Drop for Process {
    /// Where the daemon ends at once there is no time for anything else.
    fn drop(&mut self) {
        if self.child.id().is_some() {
            self.signal(Signal::SIGKILL);
        }
    }
}

/// Where the program is: a name alone is looked for as a shell would.
fn path(program: &Program) -> PathBuf {
    let word = &program.words[0];
    if word.contains('/') { program.folder.join(word) } else { PathBuf::from(word) }
}

fn not_started(program: &Program, cause: &io::Error) -> String {
    let (word, path) = (&program.words[0], path(program).display().to_string());
    let advice = match cause.kind() {
        io::ErrorKind::NotFound if !program.folder.is_dir() => {
            format!("the folder of the configuration, {}, is not there", program.folder.display())
        }
        io::ErrorKind::NotFound if word.contains('/') => {
            format!("{path} is not there, or what its first line names is not; put it there, or correct `run`")
        }
        io::ErrorKind::NotFound => "no folder of the daemon's PATH has it; write its whole path in `run`".to_owned(),
        io::ErrorKind::PermissionDenied => format!("let the daemon's user run it: chmod +x {path}"),
        _ => "correct `run`".to_owned(),
    };
    format!("{word} cannot be started: {cause}; {advice}")
}

fn in_words(ended: io::Result<ExitStatus>) -> String {
    match ended.map(|status| (status.code(), status.signal())) {
        Ok((Some(code), _)) => format!("ended with status {code}"),
        Ok((None, signal)) => {
            let signal = signal.and_then(|n| Signal::try_from(n).ok());
            format!("was ended by {}", signal.map_or("a signal", Signal::as_str))
        }
        Err(e) => format!("cannot be waited for: {e}"),
    }
}

/// What a service manager tells the daemon and nobody else.
const OF_THE_DAEMON: [&str; 4] = ["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];
/// How long a program may take to end by itself when its stdin has ended.
const AFTER_EOF: Duration = Duration::from_millis(500);
const AFTER_TERM: Duration = Duration::from_secs(2);
