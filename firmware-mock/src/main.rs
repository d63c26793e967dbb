//! The `firmware-mock` program.
//!
//! One job: turn the command line into a mock, serve it, and end it cleanly. It refuses to read configuration.

use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use firmware_mock::odd::Odd;
use firmware_mock::{Command, DeviceKind, Mock, os};
use tokio::net::TcpListener;
use tracing::level_filters::LevelFilter;

/// Simulated USB devices behind a USB/IP server.
#[derive(Debug, Parser)]
#[command(version, about, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Serve devices over USB/IP until SIGINT or SIGTERM
    #[command(after_help = DEVICES)]
    Serve(Serve),
}

#[derive(Debug, Args)]
struct Serve {
    /// Address to listen on; port 0 takes any free one
    #[arg(long, default_value = "127.0.0.1:3240", value_name = "ADDRESS:PORT")]
    listen: String,

    /// Unix socket, or named pipe on Windows, that takes fault commands, one a line
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,

    /// A fault command to start with, such as "delay zero 0x81 50"; may be repeated
    #[arg(long = "fault", value_name = "COMMAND")]
    faults: Vec<Command>,

    /// Log more: each import (-v), each connection (-vv)
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,

    /// uno leonardo zero knob tone echo regs, or all; odd:NAME or odd:all; again for a twin, `zero*25` for 25 of them
    #[arg(required = true, value_name = "DEVICE", value_parser = parse_devices)]
    devices: Vec<Devices>,
}

/// One DEVICE argument.
#[derive(Debug, Clone)]
struct Devices(Vec<DeviceKind>);

/// What went wrong: what was being done, why it failed, what to do about it.
struct Failure {
    what: String,
    cause: String,
    hint: &'static str,
    usage: bool,
}

fn main() -> ExitCode {
    let Cli { action: Action::Serve(serve) } = Cli::parse();
    let level = [LevelFilter::WARN, LevelFilter::INFO, LevelFilter::DEBUG][usize::from(serve.verbose.min(2))];
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_target(false).init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime
        .map_err(|error| Failure::new("starting the runtime", error, "check the limit of open files (ulimit -n)"))
        .and_then(|runtime| runtime.block_on(run(serve)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&format!("firmware-mock: {failure}"));
            ExitCode::from(if failure.usage { 2 } else { 1 })
        }
    }
}

async fn run(serve: Serve) -> Result<(), Failure> {
    let devices: Vec<DeviceKind> = serve.devices.into_iter().flat_map(|devices| devices.0).collect();
    let mock = Mock::new(&devices);
    for fault in &serve.faults {
        let what = format!("--fault \"{fault}\"");
        let usage = |cause| Failure { usage: true, ..Failure::new(&what, cause, "see firmware-mock serve --help") };
        mock.apply(fault).map_err(usage)?;
    }
    let shutdown = os::terminated().map_err(|error| Failure::new("waiting for signals", error, "try again"))?;
    let listener = listen(&serve.listen).await?;
    let address = listener.local_addr().map_err(|error| Failure::new("asking for the port", error, "try again"))?;
    // The guard removes the socket's file at the end.
    let (control, _guard) = match serve.control {
        Some(path) => bind_control(&path).map(|(listener, guard)| (Some(listener), Some(guard)))?,
        None => (None, None),
    };
    say(&format!("firmware-mock: listening on {address}"));
    for (name, busid, vendor, product) in mock.devices() {
        say(&format!("  {name} {busid} {vendor:04x}:{product:04x}"));
    }
    mock.serve(listener, control, shutdown)
        .await
        .map_err(|error| Failure::new("serving", error, "start the mock again"))
}

async fn listen(address: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::AddrInUse => "another mock or usbipd is there: stop it, or use --listen 127.0.0.1:0",
            std::io::ErrorKind::PermissionDenied => "ports below 1024 need privileges: use a higher one",
            _ => "give --listen as ADDRESS:PORT, such as 127.0.0.1:3240",
        };
        Failure::new(&format!("listening on {address}"), error, hint)
    })
}

fn bind_control(path: &std::path::Path) -> Result<(os::ControlListener, os::ControlPath), Failure> {
    os::bind_control(path).map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::AddrInUse => "another mock serves it, or it is not a socket: choose another path",
            std::io::ErrorKind::NotFound => "its directory does not exist: create it",
            std::io::ErrorKind::PermissionDenied => "choose a directory that you may write to",
            _ => "choose another path",
        };
        Failure::new(&format!("binding the control socket {}", path.display()), error, hint)
    })
}

fn parse_devices(text: &str) -> Result<Devices, String> {
    match text {
        "all" => return Ok(Devices(DeviceKind::ALL.to_vec())),
        "odd:all" => return Ok(Devices(Odd::all().map(DeviceKind::Odd).collect())),
        _ => {}
    }
    let (name, count) = text.split_once('*').unwrap_or((text, "1"));
    let kind = name.parse::<DeviceKind>().map_err(|error| format!("{error} all"))?;
    match count.parse() {
        Ok(count @ 1..=MAX_TWINS) => Ok(Devices(vec![kind; count])),
        _ => Err(format!("{count:?} is not a number of devices from 1 to {MAX_TWINS}")),
    }
}

impl Failure {
    fn new(what: &str, cause: impl fmt::Display, hint: &'static str) -> Self {
        Self { what: what.to_owned(), cause: cause.to_string(), hint, usage: false }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n  {}", self.what, self.cause, self.hint)
    }
}

/// A line for people; with stderr gone there is nobody to tell.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// A few hundred devices are plenty on one bus.
const MAX_TWINS: usize = 250;

const EXAMPLES: &str = "\
Examples:
  firmware-mock serve all
  firmware-mock serve --listen 127.0.0.1:0 --control /tmp/mock.sock uno zero
  echo 'unplug uno 500' | socat - UNIX-CONNECT:/tmp/mock.sock
  usbip attach -r 127.0.0.1 -b 1-3        (as root, with the module vhci-hcd)";

const DEVICES: &str = "\
Devices:
  uno       1-1  2341:0043  CDC ACM, answers PING, LED, SUM, STATUS; DTR resets it
  leonardo  1-2  2341:8036  as uno without the reset; the 1200-baud touch starts its bootloader
  zero      1-3  0525:a4a0  bulk source 0x81, sink 0x01, loopback 0x02 to 0x82
  knob      1-4  1209:0002  interrupt IN 0x81 every 10 ms, interrupt OUT 0x01
  tone      1-5  1209:0003  isochronous IN 0x83 and OUT 0x03, interface 1 setting 1
  echo      1-6  1209:0005  CDC ACM that sends back what it gets
  regs      1-7  1209:0004  registers behind vendor requests
  Twins are called zero-2, zero-3 and follow from 1-8 on, and so do odd devices: odd:NAME, or odd:all for all of odd.toml.

Faults (--fault and the control socket; each answered with ok or error):
  unplug DEVICE MS        stall DEVICE EP         delay DEVICE EP MS
  short DEVICE EP BYTES   babble DEVICE EP COUNT  cut DEVICE MS
  lie DEVICE length|seqnum|silence|garbage        delay link MS";
