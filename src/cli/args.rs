//! What can be typed.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use super::exec::{self, Descriptor, Name};
use super::options::{BridgeArgs, TakeArgs};
use super::own_place::{CONFIG_HELP, DIR_HELP};
use crate::capture::{HEADER, MOST_CAPTURED};
use crate::config::parse_size;
use crate::selector::Selector;

use super::system::SystemCommand;
use super::words;

/// All of it.
#[derive(Debug, Parser)]
#[command(name = "usbpipe", version, about = words::ABOUT, long_about = None, max_term_width = 100)]
#[command(after_help = format!("{TRY}\n\n{STATUS}"), after_long_help = format!("{TRY}\n\n{}\n\n{STATUS}", words::FILES))]
pub(super) struct Args {
    #[arg(long, global = true, value_name = "DIR", help = DIR_HELP, display_order = LAST)]
    pub(super) dir: Option<PathBuf>,

    #[arg(short, long, global = true, value_name = "FILE", help = CONFIG_HELP, display_order = LAST)]
    pub(super) config: Option<PathBuf>,

    /// Say more on stderr; twice for still more. RUST_LOG works too
    #[arg(short, long, global = true, action = clap::ArgAction::Count, display_order = LAST)]
    pub(super) verbose: u8,

    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show devices, their endpoints, and where they are bridged
    List(ListArgs),
    /// Run the daemon in the foreground, as the configuration says
    Run,
    /// Run the daemon for these devices alone, without a configuration
    Bridge {
        /// Devices to bridge, with all that they have
        #[arg(required = true, value_name = "SELECTOR", help = words::SELECTORS)]
        selectors: Vec<Selector>,
        #[command(flatten)]
        options: BridgeArgs,
    },
    /// Make one request of a device's control pipe
    #[command(after_help = CONTROL_HELP)]
    Control {
        #[arg(help = DEVICE)]
        device: String,
        #[command(flatten)]
        options: ControlArgs,
        /// in, out, setup, descriptor, clear-halt, alt, reset or status, with its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        request: Vec<String>,
    },
    /// Make one request of a serial line
    #[command(after_help = SERIAL_HELP)]
    Serial {
        #[arg(help = DEVICE)]
        device: String,
        #[command(flatten)]
        options: TakeArgs,
        /// baud, mode, flow, dtr, rts, break, reset, touch, lines, release or reclaim, with its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        request: Vec<String>,
    },
    #[command(about = words::EXEC, after_help = words::EXEC_HELP)]
    Exec(ExecArgs),
    /// Let go of a device, for a command or until it is reclaimed; programs that have its outlets open wait
    #[command(after_help = words::RELEASE_HELP)]
    Release {
        /// Name in the daemon
        device: String,
        /// Command to run meanwhile; {port} in its arguments is the device's serial port
        #[arg(last = true, value_name = "CMD")]
        command: Vec<String>,
    },
    /// Take a released device back
    Reclaim {
        /// Name in the daemon
        device: String,
    },
    /// Show state and counters of every pipe
    Status {
        /// As one JSON document
        #[arg(long)]
        json: bool,
        /// What the daemon itself does: its tasks, and what each waits for
        #[arg(long)]
        tasks: bool,
    },
    /// Record what crosses between a device's pipes and the device, for Wireshark
    #[command(after_help = CAPTURE_HELP)]
    Capture(CaptureArgs),
    /// Show every pipe live: rates, programs, losses, errors
    Top,
    /// Draw the numbers that a serial line says as curves
    #[command(after_help = PLOT_HELP)]
    Plot {
        /// Name in the daemon
        device: String,
    },
    /// Write what a serial line says to a file, each line with its time
    #[command(after_help = format!("{LOG_HELP} {}", words::END_OF_LOG))]
    Log(LogArgs),
    /// Show attach, detach, loss, stall and error as they happen, one JSON object a line
    Events,
    /// Run simulated devices and the daemon in one process: no hardware, no root
    Demo,
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print shell completions
    Completions {
        /// For which shell
        shell: Shell,
    },
    /// Print a manual page
    Man {
        /// usbpipe for the program, usbpipe.toml for the keys of the configuration
        #[arg(default_value = "usbpipe", value_parser = [PROGRAM_PAGE, CONFIG_PAGE], conflicts_with = "out")]
        page: String,
        /// Write the pages of all commands to this directory instead
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    #[command(flatten)]
    System(SystemCommand),
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check the configuration without running anything
    Check,
}

/// How the device of one request is opened.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct ControlArgs {
    /// Take the interface that the request addresses from its kernel driver, which gets it back at the end
    #[arg(long)]
    pub(super) detach: bool,
    /// Interface to claim for the request [default: the one that the request addresses]
    #[arg(long, value_name = "N")]
    pub(super) interface: Option<u8>,
    /// Alternate setting to select before the request
    #[arg(long, value_name = "N")]
    pub(super) alt: Option<u8>,
}

#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// As one JSON document
    #[arg(long)]
    pub(super) json: bool,
    /// Show what this USB/IP server exports, too
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(super) remote: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct ExecArgs {
    #[arg(help = DEVICE)]
    pub(super) device: String,
    /// Pipe that is the command's stdin: ep_81, 0x81 or 81; serial for what a serial line receives
    #[arg(long = "in", value_name = "EP", value_parser = exec::input)]
    pub(super) input: Option<Name>,
    /// Pipe that is its stdout: ep_02, 0x02 or 2; serial for what is sent over a serial line
    #[arg(long = "out", value_name = "EP", value_parser = exec::output)]
    pub(super) output: Option<Name>,
    /// The serial line as stdin and stdout
    #[arg(long, conflicts_with_all = ["input", "output"])]
    pub(super) serial: bool,
    /// Pipe that is descriptor N: EP as above, and :pipe, :socket or :packet for its kind; can be given several times
    #[arg(long, value_name = "N=EP[:KIND]", hide = !words::HAS_NUMBERS)]
    pub(super) fd: Vec<Descriptor>,
    #[command(flatten)]
    pub(super) options: BridgeArgs,
    #[arg(last = true, required = true, value_name = "CMD", help = words::EXEC_CMD)]
    pub(super) command: Vec<OsString>,
}

#[derive(Debug, clap::Args)]
pub(super) struct CaptureArgs {
    #[arg(help = DEVICE)]
    pub(super) device: String,
    #[command(flatten)]
    pub(super) options: BridgeArgs,
    /// Write here; - is stdout, which is the default where that is no terminal
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Keep FILE at most this long, such as 10M: the oldest records go
    #[arg(long, value_name = "SIZE", value_parser = ring_size)]
    pub(super) ring: Option<u64>,
    /// Cut records after this many bytes, of which 64 are header
    #[arg(short, long, value_name = "BYTES", default_value_t = MOST_CAPTURED,
          value_parser = clap::value_parser!(u32).range(HEADER as i64..=i64::from(MOST_CAPTURED)))]
    pub(super) snaplen: u32,
}

#[derive(Debug, clap::Args)]
pub(super) struct LogArgs {
    /// Name in the daemon
    pub(super) device: String,
    /// Write here; - is stdout [default: DEVICE.log]
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Put FILE aside, as FILE.1, before it grows over this size
    #[arg(long, value_name = "SIZE", default_value = "10M", value_parser = log_size)]
    pub(super) rotate: u64,
    /// How many files put aside are kept
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(..=10_000))]
    pub(super) keep: u32,
}

/// A size that holds the longest line.
fn log_size(text: &str) -> Result<u64, String> {
    size(text, SMALLEST_LOG..=LARGEST_FILE).ok_or_else(|| "must be a size from 64K to 1024G".to_owned())
}

fn size(text: &str, range: RangeInclusive<u64>) -> Option<u64> {
    u64::try_from(parse_size(text)?).ok().filter(|size| range.contains(size))
}

/// A size that holds a few records.
fn ring_size(text: &str) -> Result<u64, String> {
    size(text, SMALLEST_RING..=LARGEST_FILE).ok_or_else(|| "must be a size from 16K to 1024G".to_owned())
}

/// The manual pages that are printed by name.
pub(super) const PROGRAM_PAGE: &str = "usbpipe";
pub(super) const CONFIG_PAGE: &str = "usbpipe.toml";

/// What `DEVICE` may be. The options beside it are for a selector that no daemon has.
const DEVICE: &str = "Name in the daemon, or a selector: 2341:0043, 2341:0043:SERIAL, serial:SERIAL, product:NAME, 1-1.4 or \
                      usbip://HOST/BUSID, or a serial port";

/// Where the options of all commands stand: behind those of the command.
const LAST: usize = 900;

const TRY: &str = "Try it without hardware: usbpipe demo";
const STATUS: &str =
    "Exit status: 0 done, 1 failed at run time, 2 wrong usage or configuration; of exec and release the command's.";

const CONTROL_HELP: &str = "\
Requests (numbers decimal, or hex with 0x; the answer is `ok [HEX]` or `error NAME TEXT`):
  in  <bmRequestType> <bRequest> <wValue> <wIndex> <wLength>
  out <bmRequestType> <bRequest> <wValue> <wIndex> [<hex data>]
  setup <8 bytes of hex> [<hex data>]
  descriptor device | config [n] | string <n>
  clear-halt <endpoint>      alt <interface> <setting>      reset      status";

const SERIAL_HELP: &str = "\
Requests:
  baud N      mode 8N1      flow none|rtscts|xonxoff      lines      break MS
  dtr on|off|pulse MS      rts on|off|pulse MS
  reset [arduino|wiring|esp]      touch      release      reclaim";

const CAPTURE_HELP: &str = "\
Examples:
  usbpipe capture zero -o zero.pcapng
  usbpipe capture zero -o - | wireshark -k -i -

The file is pcapng with link type 220, as from the kernel's usbmon: control, bulk, interrupt and isochronous \
transfers, submitted and completed. It needs no root and never slows the bridge: what cannot be written fast enough \
is left out and counted, on stderr and in the file. A capture lasts over unplug and replug; Ctrl-C ends it. With a \
selector and without a daemon the device is bridged in --dir for as long as it is captured.";

/// Room for the beginning of a file and a few records.
const SMALLEST_RING: u64 = 16 << 10;
const SMALLEST_LOG: u64 = 64 << 10;
const LARGEST_FILE: u64 = 1 << 40;

const PLOT_HELP: &str = "\
Lines as the Arduino IDE's plotter reads them: 1,2 or temp:21.5,hum:40 with commas, blanks or tabs between; a line \
of names such as temp,hum names the numbers of those that follow. Other lines are passed over. Programs that read the \
line too lose nothing by it. q or Ctrl-C ends it.";

const LOG_HELP: &str = "\
Times are UTC, of the first byte of each line. A line that is longer than 4096 bytes, or whose end does not come \
within a second, ends with \\ and goes on in the next one; a \\ of the device is written as \\\\, and bytes that are no \
text as \\x1b. Lines between -- and -- are no words of the device: they tell of unplug, replug, reset and loss. Programs \
that read the line too lose nothing by it.";
