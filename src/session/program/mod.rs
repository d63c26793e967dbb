//! The program that a serial line has for itself: `run = ["cmd", "arg"]`.
//!
//! ```text
//!            attach                        it ends, or cannot be started
//!   absent ──────────► running ──────────────────────────────────────────► pause, longer each time
//!     ▲                 │   ▲                                                │
//!     │                 │   └────────────────────────────────────────────────┤
//!     └──── detach, stop: end of file, a moment later SIGTERM, SIGKILL ──────┘
//! ```
//!
//! A board that is lent, or in its bootloader, is not detached: its program waits like any other. It moves no byte: that is
//! the pumps'.

#[cfg(unix)]
#[path = "family_unix.rs"]
mod family;
#[cfg(windows)]
#[path = "family_windows.rs"]
mod family;
#[cfg(target_os = "linux")]
#[path = "guard_linux.rs"]
mod guard;
mod process;
mod said;

#[cfg(target_os = "linux")]
pub use guard::guard;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;

use self::process::{Process, missing};
use super::backoff::Backoff;
use super::hub::Via;
use super::line::{Stop, stopped};
use super::shared::Shared;
use crate::config::Program;
use crate::outlet::{Connection, InEnd, OutEnd, Peer, Revocable, Revocation};

/// This process's ends of a program's stdin and stdout.
struct Ends {
    stdin: Connection,
    stdout: Connection,
}

/// Tells a line's program when it is to run.
#[derive(Debug, Default)]
pub(super) struct Presence(watch::Sender<Plug>);

/// Whether the line is there, and for which time that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Plug {
    number: u64,
    is_in: bool,
}

/// Whoever starts and ends a line's program.
pub(super) struct Attendant {
    program: Program,
    /// The serial line: `serial`.
    line: String,
    /// The run dir.
    dir: PathBuf,
    shared: Arc<Shared>,
    plug: watch::Receiver<Plug>,
    stop: Stop,
}

/// A program with its place at the line.
struct Seated {
    process: Process,
    /// Ends its stdin.
    stdin: Revocation,
}

/// Why a program is not to run any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    Detached,
    Stopped,
}

impl Presence {
    /// The line is there. Nothing new after a loan.
    pub(super) fn came(&self) {
        self.0.send_if_modified(|plug| {
            let is_news = !std::mem::replace(&mut plug.is_in, true);
            plug.number += u64::from(is_news);
            is_news
        });
    }

    /// It was unplugged.
    pub(super) fn went(&self) {
        self.0.send_if_modified(|plug| std::mem::take(&mut plug.is_in));
    }

    /// Who starts this program while the line of `shared` is there.
    pub(super) fn attendant(
        &self,
        program: Program,
        line: String,
        dir: &Path,
        shared: &Arc<Shared>,
        stop: &Stop,
    ) -> Attendant {
        let (dir, shared, stop) = (dir.to_owned(), shared.clone(), stop.clone());
        Attendant { program, line, dir, shared, plug: self.0.subscribe(), stop }
    }
}

impl Attendant {
    /// Lives until the daemon stops; nothing of the program is left then.
    pub(super) async fn run(mut self) {
        // It may be known before the board is there.
        if let Some(why) = missing(&self.program) {
            self.fails(why);
        }
        while let Some(plug) = self.plugged().await {
            if self.attend(plug).await == Over::Stopped {
                return;
            }
        }
    }

    /// The next plug-in; `None` when the daemon stops.
    async fn plugged(&mut self) -> Option<Plug> {
        tokio::select! {
            biased;
            () = stopped(&mut self.stop) => None,
            plug = self.plug.wait_for(|plug| plug.is_in) => plug.ok().map(|plug| *plug),
        }
    }

    /// Resolves when this plug-in is over.
    async fn over(&mut self, now: Plug) -> Over {
        tokio::select! {
            biased;
            () = stopped(&mut self.stop) => Over::Stopped,
            _ = self.plug.wait_for(|plug| *plug != now) => Over::Detached,
        }
    }

    /// Has the program run until the plug-in is over.
    async fn attend(&mut self, plug: Plug) -> Over {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let started = Instant::now();
            let how = match self.start().await {
                Ok(seated) => {
                    self.shared.set_program_problem(None);
                    match self.watch(seated, plug).await {
                        Ok(how) => Ok(how),
                        Err(over) => return over,
                    }
                }
                Err(why) => Err(why),
            };
            if started.elapsed() >= SETTLED {
                backoff.reset();
            }
            let pause = backoff.step();
            match how {
                Ok(how) => self.tell("end", format!("{how}; it is started again in {} s", pause.as_secs_f32())),
                Err(why) => self.fails(why),
            }
            if let Ok(over) = timeout(pause, self.over(plug)).await {
                return over;
            }
        }
    }

    /// It cannot be started, which is told once.
    fn fails(&self, why: String) {
        if self.shared.set_program_problem(Some(why.clone())) {
            self.tell("error", format!("{why}; it is tried again"));
        }
    }

    /// Starts the program and seats it at both directions of the line.
    async fn start(&self) -> Result<Seated, String> {
        let name = format!("{}: {}", self.shared.name, self.program.words[0]);
        let device = Path::new(&self.shared.name);
        let (process, ends) = Process::start(&self.program, &name, &[(DIR, &self.dir), (DEVICE, device)]).await?;
        let pid = process.pid();
        let seated = self.seat(process, ends)?;
        self.tell("start", format!("{} runs as process {pid}", self.program.words.join(" ")));
        Ok(seated)
    }

    fn seat(&self, process: Process, Ends { stdin, stdout }: Ends) -> Result<Seated, String> {
        let unfit = |e| format!("its descriptor cannot be used as an outlet: {e}");
        let hub = |line: &str| self.shared.hub(line).ok_or_else(|| self.shared.no_outlet(line));
        let peer = Peer::process(process.pid());
        let (sink, stdin) = Revocable::new(InEnd::new(stdin, false).map_err(unfit)?);
        let source = OutEnd::new(stdout).map_err(unfit)?;
        let reader = hub(&format!("{}.rx", self.line))?.offer_reader(Box::new(sink), Via::Descriptor, peer.clone())?;
        let writer = hub(&format!("{}.tx", self.line))?.offer_writer(Box::new(source), Via::Descriptor, peer)?;
        reader.take();
        writer.take();
        Ok(Seated { process, stdin })
    }

    /// Waits for the end of the program, by itself or because the plug-in is over.
    ///
    /// # Errors
    /// Why it was ended.
    async fn watch(&mut self, seated: Seated, plug: Plug) -> Result<String, Over> {
        let Seated { mut process, stdin } = seated;
        let name = format!("{} (process {})", self.program.words[0], process.pid());
        let over = tokio::select! {
            biased;
            over = self.over(plug) => over,
            how = process.ended() => {
                process.bury().await;
                return Ok(format!("{name} {how}"));
            }
        };
        stdin.revoke();
        let how = process.end().await;
        process.bury().await;
        let why = if over == Over::Detached { "the device has gone" } else { "the daemon lets go of the device" };
        self.tell("end", format!("{name} {how}: {why}"));
        Err(over)
    }

    fn tell(&self, event: &str, text: String) {
        self.shared.events.tell(event, &self.shared.name, Some(&self.line), text);
    }
}

/// What tells the program, and commands of usbpipe that it runs, where it is.
const DIR: &str = "USBPIPE_DIR";
const DEVICE: &str = "USBPIPE_DEVICE";
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A program that ran for so long is not one that cannot run.
const SETTLED: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loan_is_no_new_plug_in_and_a_replug_is_one_even_if_nobody_looked() {
        let presence = Presence::default();
        let mut plug = presence.0.subscribe();
        presence.came();
        let first = *plug.borrow_and_update();
        presence.came();
        assert!(!plug.has_changed().unwrap(), "it was lent and is back");
        presence.went();
        presence.went();
        presence.came();
        assert!(plug.borrow().is_in && *plug.borrow() != first);
    }
}
