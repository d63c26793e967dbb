//! The configuration: from TOML text to values that are safe to act on. Opens nothing but the file itself.
//!
//! ```text
//! text --(typed)--> what was typed --(meaning)--> Config --> daemon
//!                        |
//!                        +--(unsupported)--> what this version cannot do yet
//! ```
//!
//! What was typed keeps its positions and says nothing about sense; what it means has defaults filled in,
//! contradictions refused, and no positions, so that two configurations that mean the same compare equal.

mod device;
mod error;
mod find;
#[cfg(unix)]
#[path = "folders_unix.rs"]
mod folders;
#[cfg(windows)]
#[path = "folders_windows.rs"]
mod folders;
#[cfg(unix)]
#[path = "gaps_unix.rs"]
mod gaps;
#[cfg(windows)]
#[path = "gaps_windows.rs"]
mod gaps;
#[cfg(unix)]
#[path = "kinds_unix.rs"]
mod kinds;
#[cfg(windows)]
#[path = "kinds_windows.rs"]
mod kinds;
mod meaning;
mod network;
mod pipe;
#[cfg(unix)]
#[path = "program_unix.rs"]
mod program;
#[cfg(windows)]
#[path = "program_windows.rs"]
mod program;
mod programs;
pub mod reference;
mod serial;
mod serial_mode;
mod typed;
mod unsupported;
mod value;

use std::path::Path;

pub use device::{Access, Backend, DeviceConfig, EndpointDefaults, Match, Unplug};
pub use error::ConfigError;
pub use find::{NotFound, find};
pub use network::{ModemLinesPolicy, NetworkConfig};
pub use pipe::{
    DEFAULT_QUEUE, DEFAULT_TRANSFER, Framing, Idle, OnOpen, OutletKind, PACKET_FIFO_MAX, PACKET_SOCKET_MAX, Patience,
    PipeConfig, StallPolicy, Underrun, Writers,
};
pub use programs::missing_programs;
pub use serial::{Driver, Flow, PROFILES, Program, ResetPolicy, SerialConfig, Unread};
pub use serial_mode::{Parity, SerialMode, SerialModeError, StopBits};
pub use unsupported::unsupported;
pub use value::parse_size;

/// Everything a configuration file says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// The devices in the order of the file, no two of one name.
    pub devices: Vec<DeviceConfig>,
}

impl Config {
    /// Reads a configuration from its text; `file` only names it in errors.
    ///
    /// # Errors
    /// Every contradiction and impossible value, ordered by position; of a syntax error, an unknown key or a wrong type
    /// only the first, because what follows it cannot be told.
    pub fn parse(text: &str, file: &Path) -> Result<Self, Vec<ConfigError>> {
        let source = error::Source::new(text, file);
        let typed = typed::read(&source).map_err(|error| vec![error])?;
        meaning::config(&source, &typed)
    }

    /// Reads a configuration file.
    ///
    /// # Errors
    /// As [`Config::parse`]; also when the file cannot be read or is not UTF-8.
    pub fn load(file: &Path) -> Result<Self, Vec<ConfigError>> {
        Self::parse(&error::read_text(file).map_err(|error| vec![error])?, file)
    }

    /// Reads a configuration file and refuses what this version cannot do yet.
    ///
    /// # Errors
    /// As [`Config::load`], then those of [`unsupported()`].
    pub fn load_supported(file: &Path) -> Result<Self, Vec<ConfigError>> {
        let text = error::read_text(file).map_err(|error| vec![error])?;
        let config = Self::parse(&text, file)?;
        let missing = unsupported(&text, file);
        if missing.is_empty() { Ok(config) } else { Err(missing) }
    }

    /// As [`Config::load_supported`]; refuses as well what may be put right without the file: see [`missing_programs`].
    ///
    /// # Errors
    /// As [`Config::load_supported`], then those of [`missing_programs`].
    pub fn load_complete(file: &Path) -> Result<Self, Vec<ConfigError>> {
        let config = Self::load_supported(file)?;
        let text = error::read_text(file).map_err(|error| vec![error])?;
        let missing = missing_programs(&text, file);
        if missing.is_empty() { Ok(config) } else { Err(missing) }
    }

    /// The device of this name, which may be written as in the file or as on disk.
    pub fn device(&self, name: &str) -> Option<&DeviceConfig> {
        let name = crate::name::sanitize(name);
        self.devices.iter().find(|device| device.name == name)
    }
}

#[cfg(test)]
mod tests;
