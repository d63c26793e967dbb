//! `control` and `serial`: one request, one answer line on stdout.
//!
//! A running daemon that has the device is asked; otherwise a selector is opened for the one request.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{FAILED, Failure, Outcome, appearing, run_dir};
use crate::daemon::{Client, ClientError, Daemon, Reply, Request};
use crate::request::{Answer, ControlRequest, RequestError};
use crate::selector::Selector;
use crate::session::{Own, execute, locate};

/// `usbpipe control DEVICE REQUEST…`.
pub(super) async fn control(dir: Option<PathBuf>, device: String, request: String) -> Outcome {
    if let Some(selector) = selector(&device) {
        let config = appearing::device_of(selector);
        let answer = match ControlRequest::parse(&request) {
            Ok(request) => {
                let found = locate(&config, &Own::default()).await.map_err(Failure::run_time)?;
                execute(&*found.device, &request, config.timeout).await
            }
            Err(error) => error.into(),
        };
        return show(&answer.to_string());
    }
    let reply = ask_daemon(&run_dir(dir)?, Request::Control { device, request }).await?;
    show(&reply)
}

/// `usbpipe serial DEVICE REQUEST…`.
pub(super) async fn serial(dir: Option<PathBuf>, device: String, request: String) -> Outcome {
    if let Some(selector) = selector(&device) {
        return show(&serial_alone(selector, request).await?);
    }
    let reply = ask_daemon(&run_dir(dir)?, Request::Serial { device, request }).await?;
    show(&reply)
}

/// Without a daemon: one is run in a directory of its own for as long as the request takes.
async fn serial_alone(selector: Selector, request: String) -> Result<String, Failure> {
    let mut config = appearing::device_of(selector);
    if config.remote.is_none() {
        // The kernel's port, as where nothing is said.
        config.serial.get_or_insert_default();
    }
    let found = locate(&config, &Own::default()).await.map_err(Failure::run_time)?;
    drop(found);
    let dir = std::env::temp_dir().join(format!("usbpipe-serial-{}", std::process::id()));
    let name = config.name.clone();
    let daemon = Daemon::start(&dir, vec![config], None).await.map_err(Failure::run_time)?;
    let attached = async {
        while daemon.status().iter().any(|d| d.state != "attached") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let answer = match tokio::time::timeout(ATTACH_PATIENCE, attached).await {
        Ok(()) => ask_daemon(&dir, Request::Serial { device: name, request }).await,
        Err(_) => Err(Failure::run_time(format!("{name} was there and has gone; try again when it is back"))),
    };
    daemon.end().await;
    answer
}

/// Names of devices never hold a colon or a slash, selectors always do; a bare port such as 1-1.4 may be either.
pub(super) fn selector(device: &str) -> Option<Selector> {
    if device.contains([':', '/']) { device.parse().ok() } else { None }
}

pub(super) async fn ask_daemon(dir: &Path, request: Request) -> Result<String, Failure> {
    let mut client = Client::connect(dir).await.map_err(Failure::run_time)?;
    match client.ask(&request).await {
        Ok(Reply::Answer(answer)) => Ok(answer),
        Ok(other) => Err(Failure::run_time(format!("the daemon answered with something else: {other:?}"))),
        Err(ClientError::Refused(problem)) => Err(Failure::run_time(problem)),
        Err(other) => Err(Failure::run_time(other)),
    }
}

pub(super) fn show(answer: &str) -> Outcome {
    super::status::print_line(answer)?;
    match answer.parse::<Answer>() {
        Ok(Answer::Ok(_)) => Ok(0),
        Ok(Answer::Error { .. }) => Ok(FAILED),
        Err(RequestError { text, .. }) => Err(Failure::run_time(format!("the answer makes no sense: {text}"))),
    }
}

/// How long a device that was there a moment ago may take to be there again.
const ATTACH_PATIENCE: Duration = Duration::from_secs(10);
