//! `control` and `serial`: one request, one answer line on stdout.
//!
//! A running daemon that has the device is asked; otherwise a selector is opened for the one request.

use std::path::{Path, PathBuf};

use super::alone::Alone;
use super::{FAILED, Failure, Outcome, appearing, run_dir};
use crate::daemon::{Client, ClientError, Reply, Request};
use crate::request::{Answer, ControlRequest, RequestError};
use crate::selector::Selector;
use crate::session::{DeviceStatus, Own, execute, locate};

/// `usbpipe control DEVICE REQUEST…`.
pub(super) async fn control(dir: Option<PathBuf>, device: String, request: String) -> Outcome {
    if let Some(selector) = selector(dir.as_deref(), &device).await {
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
    if let Some(selector) = selector(dir.as_deref(), &device).await {
        return show(&serial_alone(selector, request).await?);
    }
    let reply = ask_daemon(&run_dir(dir)?, Request::Serial { device, request }).await?;
    show(&reply)
}

/// Without a daemon: one is run for as long as the request takes.
async fn serial_alone(selector: Selector, request: String) -> Result<String, Failure> {
    let alone = Alone::start(selector, true).await?;
    let answer = ask_daemon(alone.dir(), Request::Serial { device: alone.device().to_owned(), request }).await;
    alone.end().await;
    answer
}

/// Names of devices never hold a colon or a slash, selectors always do; a bare port such as 1-1.4 may be either, and COM5 is
/// one if no device of the daemon's is called so.
pub(super) async fn selector(dir: Option<&Path>, device: &str) -> Option<Selector> {
    if device.contains([':', '/']) {
        return device.parse().ok();
    }
    let port = device.parse().ok().filter(|selector| matches!(selector, Selector::Tty(_)))?;
    let dir = run_dir(dir.map(Path::to_owned)).ok()?;
    let devices = super::status::ask(&dir).await.unwrap_or_default();
    devices.iter().all(|d| d.name != device).then_some(port)
}

/// The names under which a daemon has what is selected.
pub(super) fn names_of(selector: &Selector, devices: &[DeviceStatus]) -> Vec<String> {
    let fits = |d: &&DeviceStatus| match selector {
        Selector::Id { vid, pid, serial } => {
            d.id == Some(format!("{vid:04x}:{pid:04x}")) && (serial.is_none() || d.serial == *serial)
        }
        Selector::Port(place) => d.place.as_ref() == Some(place),
        Selector::Tty(path) => d.place.as_deref() == path.to_str(),
        Selector::Usbip(remote) => d.place == Some(remote.to_string()),
    };
    devices.iter().filter(fits).map(|d| d.name.clone()).collect()
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
        Ok(Answer::Error { .. }) => Ok(FAILED.into()),
        Err(RequestError { text, .. }) => Err(Failure::run_time(format!("the answer makes no sense: {text}"))),
    }
}
