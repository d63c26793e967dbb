//! The command line: what was typed, what it means, and what a person reads when it fails.
//!
//! Each command is a file of its own. Data goes to stdout, everything else to stderr.

mod alone;
mod amounts;
mod appearing;
mod args;
mod ask;
mod capture;
mod check;
#[cfg(unix)]
#[path = "child_unix.rs"]
mod child;
#[cfg(windows)]
#[path = "child_windows.rs"]
mod child;
mod demo;
mod exec;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod lifetime;
mod list;
mod log;
mod logging;
mod man;
#[cfg(unix)]
#[path = "manager_unix.rs"]
mod manager;
#[cfg(windows)]
#[path = "manager_windows.rs"]
mod manager;
mod not_started;
mod options;
mod own_devices;
#[cfg(unix)]
#[path = "own_place_unix.rs"]
mod own_place;
#[cfg(windows)]
#[path = "own_place_windows.rs"]
mod own_place;
mod own_ports;
mod plot;
#[cfg(unix)]
#[path = "reader_unix.rs"]
mod reader;
#[cfg(windows)]
#[path = "reader_windows.rs"]
mod reader;
mod release;
mod run;
mod screen;
mod serial_bytes;
#[cfg(windows)]
mod service_windows;
#[cfg(unix)]
#[path = "signals_unix.rs"]
mod signals;
#[cfg(windows)]
#[path = "signals_windows.rs"]
mod signals;
mod status;
#[cfg(unix)]
#[path = "system_unix.rs"]
mod system;
#[cfg(windows)]
#[path = "system_windows.rs"]
mod system;
mod target;
mod top;
#[cfg(unix)]
mod udev_linux;
#[cfg(unix)]
#[path = "words_unix.rs"]
mod words;
#[cfg(windows)]
#[path = "words_windows.rs"]
mod words;

use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser};

use crate::daemon::default_run_dir;
use crate::log_writer;
use crate::printable;
use crate::usb::{nusb, take_turns};
use args::{Args, Command, ConfigCommand};

/// Runs the program and gives its exit status: 0 done, 1 failed at run time, 2 wrong usage or configuration.
pub fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    if let Some(code) = crate::session::guard(std::env::args_os()) {
        return code;
    }
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(e) => {
            let code = if e.use_stderr() { USAGE } else { 0 };
            let _ = e.print();
            return ExitCode::from(code);
        }
    };
    logging::catch_panics();
    nusb::watch_thread();
    let _all_written = logging::AllWritten;
    logging::start(args.verbose, default_level(&args.command), log_file(&args.command).as_deref());
    match dispatch(args) {
        Ok(code) => exit(code),
        Err(failure) => {
            log_writer::print(format_args!("usbpipe: {}", printable::lines(&failure.message)));
            ExitCode::from(failure.code)
        }
    }
}

/// Also with the statuses of Windows' programs, which have more bits than an [`ExitCode`] takes.
fn exit(status: i32) -> ExitCode {
    match u8::try_from(status) {
        Ok(status) => ExitCode::from(status),
        Err(_) => {
            log_writer::flush();
            std::process::exit(status)
        }
    }
}

/// What ends a command without success.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// Failed at run time.
    fn run_time(message: impl Display) -> Self {
        Self { code: FAILED, message: message.to_string() }
    }

    /// Wrong usage or configuration.
    fn usage(message: impl Display) -> Self {
        Self { code: USAGE, message: message.to_string() }
    }
}

/// The exit status.
type Outcome = Result<i32, Failure>;

fn dispatch(args: Args) -> Outcome {
    let Args { dir, config, command, .. } = args;
    match command {
        Command::List(list) => with_runtime(list::list(dir, list)),
        Command::Run => with_runtime(run::run(dir, config)),
        Command::Bridge { selectors, options } => with_runtime(run::bridge(dir, selectors, options)),
        Command::Control { device, options, request } => {
            with_runtime(ask::control(dir, device, options, request.join(" ")))
        }
        Command::Serial { device, options, request } => {
            with_runtime(ask::serial(dir, device, options, request.join(" ")))
        }
        Command::Exec(args) => with_runtime(exec::exec(dir, args)),
        Command::Release { device, command } => with_runtime(release::release(dir, device, command)),
        Command::Reclaim { device } => with_runtime(release::reclaim(dir, device)),
        Command::Status { json, tasks: false } => with_runtime(status::status(dir, json)),
        Command::Status { json, tasks: true } => with_runtime(status::tasks(dir, json)),
        Command::Capture(args) => with_runtime(capture::capture(dir, args)),
        Command::Log(args) => with_runtime(log::log(dir, args)),
        Command::Top => with_runtime(top::top(dir)),
        Command::Plot { device } => with_runtime(plot::plot(dir, device)),
        Command::Events => with_runtime(status::events(dir)),
        Command::Demo => with_runtime(demo::demo(dir)),
        Command::Config(ConfigCommand::Check) => check::check(config),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "usbpipe", &mut script);
            status::print_line(String::from_utf8_lossy(&script).trim_end())?;
            Ok(0)
        }
        Command::Man { page, out } => man::man(&page, out),
        Command::System(command) => command.run(dir, config),
    }
}

/// One thread is enough: everything waits for files and sockets.
fn with_runtime(work: impl Future<Output = Outcome>) -> Outcome {
    let runtime = take_turns(&mut tokio::runtime::Builder::new_current_thread())
        .enable_all()
        .thread_keep_alive(HELPER_KEEP_ALIVE)
        .build()
        .map_err(|e| Failure::run_time(format!("cannot start: {e}")))?;
    let outcome = runtime.block_on(work);
    // Threads that look through /proc may still be busy; nobody waits for them.
    runtime.shutdown_background();
    outcome
}

fn run_dir(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    match given {
        Some(dir) => Ok(dir),
        None => default_run_dir().map_err(Failure::usage),
    }
}

fn default_level(command: &Command) -> &'static str {
    match command {
        Command::Run | Command::Bridge { .. } => "info",
        Command::System(command) => command.log_level(),
        _ => "warn",
    }
}

fn log_file(command: &Command) -> Option<PathBuf> {
    match command {
        Command::System(command) => command.log_file(),
        _ => None,
    }
}

const FAILED: u8 = 1;
const USAGE: u8 = 2;
/// Helper threads go when they had nothing to do for so long, so that an idle daemon is one thread.
const HELPER_KEEP_ALIVE: Duration = Duration::from_secs(1);
