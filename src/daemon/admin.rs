//! The daemon's side of `admin.sock`.

use std::collections::HashMap;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::broadcast::error::RecvError;

use super::answers::{Answers, Turns};
use super::link::{self, Given, Listener, ReadHalf, Stream, WriteHalf};
use super::protocol::{MAX_REQUEST, Reply, Request};
use super::{Devices, capture, passing};
use crate::log_writer;
use crate::outlet::{Credentials, Departure, Peer};
use crate::printable;
use crate::session::{Events, Lease, Offers, PassedEnd, Surroundings, Tasks, TextLine, TextReader};
use crate::usb::caught;

/// How long nothing is accepted where that cannot work.
const EXHAUSTED: Duration = Duration::from_secs(1);
/// Clients at one time: each command, and each `events`, `top` and `capture` for as long as it runs.
const MOST_CLIENTS: usize = 256;

/// What clients are served with.
#[derive(Clone)]
pub(super) struct Service {
    devices: Devices,
    events: Events,
    tasks: Tasks,
    turns: Turns,
    status: Answers,
    task_status: Answers,
}

impl Service {
    pub(super) fn new(devices: Devices, surroundings: &Surroundings) -> Self {
        let turns = Turns::default();
        let (status, task_status) = (Answers::new(&turns), Answers::new(&turns));
        let (events, tasks) = (surroundings.events.clone(), surroundings.tasks.clone());
        Self { devices, events, tasks, turns, status, task_status }
    }

    /// Serves clients until it is aborted, whatever happens to the task that accepts them.
    pub(super) async fn supervise(self, mut listener: Listener) {
        let state = self.tasks.add(None, "admin.sock", "serving", "commands");
        while let Err(error) = caught(self.serve(&mut listener)).await {
            let text = format!("{error}; admin.sock is served anew, please report it");
            self.events.tell("error", "usbpipe", None, text);
            state.set("starting over", "a pause after a failure");
            tokio::time::sleep(EXHAUSTED).await;
            state.set("serving", "commands");
        }
    }

    async fn serve(&self, listener: &mut Listener) {
        let mut clients = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                accepted = link::accept(listener) => match accepted {
                    Ok(stream) if clients.len() >= MOST_CLIENTS => refuse(&stream),
                    Ok(stream) => drop(clients.spawn(client(stream, self.clone()))),
                    // Descriptors have run out: those that are here go on.
                    Err(_) => tokio::time::sleep(EXHAUSTED).await,
                },
                Some(_) = clients.join_next() => {}
            }
        }
    }

    /// The state of all devices, or of all tasks: for everybody who asks at the same time.
    async fn send_status(&self, out: &mut WriteHalf, of_tasks: bool) -> std::io::Result<()> {
        if of_tasks {
            let values = || {
                let head = format!("{{\"tasks\":{{\"dropped_log_lines\":{},\"tasks\":[", log_writer::dropped());
                (head, self.tasks.status().into_iter(), "]}}\n")
            };
            let line = self.task_status.get(values).await;
            return self.task_status.send(out, &line).await;
        }
        let line = self.status.get(|| ("{\"ok\":[".to_owned(), self.devices.each_status(), "]}\n")).await;
        self.status.send(out, &line).await
    }
}

/// Says why to a client that is one too many, which then finds the connection closed.
fn refuse(stream: &Stream) {
    let reply = Reply::Error(format!("{MOST_CLIENTS} commands are connected to the daemon, and there can be no more"));
    let _ = printable::json(&reply).map(|line| link::refuse(stream, &format!("{line}\n")));
}

async fn client(stream: Stream, service: Service) {
    let Service { devices, events, turns, .. } = service.clone();
    let (source, mut out) = link::split(stream);
    let mut lines = TextReader::new(source, MAX_REQUEST);
    let mut leases = Leases::default();
    let who = link::credentials_of(&out);
    let is_trusted = who.as_ref().is_some_and(Credentials::is_trusted);
    while let Some(line) = lines.next().await {
        turns.next().await;
        let request = parse(line).and_then(|request| devices.allow(&request, who.as_ref()).map(|()| request));
        let reply = match request {
            // Of others each has an answer of its own.
            Ok(Request::Status) if !is_trusted => Reply::Ok(devices.status_for(who.as_ref())),
            Ok(request @ (Request::Status | Request::Tasks)) => {
                match service.send_status(&mut out, request == Request::Tasks).await {
                    Ok(()) => continue,
                    Err(_) => return,
                }
            }
            Ok(Request::Events) => return tell_events(lines, out, events, &devices, who.as_ref()).await,
            Ok(Request::Open { device, outlet, pass: None, program }) => {
                // An answer to the request before it may still be on its way.
                if out.flush().await.is_err() {
                    return;
                }
                let peer = peer_of(&out, program);
                return open(lines.into_inner(), out, &devices, &device, &outlet, peer);
            }
            Ok(Request::Open { device, outlet, pass: Some(kind), program }) => {
                let peer = peer_of(&out, program);
                match devices.with(&device, |d| d.pass(&outlet, kind, peer)).flatten() {
                    Ok(fd) if send_with(&mut out, &Reply::Ok(Vec::new()), &fd).await.is_err() => return,
                    Ok(_) => continue,
                    Err(problem) => Reply::Error(problem),
                }
            }
            Ok(Request::Capture { device, limit }) => match capture::begin(&devices, &device, limit) {
                Ok(capture) => return capture::send(capture, lines, out).await,
                Err(problem) => Reply::Error(problem),
            },
            Ok(request) => {
                // Where no descriptor is left for it, requests are carried out to their end.
                let departure = link::departure_of(&out).unwrap_or_else(|_| Departure::never());
                tokio::select! {
                    reply = carry_out(request, &devices, &mut leases) => reply,
                    () = departure.gone() => return,
                }
            }
            Err(problem) => Reply::Error(problem),
        };
        if send(&mut out, &reply).await.is_err() {
            return;
        }
    }
}

/// A request from its line.
///
/// # Errors
/// What is wrong with it, for the client.
pub(super) fn parse(line: TextLine) -> Result<Request, String> {
    match line {
        TextLine::TooLong => Err(format!("a request has at most {MAX_REQUEST} bytes")),
        TextLine::Text(text) => serde_json::from_str(&text).map_err(|e| format!("not a request: {e}")),
    }
}

/// What a client was lent, by device. It is taken back with the last of these.
pub(super) type Leases = HashMap<String, Lease>;

/// Answers a request that is answered by one reply.
pub(super) async fn carry_out(request: Request, devices: &Devices, leases: &mut Leases) -> Reply {
    let answer = match request {
        Request::Release { device, borrower: Some(borrower), port } => {
            return lend(device, borrower, port, devices, leases).await;
        }
        Request::Release { device, borrower: None, .. } => match devices.with(&device, |d| d.release()) {
            Ok(work) => Ok(work.await),
            Err(e) => Err(e),
        },
        Request::Reclaim { device } => match leases.remove(&device) {
            Some(_lease) => return Reply::Answer("ok".to_owned()),
            None => devices.with(&device, |d| d.reclaim()),
        },
        Request::Status | Request::Tasks | Request::Events | Request::Capture { .. } | Request::Open { .. } => {
            return Reply::Error("this was asked for in a place where it cannot be".into());
        }
        Request::Control { device, request } => match devices.with(&device, |d| d.control(request)) {
            Ok(work) => Ok(work.await),
            Err(e) => Err(e),
        },
        Request::Serial { device, request } => match devices.with(&device, |d| d.serial(request)) {
            Ok(work) => Ok(work.await),
            Err(e) => Err(e),
        },
    };
    answer.map_or_else(Reply::Error, |answer| Reply::Answer(answer.to_string()))
}

/// Lends a device until the client leaves. Without the port that it needs, it has no use for the device.
async fn lend(device: String, borrower: String, port: bool, devices: &Devices, leases: &mut Leases) -> Reply {
    let work = devices.with(&device, |d| (d.lend(borrower, port), d.lent_port()));
    let (lease, lent_port) = match work {
        Ok((lease, lent_port)) => (lease.await, lent_port),
        Err(e) => return Reply::Error(e),
    };
    let found = match (&lease, port) {
        (Ok(_), true) => lent_port.await.map(Some),
        _ => Ok(None),
    };
    match lease.and_then(|lease| found.map(|port| (lease, port))) {
        Ok((lease, port)) => {
            leases.insert(device, lease);
            Reply::Released(port)
        }
        Err(e) => Reply::Error(e),
    }
}

/// One JSON line an event, until the client leaves. A client that is too slow is told how many it missed.
async fn tell_events(
    mut lines: TextReader<ReadHalf>,
    mut out: WriteHalf,
    events: Events,
    devices: &Devices,
    who: Option<&Credentials>,
) {
    let mut listener = events.listen();
    if send(&mut out, &Reply::Ok(Vec::new())).await.is_err() {
        return;
    }
    loop {
        tokio::select! {
            event = listener.recv() => {
                let sent = match event {
                    Ok(event) if !devices.shows(&event.device, who) => continue,
                    Ok(event) => send(&mut out, &*event).await,
                    Err(RecvError::Lagged(n)) => send(&mut out, &Reply::Error(format!("{n} events were missed"))).await,
                    Err(RecvError::Closed) => return,
                };
                if sent.is_err() {
                    return;
                }
            }
            line = lines.next() => if line.is_none() { return },
        }
    }
}

/// Gives the connection to an outlet. The reply goes before the first byte, and nothing follows an error.
fn open(source: ReadHalf, out: WriteHalf, devices: &Devices, device: &str, outlet: &str, peer: Peer) {
    let Some(given) = Given::of(source, out) else { return };
    let offered = match given.connection() {
        Ok(connection) => devices.with(device, |d| d.offer(outlet, connection, peer)).flatten(),
        Err(e) => Err(format!("the connection cannot be used as an outlet: {e}")),
    };
    let (reply, offers) = match offered {
        Ok(offers) => (Reply::Ok(Vec::new()), Some(offers)),
        Err(problem) => (Reply::Error(problem), None),
    };
    if let Ok(text) = printable::json(&reply) {
        given.say(&format!("{text}\n"));
    }
    offers.into_iter().for_each(Offers::take);
}

/// Who is at the other end, under the name that it asked for.
fn peer_of(out: &WriteHalf, program: Option<String>) -> Peer {
    let peer = link::peer_of(out);
    match program {
        Some(name) => peer.called(&name),
        None => peer,
    }
}

/// One line with a descriptor beside it.
async fn send_with(out: &mut WriteHalf, value: &impl serde::Serialize, end: &PassedEnd) -> std::io::Result<()> {
    let line = printable::json(value)? + "\n";
    let sent = passing::send(out, line.as_bytes(), end).await?;
    out.write_all(&line.as_bytes()[sent..]).await
}

/// One line.
pub(super) async fn send(out: &mut WriteHalf, value: &impl serde::Serialize) -> std::io::Result<()> {
    let line = printable::json(value)? + "\n";
    out.write_all(line.as_bytes()).await
}
