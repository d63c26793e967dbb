//! `capture`: a daemon's stream of records into a file, or a daemon of its own for a device that none has.
//!
//! It records what is bridged; it never looks at the bus itself, and so needs no more rights than `status`.

mod output;
mod ring;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::appearing::Appearing;
use super::args::CaptureArgs;
use super::signals::Signals;
use super::target::{Target, target};
use super::{Failure, Outcome, run_dir};
use crate::daemon::{Client, Daemon, Request};
use crate::log_writer;
use crate::selector::Selector;
use output::{Output, Written};

/// `usbpipe capture DEVICE`.
pub(super) async fn capture(dir: Option<PathBuf>, args: CaptureArgs) -> Outcome {
    Output::check(&args)?;
    let dir = run_dir(dir)?;
    let mut signals = Signals::new()?;
    match target(Some(&dir), &args.device, &args.options).await? {
        Target::Daemon { dir, name } => {
            let client = Client::connect(&dir).await.map_err(Failure::run_time)?;
            record(client, &name, &args, &mut signals).await
        }
        Target::Alone(selector) => match Client::connect(&dir).await {
            Ok(_) => Err(Failure::run_time(format!(
                "the daemon in {} bridges no such device as {selector}; `usbpipe status` shows those it does",
                dir.display()
            ))),
            Err(_) => alone(&dir, selector, &args, signals).await,
        },
    }
}

/// Without a daemon: one is run for as long as the capture lasts.
async fn alone(dir: &Path, selector: Selector, args: &CaptureArgs, mut signals: Signals) -> Outcome {
    let mut daemon = Daemon::start(dir, Vec::new(), None).await.map_err(Failure::run_time)?;
    let outcome = bridge(dir, &mut daemon, selector, args, &mut signals).await;
    daemon.end().await;
    outcome
}

async fn bridge(
    dir: &Path,
    daemon: &mut Daemon,
    selector: Selector,
    args: &CaptureArgs,
    signals: &mut Signals,
) -> Outcome {
    let mut appearing = Appearing::new(daemon.own().clone(), vec![selector], args.options);
    let (config, found) = tokio::select! {
        appeared = appearing.next() => appeared,
        () = signals.end() => return Ok(0),
    };
    let name = config.name.clone();
    daemon.start_found(config, found).map_err(Failure::run_time)?;
    log_writer::print(format_args!("usbpipe: what programs do with {} is captured", dir.join(&name).display()));
    let client = Client::connect(dir).await.map_err(Failure::run_time)?;
    record(client, &name, args, signals).await
}

/// Writes what the daemon sends until somebody has enough.
async fn record(mut client: Client, device: &str, args: &CaptureArgs, signals: &mut Signals) -> Outcome {
    let request = Request::Capture { device: device.to_owned(), limit: Output::limit(args) };
    client.ask(&request).await.map_err(Failure::run_time)?;
    let output = Output::open(args)?;
    let (mut source, mut sink) = tokio::io::split(client.into_stream());
    let (sender, receiver) = mpsc::channel(1);
    let mut writing = tokio::task::spawn_blocking(move || write(output, receiver));
    tokio::select! {
        ended = forward(&mut source, &sender) => ended?,
        () = signals.end() => {
            // The daemon answers by sending the rest and closing the connection.
            let _ = sink.shutdown().await;
            tokio::select! {
                ended = timeout(PATIENCE, forward(&mut source, &sender)) => ended.unwrap_or(Ok(()))?,
                () = signals.end() => return Err(cut_short("a second signal ended it at once")),
            }
        }
    }
    drop(sender);
    report(&mut writing, device, args, signals).await
}

/// Hands the stream to the writer until either has ended. Cancel safe.
async fn forward(source: &mut (impl AsyncRead + Unpin), sender: &mpsc::Sender<Vec<u8>>) -> Result<(), Failure> {
    let broken = |e| Failure::run_time(format!("the daemon's stream broke off: {e}"));
    while let Ok(permit) = sender.reserve().await {
        let mut chunk = Vec::with_capacity(CHUNK);
        if source.read_buf(&mut chunk).await.map_err(broken)? == 0 {
            break;
        }
        permit.send(chunk);
    }
    Ok(())
}

/// On a thread of its own, because a file or a program that reads may be slow.
fn write(mut output: Output, mut chunks: mpsc::Receiver<Vec<u8>>) -> Result<Written, Failure> {
    while let Some(chunk) = chunks.blocking_recv() {
        output.write(&chunk)?;
        if !output.is_wanted() {
            break;
        }
    }
    Ok(output.written())
}

/// Waits for the writer and says what there is now.
async fn report(
    writing: &mut JoinHandle<Result<Written, Failure>>,
    device: &str,
    args: &CaptureArgs,
    signals: &mut Signals,
) -> Outcome {
    let written = tokio::select! {
        written = timeout(PATIENCE, writing) => written.map_err(|_| cut_short("what reads it takes nothing"))?,
        () = signals.end() => return Err(cut_short("a second signal ended it at once")),
    };
    let written = written.map_err(Failure::run_time)??;
    if written.is_wanted {
        log_writer::print(format_args!("usbpipe: {}", written.describe(device, args)));
    }
    Ok(0)
}

fn cut_short(why: &str) -> Failure {
    Failure::run_time(format!("the capture lacks its end: {why}"))
}

/// How long the daemon may take for the rest, and a reader for taking it.
const PATIENCE: Duration = Duration::from_secs(2);
const CHUNK: usize = 256 << 10;
