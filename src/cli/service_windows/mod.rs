//! The daemon as a service of Windows: the commands that install, start and stop it, and running under the service manager.

mod folder;
mod manage;
mod running;

use std::path::PathBuf;

use clap::Subcommand;

use super::{Failure, Outcome};

pub(super) use running::{Controls, ready, stopping};

/// What is to be done with the service.
#[derive(Debug, Subcommand)]
pub(super) enum ServiceCommand {
    /// Install it; Windows starts it from then on. Wants an administrator
    Install,
    /// Stop and remove it. Wants an administrator
    Uninstall,
    /// Start it, and wait until its pipes stand
    Start,
    /// Stop it in order, and wait for that
    Stop,
    /// Be the service; for the service manager alone
    #[command(hide = true)]
    Run {
        /// Where its log goes, said at the installation: services need not have the environment that tells
        #[arg(long)]
        log: Option<PathBuf>,
    },
}

/// Does it.
pub(super) fn run(command: ServiceCommand, dir: Option<PathBuf>, config: Option<PathBuf>) -> Outcome {
    match command {
        ServiceCommand::Install => manage::install(dir, config),
        ServiceCommand::Uninstall => manage::uninstall(),
        ServiceCommand::Start => manage::start(),
        ServiceCommand::Stop => manage::stop(),
        ServiceCommand::Run { .. } => running::run(dir, config),
    }
}

/// A service has no stderr.
pub(super) fn log_file(command: &ServiceCommand) -> Option<PathBuf> {
    match command {
        ServiceCommand::Run { log } => log.clone(),
        _ => None,
    }
}

/// What the service manager knows it by.
const NAME: &str = "usbpipe";
