//! Commands that Unix alone has. Its service is systemd's and needs none.

use std::path::PathBuf;

use clap::Subcommand;

use super::{Outcome, udev_linux};
use crate::selector::Selector;

/// One of them.
#[derive(Debug, Subcommand)]
pub(super) enum SystemCommand {
    /// Print udev rules that give access to devices
    #[command(after_help = UDEV_HELP)]
    Udev(UdevArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct UdevArgs {
    /// Devices: VVVV:PPPP, VVVV:PPPP:SERIAL, a place such as 1-1.4, or a port such as /dev/ttyS0
    #[arg(value_name = "SELECTOR")]
    pub(super) selectors: Vec<Selector>,
    /// Group that may use the devices [default: the configured one, or usbpipe]
    #[arg(long, value_name = "GROUP")]
    pub(super) group: Option<String>,
    /// Let systemd start usbpipe.service when a device appears
    #[arg(long)]
    pub(super) start: bool,
}

impl SystemCommand {
    pub(super) fn run(self, _dir: Option<PathBuf>, config: Option<PathBuf>) -> Outcome {
        let Self::Udev(args) = self;
        udev_linux::udev(config, args)
    }

    /// Where the log goes, if not to stderr.
    pub(super) fn log_file(&self) -> Option<PathBuf> {
        None
    }

    /// What is logged if nobody says.
    pub(super) fn log_level(&self) -> &'static str {
        "warn"
    }
}

const UDEV_HELP: &str = "\
Without a selector: rules for the devices of the configuration; without one, the rules for well-known boards.

Examples:
  usbpipe udev 2341:0043 | sudo tee /etc/udev/rules.d/61-usbpipe-2341-0043.rules
  sudo udevadm control --reload && sudo udevadm trigger -s usb -s tty";
