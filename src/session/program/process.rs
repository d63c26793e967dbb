//! A program as a process: with pipes as its stdin and stdout, and with all that it starts as its family, until all of that has
//! ended. When it shall run is not its business.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Child;
use tokio::time::timeout;

use super::Ends;
use super::family::{ASKED, Family, command, in_words, is_path, why_not};
use super::said::Log;
use crate::config::Program;
use crate::session::pass::pipe;

/// A program that runs. It is killed when this is dropped.
pub(super) struct Process {
    child: Child,
    family: Family,
    stderr: Option<Log>,
}

impl Process {
    /// Starts a program with this in its environment; what it says on stderr is logged under `name`.
    ///
    /// # Errors
    /// Why it cannot be started, and what to do, in words for people.
    pub(super) async fn start(
        program: &Program,
        name: &str,
        environment: &[(&str, &Path)],
    ) -> Result<(Self, Ends), String> {
        let (stdin, theirs_in) = pipe(true, false)?;
        let (stdout, theirs_out) = pipe(false, false)?;
        let not_started = |e| not_started(program, &e);
        let (mut command, founder) = command(&path(program), &program.words).map_err(not_started)?;
        command.current_dir(&program.folder).envs(environment.iter().copied());
        command.stdin(Stdio::from(theirs_in)).stdout(Stdio::from(theirs_out)).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(not_started)?;
        // It has the program's ends, which nobody else is to have.
        drop(command);
        let family = Family::of(&child, founder).await.map_err(not_started)?;
        let stderr = child.stderr.take().map(|stderr| Log::of(stderr, name));
        Ok((Self { child, family, stderr }, Ends { stdin, stdout }))
    }

    /// The process number.
    pub(super) fn pid(&self) -> u32 {
        self.family.pid()
    }

    /// Waits for its end and says how it ended. Cancel safe.
    pub(super) async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => in_words(status),
            Err(e) => format!("cannot be waited for: {e}"),
        }
    }

    /// After it was told by the end of its stdin: gives it a moment, asks it to end, and kills it. Says how it ended.
    pub(super) async fn end(&mut self) -> String {
        if let Ok(how) = timeout(AFTER_EOF, self.ended()).await {
            return how;
        }
        self.family.ask_to_end();
        if let Ok(how) = timeout(AFTER_ASKING, self.ended()).await {
            return how;
        }
        self.family.kill();
        format!("was killed, because it had not ended {} s after {ASKED}", AFTER_ASKING.as_secs())
    }

    /// Waits until nothing of it is left; programs that it has left behind are killed.
    pub(super) async fn bury(mut self) {
        self.family.kill();
        let _ = self.child.wait().await;
        if let Some(stderr) = self.stderr.take() {
            stderr.finish().await;
        }
    }
}

impl Drop for Process {
    /// Where the daemon ends at once there is no time for anything else.
    fn drop(&mut self) {
        if self.child.id().is_some() {
            self.family.kill();
        }
    }
}

/// Where the program is: a name alone is looked for as a shell would.
fn path(program: &Program) -> PathBuf {
    let word = &program.words[0];
    if is_path(word) { program.folder.join(word) } else { PathBuf::from(word) }
}

/// Why a program that is not where it is looked for cannot be started.
pub(super) fn missing(program: &Program) -> Option<String> {
    let why = program.find().err().filter(|_| program.folder.is_dir())?;
    Some(format!("{} cannot be started: {why}", program.words[0]))
}

fn not_started(program: &Program, cause: &io::Error) -> String {
    if let Some(why) = missing(program) {
        return why;
    }
    let (word, path) = (&program.words[0], path(program).display().to_string());
    let advice = match cause.kind() {
        io::ErrorKind::NotFound if !program.folder.is_dir() => {
            format!("the folder of the configuration, {}, is not there", program.folder.display())
        }
        kind => why_not(kind, &path).unwrap_or_else(|| "correct `run`".to_owned()),
    };
    format!("{word} cannot be started: {cause}; {advice}")
}

/// How long a program may take to end by itself when its stdin has ended.
const AFTER_EOF: Duration = Duration::from_millis(500);
const AFTER_ASKING: Duration = Duration::from_secs(2);
