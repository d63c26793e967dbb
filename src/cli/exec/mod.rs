//! `exec`: a command with a device's pipes as its stdin, stdout and further descriptors, and its exit status. It moves no
//! byte: the daemon that has the device does, or one of its own where none has it.
//!
//! ```text
//!   daemon ──► a descriptor for each pipe (admin.sock) ──► command ──► its exit status
//!     └── of its own: ends when what the command wrote has reached the device
//! ```

#[cfg(unix)]
#[path = "inherit_unix.rs"]
mod inherit;
#[cfg(windows)]
#[path = "inherit_windows.rs"]
mod inherit;
mod plan;
mod wanted;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(super) use wanted::{Descriptor, Name, input, output};

use super::alone::Alone;
use super::args::ExecArgs;
use super::child::Running;
use super::options::BridgeArgs;
use super::target::{Target, target};
use super::{Failure, Outcome, status};
use crate::daemon::Client;
use crate::log_writer;
use crate::selector::Selector;
use crate::session::Pass;
use plan::Plan;

/// `usbpipe exec DEVICE … -- CMD…`.
pub(super) async fn exec(dir: Option<PathBuf>, args: ExecArgs) -> Outcome {
    inherit::keep_others_from(&args.command);
    let (device, options) = (args.device.clone(), args.options);
    let plan = Plan::new(args).map_err(Failure::usage)?;
    match target(dir.as_deref(), &device, &options).await? {
        Target::Daemon { dir, name } => {
            let client = Client::connect(&dir).await.map_err(Failure::run_time)?;
            with_daemon(client, &dir, &name, &plan).await
        }
        Target::Alone(selector) => alone(&selector, &options, &plan).await,
    }
}

async fn alone(selector: &Selector, options: &BridgeArgs, plan: &Plan) -> Outcome {
    let names = || plan.names().chain(plan.standing());
    let is_line = plan.wants_port() || names().any(Name::is_serial);
    let has_endpoints = names().any(|name| !name.is_serial());
    if (options.framing.is_some() || options.alt.is_some()) && !has_endpoints {
        let problem = "--framing and --alt are for endpoints, and the command is given a serial line alone";
        return Err(Failure::usage(problem));
    }
    let alone = Alone::start(selector, options, is_line && !has_endpoints).await?;
    // A serial line's both directions have the same problem.
    let outlet = |name: Name| if name == Name::Serial { Name::Receive } else { name };
    let problem = names().find_map(|name| alone.problem(&outlet(name).to_string()));
    let outcome = match Client::connect(alone.dir()).await {
        _ if problem.is_some() => Err(Failure::run_time(problem.unwrap_or_default())),
        Ok(client) => with_daemon(client, alone.dir(), alone.device(), plan).await,
        Err(error) => Err(Failure::run_time(error)),
    };
    alone.flushed().await;
    alone.end().await;
    outcome
}

/// Runs the command with what the daemon gives for it.
async fn with_daemon(mut client: Client, dir: &Path, device: &str, plan: &Plan) -> Outcome {
    let port = if plan.wants_port() { Some(port_of(dir, device).await?) } else { None };
    let mut command = Command::new(&plan.program);
    command.args(plan.arguments(port.as_deref(), &dir.join(device))).env(DIR, dir).env(DEVICE, device);
    let program = Path::new(&plan.program).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut given = Vec::new();
    for d in &plan.descriptors {
        let fd = client.open(device, &d.name.to_string(), d.pass, &program).await.map_err(Failure::run_time)?;
        given.push((d.number, fd));
    }
    if let Some(name) = plan.stdin {
        let fd = client.open(device, &name.to_string(), Pass::Pipe, &program).await.map_err(Failure::run_time)?;
        command.stdin(Stdio::from(fd));
    }
    if let Some(name) = plan.stdout {
        let fd = client.open(device, &name.to_string(), Pass::Pipe, &program).await.map_err(Failure::run_time)?;
        command.stdout(Stdio::from(fd));
    }
    inherit::give(&mut command, given)
        .map_err(|e| Failure::run_time(format!("a descriptor cannot have the number that was asked for: {e}")))?;
    run(command, client).await
}

/// The command's own copies of what it was given are the last ones when it is started.
async fn run(command: Command, mut client: Client) -> Outcome {
    let mut running = Running::start(command).map_err(|e| e.as_a_shell_says())?;
    tokio::select! {
        outcome = running.ended() => return outcome,
        // It says nothing by itself, and ends the connection when it ends.
        _ = client.next_line() => log_writer::print("usbpipe: the daemon has ended, and with it the pipes of the command"),
    }
    running.ended().await
}

/// The port that stands for the device's serial line.
async fn port_of(dir: &Path, device: &str) -> Result<PathBuf, Failure> {
    let all = status::ask(dir).await?;
    let pipes = all.into_iter().find(|d| d.name == device).map(|d| d.pipes);
    let Some(pipes) = pipes else { return Err(Failure::run_time(format!("this daemon has no device {device:?}"))) };
    if !pipes.iter().any(|pipe| pipe.outlet.starts_with("serial.")) {
        let there: Vec<&str> = pipes.iter().map(|pipe| pipe.outlet.as_str()).collect();
        let there = if there.is_empty() { "none but its control pipe".to_owned() } else { there.join(", ") };
        return Err(Failure::run_time(format!("{device} has no serial line for {{port}}; its pipes: {there}")));
    }
    let tty = pipes.into_iter().find_map(|pipe| pipe.tty);
    tty.map(PathBuf::from).ok_or_else(|| Failure::run_time(inherit::no_port(device)))
}

/// What tells the command, and commands of usbpipe that it runs, where it is.
const DIR: &str = "USBPIPE_DIR";
const DEVICE: &str = "USBPIPE_DEVICE";
