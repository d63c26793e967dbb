//! `status` and `events`: what a daemon knows, once and as it happens.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::reader::has_left;
use super::{Failure, Outcome, run_dir};
use crate::daemon::{Client, DaemonStatus, Reply, Request};
use crate::log_writer;
use crate::printable;
use crate::session::{ClientStatus, DeviceStatus, PipeStatus};

/// `usbpipe status`.
pub(super) async fn status(dir: Option<PathBuf>, json: bool) -> Outcome {
    let dir = run_dir(dir)?;
    let devices = ask(&dir).await?;
    if json {
        let text = printable::pretty_json(&devices).map_err(Failure::run_time)?;
        return print_line(&text).map(|()| 0);
    }
    for device in &devices {
        print_line(&headline(device))?;
        if let Some(problem) = &device.problem {
            print_line(&format!("  problem: {problem}"))?;
        }
        for pipe in &device.pipes {
            print_line(&format!("  {}", pipe_line(pipe)))?;
            for client in &pipe.clients {
                print_line(&format!("    {}", client_line(client)))?;
            }
        }
    }
    let dropped = ask_for_tasks(&dir).await.map_or(0, |daemon| daemon.dropped_log_lines);
    print_dropped(dropped)?;
    Ok(0)
}

/// `usbpipe status --tasks`.
pub(super) async fn tasks(dir: Option<PathBuf>, json: bool) -> Outcome {
    let daemon = ask_for_tasks(&run_dir(dir)?).await?;
    if json {
        let text = printable::pretty_json(&daemon).map_err(Failure::run_time)?;
        return print_line(&text).map(|()| 0);
    }
    print_dropped(daemon.dropped_log_lines)?;
    for task in &daemon.tasks {
        let name = task.device.as_ref().map_or_else(|| task.task.clone(), |device| format!("{device}/{}", task.task));
        let (state, waits_for, seconds) = (&task.state, &task.waits_for, task.seconds);
        print_line(&format!("{name:<24} {state:<14} {seconds:>9.1} s  waits for {waits_for}"))?;
    }
    Ok(0)
}

async fn ask_for_tasks(dir: &Path) -> Result<DaemonStatus, Failure> {
    let mut client = Client::connect(dir).await.map_err(Failure::run_time)?;
    match client.ask(&Request::Tasks).await.map_err(Failure::run_time)? {
        Reply::Tasks(daemon) => Ok(daemon),
        other => Err(Failure::run_time(format!("the daemon answered with something else: {other:?}"))),
    }
}

fn print_dropped(lines: u64) -> Result<(), Failure> {
    match lines {
        0 => Ok(()),
        lines => {
            print_line(&format!("{lines} lines of the log were dropped, because they could not be written in time"))
        }
    }
}

/// `usbpipe events`.
pub(super) async fn events(dir: Option<PathBuf>) -> Outcome {
    let mut client = Client::connect(&run_dir(dir)?).await.map_err(Failure::run_time)?;
    client.ask(&Request::Events).await.map_err(Failure::run_time)?;
    tracing::info!("listening to the daemon's events");
    while let Some(line) = client.next_line().await.map_err(Failure::run_time)? {
        print_line(line.trim_end())?;
    }
    Ok(0)
}

/// The state of all devices of the daemon in this run dir.
pub(super) async fn ask(dir: &Path) -> Result<Vec<DeviceStatus>, Failure> {
    let mut client = Client::connect(dir).await.map_err(Failure::run_time)?;
    match client.ask(&Request::Status).await.map_err(Failure::run_time)? {
        Reply::Ok(devices) => Ok(devices),
        other => Err(Failure::run_time(format!("the daemon answered with something else: {other:?}"))),
    }
}

/// Lines on stdout, fit for a terminal. A reader that has gone ends the program quietly, as it would end `cat`.
pub(super) fn print_line(line: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{}", printable::lines(line)).and_then(|()| out.flush()) {
        Err(e) if has_left(&e) => {
            log_writer::flush();
            std::process::exit(0)
        }
        result => result.map_err(|e| Failure::run_time(format!("writing to stdout failed: {e}"))),
    }
}

pub(super) fn headline(device: &DeviceStatus) -> String {
    let mut words = vec![device.name.clone(), device.state.clone()];
    words.extend(device.id.clone());
    words.extend(device.board.clone());
    words.extend(device.product.as_ref().map(|p| format!("{p:?}")));
    words.extend(device.serial.as_ref().map(|s| format!("serial {s:?}")));
    words.extend(device.speed.as_ref().map(|s| format!("{s} speed")));
    words.extend(device.place.clone());
    if device.sessions > 1 {
        words.push(format!("{} sessions", device.sessions));
    }
    if device.state != "attached" {
        words.extend(device.reason.as_ref().map(|r| format!("({r})")));
    }
    words.join("  ")
}

fn pipe_line(pipe: &PipeStatus) -> String {
    let c = &pipe.counters;
    let mut words = vec![
        format!("{:<10}", pipe.outlet),
        format!("{} {:<3}", pipe.endpoint, pipe.direction),
        format!("{:<11}", pipe.transfer_type.as_deref().unwrap_or("-")),
        if c.open { "open  " } else { "closed" }.to_owned(),
        format!("bytes={}", c.bytes),
        format!("transfers={}", c.transfers),
    ];
    let rare = [
        ("packets", c.packets),
        ("lost_packets", c.lost_packets),
        ("lost_bytes", c.lost_bytes),
        ("discarded_bytes", c.discarded_bytes),
        ("stalls", c.stalls),
        ("errors", c.errors),
        ("underruns", c.underruns),
        ("bad_messages", c.bad_messages),
        ("empty_transfers", c.empty_transfers),
    ];
    words.extend(rare.iter().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{name}={n}")));
    words.extend(pipe.problem.as_ref().map(|problem| format!("({problem})")));
    words.join(" ")
}

fn client_line(client: &ClientStatus) -> String {
    let mut words = vec![format!("{:<10}", client.kind)];
    words.extend(client.pid.map(|pid| format!("pid={pid}")));
    words.extend(client.uid.map(|uid| format!("uid={uid}")));
    words.extend(client.command.as_ref().map(|command| format!("({command})")));
    words.extend(client.address.clone());
    let t = &client.tally;
    words.push(format!("bytes={}", t.bytes));
    let rare = [("lost_bytes", t.lost_bytes), ("lost_transfers", t.lost_transfers), ("lost_packets", t.lost_packets)];
    words.extend(rare.iter().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{name}={n}")));
    words.join(" ")
}
