//! `release` and `reclaim`: another program gets a device for a while, and the bridge waits.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::ask::{ask_daemon, show};
use super::child::Running;
use super::{Failure, Outcome, run_dir};
use crate::daemon::{Client, Reply, Request};

/// `usbpipe release DEVICE [-- CMD…]`.
pub(super) async fn release(dir: Option<PathBuf>, device: String, command: Vec<String>) -> Outcome {
    let dir = run_dir(dir)?;
    match command.first() {
        None => show(&ask_daemon(&dir, Request::Release { device, borrower: None, port: false }).await?),
        Some(program) => {
            let borrower = Path::new(program).file_name().unwrap_or_default().to_string_lossy().into_owned();
            release_to(&dir, device, borrower, &command).await
        }
    }
}

/// `usbpipe reclaim DEVICE`.
pub(super) async fn reclaim(dir: Option<PathBuf>, device: String) -> Outcome {
    show(&ask_daemon(&run_dir(dir)?, Request::Reclaim { device }).await?)
}

/// The lease ends with the connection, so that the daemon takes the device back whatever becomes of this process.
async fn release_to(dir: &Path, device: String, borrower: String, command: &[String]) -> Outcome {
    let mut client = Client::connect(dir).await.map_err(Failure::run_time)?;
    let port = command.iter().any(|word| word.contains(PORT));
    let request = Request::Release { device: device.clone(), borrower: Some(borrower), port };
    let port = match client.ask(&request).await.map_err(Failure::run_time)? {
        Reply::Released(port) => port,
        other => return Err(Failure::run_time(format!("the daemon answered with something else: {other:?}"))),
    };
    let port = port.map_or_else(String::new, |port| port.display().to_string());
    let mut words = command.iter().map(|word| word.replace(PORT, &port));
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    let outcome = match Running::start(command) {
        Ok(mut running) => running.ended().await,
        Err(e) => Err(Failure::run_time(e)),
    };
    // Whoever goes on after this command finds the bridge at work. A daemon that has ended has nothing to take back.
    let _ = client.ask(&Request::Reclaim { device }).await;
    outcome
}

/// What stands for the port in a command.
const PORT: &str = "{port}";
