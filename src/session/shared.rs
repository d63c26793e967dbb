//! What a device's keeper, its doors and the commands share: the device of the moment, and what to show of it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::admission::Directories;
use super::control::{disconnected, error_name, execute, transfer};
use super::hub::{Hub, Offer, Via};
use super::line::{Context, Phase};
use super::loan::Loan;
use super::lock::lock;
use super::problem::Problem;
use super::serial::SerialPort;
use super::{DeviceStatus, Events, PipeStatus};
use crate::bridge::Counters;
use crate::capture::{self, Capture, Refused, Tap};
use crate::name::{self, is_serial_line};
use crate::outlet::{Connection, Peer, Want};
use crate::request::{Answer, ControlRequest, ErrorName, RequestError, SerialRequest};
use crate::serial::{Function, board_name, is_bootloader};
use crate::usb::descriptors::{Descriptors, Endpoint};
use crate::usb::{TransferError, UsbDevice};

/// Shared by everybody who deals with one device.
pub(super) struct Shared {
    pub(super) name: String,
    /// How long a control transfer may take.
    pub(super) timeout: Duration,
    pub(super) events: Events,
    pub(super) loan: Loan,
    attached: watch::Sender<bool>,
    /// Where captures listen.
    pub(super) tap: Arc<Tap>,
    /// Where its outlets are.
    pub(super) directories: OnceLock<Directories>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    device: Option<Arc<dyn UsbDevice>>,
    /// Of the last session, also after it.
    descriptors: Option<Arc<Descriptors>>,
    backend: Option<&'static str>,
    place: Option<String>,
    reason: Option<String>,
    /// Whether another program has the port.
    held: bool,
    /// Whether the board has left to come back with other ids.
    switching: bool,
    sessions: u64,
    pipes: Vec<PipeEntry>,
    /// By number, counted from 0.
    serials: Vec<(usize, Arc<SerialPort>)>,
    /// What keeps it from being looked after at all.
    supervisor_problem: Option<String>,
    /// What keeps the program of `run` from running.
    program_problem: Option<String>,
    control_interface: Option<u8>,
}

/// The places of one program at a line, or at both lines of `serial`.
#[must_use = "the program is refused when this is dropped"]
pub struct Offers(Vec<Offer>);

impl Offers {
    /// The program takes them: from now on bytes are delivered.
    pub fn take(self) {
        self.0.into_iter().for_each(Offer::take);
    }
}

/// One line, for `status`.
struct PipeEntry {
    outlet: String,
    address: u8,
    path: PathBuf,
    socket: Option<PathBuf>,
    tty: Option<PathBuf>,
    rfc2217: Option<SocketAddr>,
    tcp: Option<SocketAddr>,
    endpoint: Option<Endpoint>,
    counters: Arc<Counters>,
    problem: Arc<Problem>,
    hub: Arc<Hub>,
}

impl Shared {
    pub(super) fn new(name: &str, timeout: Duration, events: Events) -> Self {
        let (loan, attached) = (Loan::default(), watch::Sender::new(false));
        let tap = Arc::default();
        let (directories, state) = (OnceLock::new(), Mutex::default());
        Self { name: name.to_owned(), timeout, events, loan, attached, tap, directories, state }
    }

    pub(super) fn tell(&self, event: &str, text: impl Into<String>) {
        self.events.tell(event, &self.name, None, text);
    }

    /// A line was made for this outlet.
    pub(super) fn add_pipe(&self, line: &Context, address: u8, path: PathBuf, socket: Option<PathBuf>, hub: &Arc<Hub>) {
        lock(&self.state).pipes.push(PipeEntry {
            outlet: line.outlet.clone(),
            address,
            path,
            socket,
            tty: None,
            rfc2217: None,
            tcp: None,
            endpoint: None,
            counters: line.counters.clone(),
            problem: line.problem.clone(),
            hub: hub.clone(),
        });
    }

    /// The lines whose names begin so share a socket.
    pub(super) fn set_socket(&self, lines: &str, socket: &Path) {
        for pipe in lock(&self.state).pipes.iter_mut().filter(|pipe| pipe.outlet.starts_with(lines)) {
            pipe.socket = Some(socket.to_owned());
        }
    }

    /// The lines whose names begin so share a terminal.
    pub(super) fn set_tty(&self, lines: &str, link: &Path) {
        for pipe in lock(&self.state).pipes.iter_mut().filter(|pipe| pipe.outlet.starts_with(lines)) {
            pipe.tty = Some(link.to_owned());
        }
    }

    /// The names of all lines, and what a program wants of each.
    pub(super) fn lines(&self) -> Vec<(String, Want)> {
        let want = |pipe: &PipeEntry| if pipe.hub.is_in() { Want::Read } else { Want::Write };
        lock(&self.state).pipes.iter().map(|pipe| (pipe.outlet.clone(), want(pipe))).collect()
    }

    /// The serial line has servers at these addresses.
    pub(super) fn set_network(&self, lines: &str, rfc2217: Option<SocketAddr>, tcp: Option<SocketAddr>) {
        for pipe in lock(&self.state).pipes.iter_mut().filter(|pipe| pipe.outlet.starts_with(lines)) {
            (pipe.rfc2217, pipe.tcp) = (rfc2217, tcp);
        }
    }

    /// The hub of this line: `ep_81`, `serial.rx`.
    pub(super) fn hub(&self, line: &str) -> Option<Arc<Hub>> {
        lock(&self.state).pipes.iter().find(|pipe| pipe.outlet == line).map(|pipe| pipe.hub.clone())
    }

    /// Makes the program at the other end of a descriptor a reader or writer of a line, in the line's direction, until
    /// that end is closed; of `serial` both, which takes a socket. This is the one way by which programs get at a device
    /// without opening anything themselves: `exec`, `run` and `admin.sock` make a pair, keep one end and give the other
    /// away.
    ///
    /// ```text
    ///   let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;      // or pipe(2), or a SEQPACKET pair
    ///   shared.adopt("serial", ours.into(), Via::Descriptor, Peer::process(child))?;
    /// ```
    ///
    /// See [`Hub::offer`] for what the descriptor may be, and [`Hub::offer_reader`] and [`Hub::offer_writer`] for ends that
    /// are no such descriptor, like a pty's.
    ///
    /// # Errors
    /// Why the program cannot be let in, in words for its user.
    pub(super) fn adopt(&self, line: &str, fd: Connection, via: Via, peer: Peer) -> Result<(), String> {
        self.offer(line, fd, via, peer).map(Offers::take)
    }

    /// The same in two steps: the program has its place at all lines that it is for, or at none.
    ///
    /// # Errors
    /// As of [`Shared::adopt`].
    pub(super) fn offer(&self, line: &str, fd: Connection, via: Via, peer: Peer) -> Result<Offers, String> {
        let find = |line: &str| self.hub(line).ok_or_else(|| self.no_outlet(line));
        if !is_serial_line(line) {
            let hub = find(line)?;
            let card = hub.admit(via, peer)?;
            return Ok(Offers(vec![hub.offer(fd, card)?]));
        }
        let (into, out) = (find(&format!("{line}.rx"))?, find(&format!("{line}.tx"))?);
        let copy = fd.try_clone().map_err(|e| format!("its descriptor cannot be used as an outlet: {e}"))?;
        let (reader, writer) = (into.admit(via, peer.clone())?, out.admit(via, peer)?);
        Ok(Offers(vec![into.offer(copy, reader)?, out.offer(fd, writer)?]))
    }

    pub(super) fn no_outlet(&self, wanted: &str) -> String {
        let state = lock(&self.state);
        let there: Vec<&str> = state.pipes.iter().map(|pipe| pipe.outlet.as_str()).collect();
        let there = match state.descriptors {
            _ if !there.is_empty() => there.join(", "),
            Some(_) => "none".to_owned(),
            None => "none that are known before it was there; plug it in".to_owned(),
        };
        format!("{} has no outlet {wanted:?}; it has {there}", self.name)
    }

    /// The line of this outlet is bridged to this endpoint now.
    pub(super) fn set_endpoint(&self, outlet: &str, endpoint: Endpoint) {
        for pipe in lock(&self.state).pipes.iter_mut().filter(|p| p.outlet == outlet) {
            pipe.address = endpoint.address;
            pipe.endpoint = Some(endpoint);
        }
    }

    /// What keeps this outlet from being bridged in this session.
    pub(super) fn set_problem(&self, outlet: &str, text: &str) {
        for pipe in lock(&self.state).pipes.iter().filter(|p| p.outlet == outlet) {
            pipe.problem.limits(text, Instant::now());
        }
    }

    /// The program of the serial line cannot be started, or can again. True when that is news.
    pub(super) fn set_program_problem(&self, problem: Option<String>) -> bool {
        let mut state = lock(&self.state);
        let is_news = state.program_problem != problem;
        state.program_problem = problem;
        is_news
    }

    /// What keeps the device from being looked after.
    pub(super) fn set_supervisor_problem(&self, problem: Option<String>) {
        lock(&self.state).supervisor_problem = problem;
    }

    /// Forgets its outlets, which are made anew.
    pub(super) fn start_over(&self) {
        let mut state = lock(&self.state);
        state.pipes.clear();
        state.serials.clear();
        state.program_problem = None;
    }

    /// The session is over, and with it what was wrong in it.
    pub(super) fn clear_problems(&self) {
        lock(&self.state).pipes.iter().for_each(|pipe| pipe.problem.clear());
    }

    /// The device has a serial line with this number, counted from 0.
    pub(super) fn add_serial(&self, nth: usize, serial: Arc<SerialPort>) {
        let serials = &mut lock(&self.state).serials;
        serials.push((nth, serial));
        serials.sort_by_key(|(nth, _)| *nth);
    }

    /// The first serial line.
    pub(super) fn serial(&self) -> Option<Arc<SerialPort>> {
        self.serials().into_iter().next()
    }

    /// All serial lines, in order.
    pub(super) fn serials(&self) -> Vec<Arc<SerialPort>> {
        lock(&self.state).serials.iter().map(|(_, serial)| serial.clone()).collect()
    }

    /// The serial line with this number.
    pub(super) fn serial_line(&self, nth: usize) -> Option<Arc<SerialPort>> {
        lock(&self.state).serials.iter().find(|(known, _)| *known == nth).map(|(_, serial)| serial.clone())
    }

    pub(super) fn attached(&self, device: Arc<dyn UsbDevice>, backend: &'static str, place: String) {
        let mut state = lock(&self.state);
        state.descriptors = Some(device.descriptors().clone());
        if self.tap.is_on() {
            introduce(&device, backend);
        }
        state.device = Some(device);
        state.backend = Some(backend);
        state.place = Some(place);
        state.reason = None;
        state.held = false;
        state.sessions += 1;
        let is_back = state.switching && !state.is_bootloader();
        state.switching &= !is_back;
        drop(state);
        if is_back {
            self.tell("resume", "the board is back from its bootloader");
        }
        self.attached.send_replace(true);
    }

    /// Resolves when a session is there.
    pub(super) async fn is_attached(&self) {
        let _ = self.attached.subscribe().wait_for(|attached| *attached).await;
    }

    /// The serial function of this session.
    pub(super) fn set_function(&self, function: Option<&Function>) {
        lock(&self.state).control_interface = function.map(|f| f.control_interface);
    }

    /// Backend, place and CDC control interface of the last session.
    pub(super) fn last_place(&self) -> Option<(&'static str, String, Option<u8>)> {
        let state = lock(&self.state);
        Some((state.backend?, state.place.clone()?, state.control_interface))
    }

    /// True when this reason is news.
    pub(super) fn detached(&self, reason: String) -> bool {
        self.attached.send_replace(false);
        let mut state = lock(&self.state);
        state.device = None;
        state.reason.replace(reason) != state.reason
    }

    /// The device has gone: for good, as far as anybody knows, or into its bootloader or back, which ends no outlet.
    pub(super) fn how_it_went(&self) -> Phase {
        let was_touched = self.serials().iter().any(|serial| serial.was_touched());
        let mut state = lock(&self.state);
        let switches = was_touched || state.is_bootloader();
        let is_news = switches && !std::mem::replace(&mut state.switching, switches);
        drop(state);
        if is_news {
            self.tell("pause", "the board starts its bootloader: programs that have outlets open wait");
        }
        if switches { Phase::Released } else { Phase::Gone }
    }

    /// Another program has the port, if `held`. True when that is news.
    pub(super) fn set_held(&self, held: bool) -> bool {
        let mut state = lock(&self.state);
        std::mem::replace(&mut state.held, held) != held
    }

    pub(super) fn device(&self) -> Option<Arc<dyn UsbDevice>> {
        lock(&self.state).device.clone()
    }

    pub(super) fn descriptors(&self) -> Option<Arc<Descriptors>> {
        lock(&self.state).descriptors.clone()
    }

    /// Begins a capture of all that crosses from now on, over all sessions to come.
    pub(super) fn capture(&self, limit: u32) -> Result<Capture, Refused> {
        let state = lock(&self.state);
        let capture = self.tap.open(&self.name, &describe(state.descriptors.as_deref()), limit)?;
        if let (Some(device), Some(backend)) = (&state.device, state.backend) {
            introduce(device, backend);
        }
        Ok(capture)
    }

    /// Transfers of all pipes so far, to tell whether anything moved.
    pub(super) fn transfers(&self) -> u64 {
        lock(&self.state).pipes.iter().map(|p| p.counters.transfers()).sum()
    }

    /// Answers one line of the control pipe's text grammar.
    pub(super) async fn answer_control(&self, line: &str) -> Answer {
        let request = match ControlRequest::parse(line) {
            Ok(request) => request,
            Err(error) => return error.into(),
        };
        match self.device() {
            Some(device) => execute(&*device, &request, self.timeout).await,
            None if request == ControlRequest::Status => Answer::Ok("state=searching".to_owned()),
            None => disconnected(&self.name),
        }
    }

    /// Answers one binary message: a status byte and what was received.
    pub(super) async fn answer_binary(&self, message: &[u8]) -> Vec<u8> {
        let refuse = |name: ErrorName| vec![name.status_byte()];
        let request = match ControlRequest::parse_binary(message) {
            Ok(request) => request,
            Err(RequestError { name, .. }) => return refuse(name),
        };
        let Some(device) = self.device() else { return refuse(error_name(TransferError::Disconnected)) };
        match transfer(&*device, &request, self.timeout).await {
            Ok(data) => [vec![0], data].concat(),
            Err(e) => refuse(error_name(e)),
        }
    }

    /// Answers one line of the serial grammar, for the first serial line.
    pub(super) async fn answer_serial(self: &Arc<Self>, line: &str) -> Answer {
        self.answer_serial_of(self.serial(), line).await
    }

    /// Answers one line of the serial grammar, for this serial line.
    pub(super) async fn answer_serial_of(self: &Arc<Self>, serial: Option<Arc<SerialPort>>, line: &str) -> Answer {
        let request = match SerialRequest::parse(line) {
            Ok(request) => request,
            Err(error) => return error.into(),
        };
        match (&request, serial) {
            (SerialRequest::Release, _) => self.release().await,
            (SerialRequest::Reclaim, _) => self.reclaim(),
            (_, Some(serial)) => serial.execute(&request).await,
            (_, None) => {
                let text = format!(
                    "{} has no serial function; `usbpipe control` takes requests of the control pipe",
                    self.name
                );
                Answer::Error { name: ErrorName::Invalid, text }
            }
        }
    }

    pub(super) fn status(&self) -> DeviceStatus {
        let state = lock(&self.state);
        let d = state.descriptors.as_deref();
        let borrower = self.loan.borrower();
        let phase = match (&state.device, &borrower) {
            (Some(_), _) => "attached",
            (None, Some(_)) => "released",
            (None, None) if state.held => "leased",
            (None, None) => "searching",
        };
        DeviceStatus {
            name: self.name.clone(),
            problem: state.problem(),
            state: phase.to_owned(),
            reason: borrower.map(|name| format!("released to {name}")).or_else(|| state.reason.clone()),
            id: d.map(|d| format!("{:04x}:{:04x}", d.vendor_id, d.product_id)),
            board: d.and_then(|d| board_name(d.vendor_id, d.product_id)),
            product: d.and_then(|d| d.product.clone()),
            serial: d.and_then(|d| d.serial_number.clone()),
            speed: d.map(|d| d.speed.to_string()),
            backend: state.backend.map(str::to_owned),
            place: state.place.clone(),
            sessions: state.sessions,
            pipes: state.pipes.iter().map(PipeEntry::status).collect(),
        }
    }
}

impl State {
    fn problem(&self) -> Option<String> {
        let held = self.reason.clone().filter(|_| self.held);
        let serial = self.serials.iter().find_map(|(_, serial)| serial.problem());
        let all: Vec<String> = [self.supervisor_problem.clone(), held, self.program_problem.clone(), serial]
            .into_iter()
            .flatten()
            .collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    fn is_bootloader(&self) -> bool {
        self.descriptors.as_ref().is_some_and(|d| is_bootloader(d.vendor_id, d.product_id))
    }
}

impl PipeEntry {
    fn status(&self) -> PipeStatus {
        PipeStatus {
            outlet: self.outlet.clone(),
            endpoint: format!("{:#04x}", self.address),
            direction: if self.address & 0x80 != 0 { "in" } else { "out" }.to_owned(),
            transfer_type: self.endpoint.map(|e| e.transfer_type.to_string()),
            max_packet_size: self.endpoint.map(|e| e.max_packet_size),
            packets_per_microframe: self.endpoint.map_or(1, |e| e.packets_per_microframe),
            path: self.path.display().to_string(),
            socket: self.socket.as_ref().map(|path| path.display().to_string()),
            tty: self.tty.as_ref().map(|path| path.display().to_string()),
            rfc2217: self.rfc2217.map(|address| address.to_string()),
            tcp: self.tcp.map(|address| address.to_string()),
            clients: self.hub.clients(),
            problem: self.problem.show(self.counters.transfers()),
            counters: self.counters.snapshot(),
        }
    }
}

/// Has its descriptors captured. A port of the operating system has none to ask for.
fn introduce(device: &Arc<dyn UsbDevice>, backend: &str) {
    if backend != "serial" {
        tokio::spawn(capture::introduce(device.clone()));
    }
}

/// What a capture says of its device, if that was seen already.
fn describe(descriptors: Option<&Descriptors>) -> String {
    let Some(d) = descriptors else { return String::new() };
    let product = d.product.as_deref().unwrap_or("no product string");
    format!("{:04x}:{:04x} {product:?}, {} speed", d.vendor_id, d.product_id, d.speed)
}

/// The file name of an endpoint's outlet.
pub(super) fn outlet_name(address: u8) -> String {
    name::endpoint_file(address)
}
