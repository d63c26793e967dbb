//! What the configuration says of a serial function, with the defaults filled in. Reads no text.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{Access, Idle, NetworkConfig, OnOpen, OutletKind, Patience, SerialMode, kinds};

/// `[device.serial]`. What is `None` is left as the driver or the device has it.
#[derive(Debug, Clone, PartialEq)]
pub struct SerialConfig {
    /// Who drives the line.
    pub driver: Driver,
    /// Whether other programs are kept from opening the port of the kernel; true. Otherwise whoever opens it gets it.
    pub lock: bool,
    /// Speed in bits a second, never 0.
    pub baud: Option<u32>,
    /// Data bits, parity and stop bits.
    pub mode: Option<SerialMode>,
    /// Flow control of the line: `"none"`, `"rtscts"` or `"xonxoff"`; `"none"`. It takes a port of the operating system.
    pub flow: Flow,
    /// Data Terminal Ready after opening.
    pub dtr: Option<bool>,
    /// Request To Send after opening; not beside `flow = "rtscts"`.
    pub rts: Option<bool>,
    /// When the board is reset.
    pub reset: ResetPolicy,
    /// How the board is reset: one of [`PROFILES`]; `arduino`.
    pub profile: String,
    /// How long bytes to the board wait after an attach or a reset; 0.
    pub boot_wait: Duration,
    /// What programs open: by default FIFOs and a terminal; no kind twice, empty only where `run` is not.
    pub outlets: Vec<OutletKind>,
    /// What to start at each attach, with the line as stdin and stdout.
    pub run: Option<Program>,
    /// How long bytes that arrive while no program reads are kept for the next one: a time from 0 to 1 day, or
    /// `"forever"`; 2 s, and at most 64 KiB.
    pub unread: Unread,
    /// What becomes of bytes that the last reader left; `"discard"` is as `unread = 0`.
    pub on_open: OnOpen,
    /// What happens while nobody reads. A serial line is read always, so that `"drain"` is as `unread = 0`.
    pub idle: Idle,
    /// How long written bytes may take to reach the device at the end; 1 s.
    pub flush: Duration,
    /// How long a slow reader may hold up the others.
    pub patience: Patience,
    /// Where the line is reached over the network; nowhere.
    pub network: NetworkConfig,
    /// bInterfaceNumber of the CDC control interface; `None` takes the first.
    pub interface: Option<u8>,
    /// Owner of its outlets. In the file `mode` is the line's here, so permission bits are the device's.
    pub access: Access,
}

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The program, then its arguments; never empty.
    pub words: Vec<String>,
    /// The folder of the configuration, absolute: where it runs, and where a path such as `./logger` begins.
    pub folder: PathBuf,
}

impl Program {
    /// Where it is.
    ///
    /// # Errors
    /// Where it was looked for, and what to do, in words for people.
    pub fn find(&self) -> Result<PathBuf, String> {
        super::program::find(&self.words[0], &self.folder)
    }
}

/// Who drives the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// The operating system's serial port.
    #[default]
    Kernel,
    /// The daemon itself, over USB; the default for devices of a USB/IP server, which have no local port.
    User,
}

/// Who holds up whom on a serial line, so that nothing is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flow {
    /// Nobody.
    #[default]
    None,
    /// The lines RTS and CTS.
    RtsCts,
    /// The bytes XON and XOFF, which then cannot be sent or received otherwise.
    XonXoff,
}

/// As it is written in the configuration and on `serial.ctl`.
impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::RtsCts => "rtscts",
            Self::XonXoff => "xonxoff",
        })
    }
}

/// How long bytes of a serial line that no program has read are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// Until a program reads them; meanwhile the device may have to wait.
    Forever,
    /// This long; 0 keeps nothing.
    For(Duration),
}

impl Default for Unread {
    fn default() -> Self {
        Self::For(Duration::from_secs(2))
    }
}

/// When a board is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResetPolicy {
    /// When a program opens a data outlet of the line and none had one open.
    OnOpen,
    /// On request only.
    #[default]
    Never,
    /// As [`ResetPolicy::OnOpen`], unless the line was in use shortly before.
    IfIdle,
}

/// The ways to reset a board by its lines.
pub const PROFILES: [&str; 3] = ["arduino", "wiring", "esp"];

impl SerialConfig {
    /// How long what nobody reads is kept, whichever key says it; `None` is for ever.
    pub fn keeps_unread(&self) -> Option<Duration> {
        match self.unread {
            _ if self.on_open == OnOpen::Discard || self.idle == Idle::Drain => Some(Duration::ZERO),
            Unread::Forever => None,
            Unread::For(time) => Some(time),
        }
    }

    /// How long a slow reader may hold up the others; `None` is for ever.
    pub fn waits_for_readers(&self) -> Option<Duration> {
        match self.patience {
            Patience::Forever => None,
            Patience::After(time) => Some(time),
        }
    }

    /// This without what can be changed while programs have the line open.
    pub(super) fn without_settings(&self) -> Self {
        let Self { baud, mode, flow, dtr, rts, reset, profile, boot_wait, unread, on_open, idle, patience, .. } =
            Self::default();
        let rest = self.clone();
        Self { baud, mode, flow, dtr, rts, reset, profile, boot_wait, unread, on_open, idle, patience, ..rest }
    }
}

impl Default for SerialConfig {
    fn default() -> Self {
        Self {
            driver: Driver::default(),
            lock: true,
            baud: None,
            mode: None,
            flow: Flow::default(),
            dtr: None,
            rts: None,
            reset: ResetPolicy::default(),
            profile: PROFILES[0].to_owned(),
            boot_wait: Duration::ZERO,
            outlets: kinds::of_device(),
            run: None,
            unread: Unread::default(),
            on_open: OnOpen::default(),
            idle: Idle::default(),
            flush: Duration::from_secs(1),
            patience: Patience::default(),
            network: NetworkConfig::default(),
            interface: None,
            access: Access::default(),
        }
    }
}
