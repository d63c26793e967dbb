//! Commands that Windows alone has.

use std::path::PathBuf;

use clap::Subcommand;

use super::Outcome;
use super::service_windows::{self, ServiceCommand};

/// One of them.
#[derive(Debug, Subcommand)]
pub(super) enum SystemCommand {
    /// Run the daemon as a service of Windows
    #[command(subcommand, after_help = SERVICE_HELP)]
    Service(ServiceCommand),
}

impl SystemCommand {
    pub(super) fn run(self, dir: Option<PathBuf>, config: Option<PathBuf>) -> Outcome {
        let Self::Service(command) = self;
        service_windows::run(command, dir, config)
    }

    /// Where the log goes, if not to stderr.
    pub(super) fn log_file(&self) -> Option<PathBuf> {
        let Self::Service(command) = self;
        service_windows::log_file(command)
    }

    /// What is logged if nobody says.
    pub(super) fn log_level(&self) -> &'static str {
        "info"
    }
}

const SERVICE_HELP: &str = r#"
  usbpipe -c C:\lab\usbpipe.toml service install
  usbpipe service start

Without -c the configuration is %PROGRAMDATA%\usbpipe\usbpipe.toml. The log is %PROGRAMDATA%\usbpipe\log\usbpipe.log. The
service runs as LocalService; `sddl` in the configuration lets other users open its pipes, such as those who sit at this
machine: sddl = "D:(A;;GA;;;SY)(A;;GA;;;BA)(A;;GA;;;LS)(A;;0x12019b;;;IU)". That is reading and writing; GRGW would also let them
answer other programs in its place. `sc control usbpipe paramchange` has it read its configuration again."#;
