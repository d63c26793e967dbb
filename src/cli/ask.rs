//! `control` and `serial`: one request, one answer line on stdout.
//!
//! A running daemon that has the device is asked; otherwise a selector is opened for the one request.

use std::path::{Path, PathBuf};

use super::alone::Alone;
use super::args::ControlArgs;
use super::options::{BridgeArgs, TakeArgs};
use super::signals::Signals;
use super::target::{Target, target};
use super::{FAILED, Failure, Outcome, appearing};
use crate::daemon::{Client, ClientError, Reply, Request};
use crate::request::{Answer, ControlRequest, RequestError};
use crate::selector::Selector;
use crate::session::{Own, addressed_interface, check_endpoints, execute, locate};
use crate::usb::UsbDevice;

/// `usbpipe control DEVICE REQUEST…`.
pub(super) async fn control(dir: Option<PathBuf>, device: String, args: ControlArgs, request: String) -> Outcome {
    refuse_options(&request, "--detach, --interface and --alt")?;
    let take = TakeArgs { detach: args.detach, interface: args.interface };
    let options = BridgeArgs { alt: args.alt, ..take.alone() };
    let (dir, device) = match target(dir.as_deref(), &device, &options).await? {
        Target::Alone(selector) => return show(&control_alone(&selector, &options, &request).await?),
        Target::Daemon { dir, name } => (dir, name),
    };
    show(&ask_daemon(&dir, Request::Control { device, request }).await?)
}

/// Without a daemon: the device is opened for the one request.
async fn control_alone(selector: &Selector, options: &BridgeArgs, request: &str) -> Result<String, Failure> {
    let config = appearing::device_of(selector, options);
    let request = match ControlRequest::parse(request) {
        Ok(request) => request,
        Err(error) => return Ok(Answer::from(error).to_string()),
    };
    let found = locate(&config, &Own::default()).await.map_err(Failure::run_time)?;
    let mut signals = Signals::new()?;
    let answer = async {
        check_endpoints(&config, found.device.descriptors()).map_err(Failure::run_time)?;
        prepare(&*found.device, options, &request).await?;
        Ok(execute(&*found.device, &request, config.timeout).await.to_string())
    };
    let answer = tokio::select! {
        answer = answer => answer,
        // Kernel drivers get back what they had all the same.
        () = signals.end() => Err(Failure::run_time("ended by a signal")),
    };
    found.device.give_back().await;
    answer
}

/// No request has a word that looks like an option.
fn refuse_options(request: &str, known: &str) -> Result<(), Failure> {
    match request.split(' ').find(|word| word.starts_with("--")) {
        Some(option) => Err(Failure::usage(format!(
            "{option} cannot be used here; the command's own options are {known}, before the request"
        ))),
        None => Ok(()),
    }
}

/// Claims the interface that the options are about, and selects its alternate setting.
async fn prepare(device: &dyn UsbDevice, options: &BridgeArgs, request: &ControlRequest) -> Result<(), Failure> {
    let (TakeArgs { detach, interface }, alt) = (options.take, options.alt);
    let interface = interface.or_else(|| addressed_interface(request, device.descriptors()));
    let Some(interface) = interface else {
        return match alt {
            Some(alt) => Err(Failure::usage(format!(
                "--alt {alt} needs --interface N here, because the request addresses the device as a whole"
            ))),
            None => Ok(()),
        };
    };
    if detach || options.take.interface.is_some() || alt.is_some() {
        device.claim(interface, detach).await.map_err(Failure::run_time)?;
    }
    let Some(alt) = alt else { return Ok(()) };
    device.set_alt_setting(interface, alt).await.map_err(|e| {
        Failure::run_time(format!("selecting alternate setting {alt} of interface {interface} failed: {e}"))
    })
}

/// `usbpipe serial DEVICE REQUEST…`.
pub(super) async fn serial(dir: Option<PathBuf>, device: String, take: TakeArgs, request: String) -> Outcome {
    refuse_options(&request, "--detach and --interface")?;
    let options = take.alone();
    let (dir, device) = match target(dir.as_deref(), &device, &options).await? {
        Target::Alone(selector) => return show(&serial_alone(&selector, &options, request).await?),
        Target::Daemon { dir, name } => (dir, name),
    };
    show(&ask_daemon(&dir, Request::Serial { device, request }).await?)
}

/// Without a daemon: one is run for as long as the request takes.
async fn serial_alone(selector: &Selector, options: &BridgeArgs, request: String) -> Result<String, Failure> {
    let alone = Alone::start(selector, options, true).await?;
    let answer = ask_daemon(alone.dir(), Request::Serial { device: alone.device().to_owned(), request }).await;
    alone.end().await;
    answer
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
