//! One device's keeper: see the drawing in [`super`].

use std::collections::BTreeSet;
use std::future::pending;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_seqpacket::UnixSeqpacketListener;

use super::arrivals::Arrivals;
use super::backoff::Backoff;
use super::claim::Claim;
use super::follow::Follow;
use super::hub::{Hub, Rules, Via};
use super::in_line::InLine;
use super::journal::Journal;
use super::late::Late;
use super::lent::{self, LENT_PORT, LentPort};
use super::line::{Attachment, Context, NEWS_DELAY, Phase, Stop, stopped};
use super::locate::{Found, Own};
use super::out_line::OutLine;
use super::port_watch::PortWatch;
use super::serial::SerialPort;
use super::shared::{Shared, outlet_name};
use super::terminals::TTY;
use super::{DeviceStatus, Events, device_json, doors, plan, sockets, terminals};
use crate::capture::{Capture, Refused};
use crate::config::{DeviceConfig, Framing, OutletKind, PipeConfig, SerialConfig, Unplug, Writers};
use crate::outlet::tty::{Place, TtyListener};
use crate::outlet::{self, Access, Dir, DirError, InFifo, Listener, OutFifo, Peer, SocketKind, Watcher};
use crate::request::{Answer, control};
use crate::serial::{Function, board_name};
use crate::usb::descriptors::{Descriptors, Endpoint};
use crate::usb::{OpenError, TransferError, UsbDevice};

/// What all keepers of a daemon share.
#[derive(Clone)]
pub struct Surroundings {
    /// The run dir.
    pub dir: Arc<Dir>,
    /// Tells of opened and closed FIFOs.
    pub watcher: Watcher,
    /// Where events are told.
    pub events: Events,
    /// This machine's own devices.
    pub own: Own,
    /// Kernel drivers that were sent away, for the next daemon if this one is killed.
    pub journal: Arc<Journal>,
}

/// The daemon's hold on one device.
pub struct Handle {
    config: DeviceConfig,
    pub(super) shared: Arc<Shared>,
    pub(super) own: Own,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Keeps one device: its directory, its lines and its sessions.
pub struct Keeper {
    config: DeviceConfig,
    surroundings: Surroundings,
    dir: Dir,
    shared: Arc<Shared>,
    stop: Stop,
    lines: Vec<LineSlot>,
    /// Everything that runs for this device beside the keeper.
    tasks: JoinSet<()>,
    doors: JoinSet<()>,
    /// Watches the kernel's port of the device, while it is open or another program has it.
    port_watch: Option<PortWatch>,
    /// The board of the last session.
    follow: Follow,
    /// Names to remove at the end.
    entries: Vec<String>,
}

/// Where a line gets its attachments.
struct LineSlot {
    outlet: String,
    attachments: watch::Sender<Option<Attachment>>,
}

/// An endpoint that is about to be bridged.
struct Bridged {
    outlet: String,
    interface: u8,
    setting: u8,
    endpoint: Endpoint,
}

/// What the lines of a session get.
struct Attach {
    device: Arc<dyn UsbDevice>,
    phases: watch::Receiver<Phase>,
    in_use: mpsc::Sender<()>,
}

impl Keeper {
    /// Makes the directory and the outlets that are known already, and starts to look for the device.
    ///
    /// # Errors
    /// [`DirError`] when anything cannot be made.
    pub fn start(config: DeviceConfig, surroundings: Surroundings) -> Result<Handle, DirError> {
        let (stop, stopping) = watch::channel(false);
        let shared = Arc::new(Shared::new(&config.name, config.timeout, surroundings.events.clone()));
        let dir = surroundings.dir.subdir(&config.name, &access(&config.access))?;
        let mut keeper = Self {
            config: config.clone(),
            surroundings,
            dir,
            shared: shared.clone(),
            stop: stopping,
            lines: Vec::new(),
            tasks: JoinSet::new(),
            doors: JoinSet::new(),
            port_watch: None,
            follow: Follow::default(),
            entries: Vec::new(),
        };
        if let Err(error) = keeper.make_known_outlets() {
            keeper.remove_entries();
            return Err(error);
        }
        let own = keeper.surroundings.own.clone();
        let task = tokio::spawn(keeper.run());
        Ok(Handle { config, shared, own, stop, task })
    }

    fn make_known_outlets(&mut self) -> Result<(), DirError> {
        self.make_control()?;
        for pipe in self.config.pipes.clone() {
            self.make_line(&outlet_name(pipe.endpoint), &pipe)?;
        }
        if let Some(serial) = self.config.serial.clone() {
            self.make_serial(&serial)?;
        }
        self.write_json();
        Ok(())
    }

    async fn run(mut self) {
        let mut backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
        while !*self.stop.borrow() {
            self.wait_for_return().await;
            let mut arrivals = Arrivals::new(&self.config, &self.surroundings.own);
            let (started, moved) = (Instant::now(), self.shared.transfers());
            let found = tokio::select! {
                found = self.follow.locate(&self.config, &self.surroundings.own) => found,
                () = self.shared.loan.is_wanted() => continue,
                () = stopped(&mut self.stop) => break,
            };
            self.watch_port(&found);
            let ended = match found {
                Ok(found) => self.session(found).await,
                Err(error) => Err(error),
            };
            // A server that breaks every session at once is not to be asked without a pause.
            if ended.is_ok() && (started.elapsed() > SETTLED || self.shared.transfers() > moved) {
                backoff.reset();
            }
            let is_held = matches!(ended, Err(OpenError::Held(..)));
            if let Err(error) = &ended {
                self.explain(error);
            }
            tokio::select! {
                () = arrivals.wait(ended.err(), &mut backoff) => {}
                () = free(&mut self.port_watch, is_held) => {}
                () = self.shared.loan.is_wanted() => {}
                () = stopped(&mut self.stop) => {}
            }
        }
        self.finish().await;
    }

    /// Watches the kernel's port of the device that was found, or the one that another program has.
    fn watch_port(&mut self, found: &Result<Found, OpenError>) {
        let (watcher, last) = (&self.surroundings.watcher, self.port_watch.take());
        self.port_watch = match (found, last) {
            (Err(OpenError::Held(..)), Some(last)) => last.renewed(watcher).ok(),
            (Err(OpenError::Held(_, path)), None) => PortWatch::new(watcher, path).ok(),
            (Ok(found), last) if found.backend == SERIAL => {
                // First, because the kernel has one watch for a node.
                drop(last);
                PortWatch::new(watcher, Path::new(&found.place)).ok()
            }
            _ => None,
        };
    }

    /// Says why there is no device, if that is news.
    fn explain(&self, error: &OpenError) {
        let reason = error.to_string();
        let is_held = matches!(error, OpenError::Held(..));
        let is_news = self.shared.detached(reason.clone());
        if self.shared.set_held(is_held) && is_held {
            let text = "programs that have outlets open wait until it is closed";
            self.shared.tell("pause", format!("waiting for the device: {reason}; {text}"));
        } else if is_news && !is_held {
            self.shared.tell("warning", format!("waiting for the device: {reason}"));
        }
    }

    /// While the device is lent. A borrower that needs a port is served one where the kernel has none.
    async fn wait_for_return(&mut self) {
        let (shared, mut stop) = (self.shared.clone(), self.stop.clone());
        let serves = self.config.remote.is_some() && shared.loan.wants_port();
        let over = pin!(async {
            tokio::select! {
                () = shared.loan.is_returned() => {}
                () = stopped(&mut stop) => {}
            }
        });
        if serves {
            self.serve_lent_port(over).await;
            shared.loan.set_port(None);
            self.dir.remove(LENT_PORT);
        } else {
            over.await;
        }
    }

    async fn serve_lent_port(&mut self, mut over: lent::Over<'_>) {
        let (access, events) = (access(&self.config.access), self.surroundings.events.clone());
        let make = |dir| LentPort::new(dir, access, &self.surroundings.watcher, events, &self.config.name);
        let mut port = match self.dir.try_clone().and_then(make) {
            Ok(port) => port,
            Err(e) => {
                self.shared.tell("error", e.to_string());
                return over.await;
            }
        };
        self.shared.loan.set_port(Some(port.path()));
        let mut backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
        loop {
            let found = tokio::select! {
                found = self.follow.locate(&self.config, &self.surroundings.own) => found,
                () = over.as_mut() => return,
            };
            match found {
                Ok(found) => {
                    backoff.reset();
                    if self.serve_lent_board(&mut port, found, over.as_mut()).await {
                        return;
                    }
                }
                Err(e) => tracing::debug!("{}: the lent port waits for the board: {e}", self.config.name),
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.step()) => {}
                () = over.as_mut() => return,
            }
        }
    }

    /// Until the board goes, or the loan is over: true then.
    async fn serve_lent_board(&mut self, port: &mut LentPort, found: Found, over: lent::Over<'_>) -> bool {
        let Found { device, port: plug, .. } = found;
        let device = self.shared.tap.wrap(device);
        self.follow = Follow::of(device.descriptors(), plug.as_deref());
        let Some(function) = plan::serial_function(&self.config, device.descriptors()) else { return false };
        let profile = self.config.serial.clone().unwrap_or_default().profile;
        let board = lent::Board { device: &device, function, profile: &profile };
        let is_over = tokio::select! {
            is_over = port.serve(&board, over) => is_over,
            _ = device.gone() => false,
        };
        if is_over {
            board.hang_up().await;
        }
        device.give_back().await;
        is_over
    }

    /// From attach to detach.
    async fn session(&mut self, found: Found) -> Result<(), OpenError> {
        let Found { device, backend, place, port, taken: _taken } = found;
        let device = self.shared.tap.wrap(device);
        let descriptors = device.descriptors().clone();
        self.follow = Follow::of(&descriptors, port.as_deref());
        let function = plan::serial_function(&self.config, &descriptors);
        let bridged = self.prepare(&descriptors, function.as_ref());
        let mut stop = self.stop.clone();
        let (shared, journal) = (self.shared.clone(), self.surroundings.journal.clone());
        let detach = self.config.detach;
        let claim = Claim { device: &device, place: &place, shared: &shared, journal: &journal, detach };
        let refused = tokio::select! {
            refused = claim.all(interfaces(&bridged, function.as_ref())) => refused?,
            // A device that does not answer holds up nobody's end.
            () = stopped(&mut stop) => return Ok(()),
        };
        let (missing, bridged): (Vec<_>, Vec<_>) =
            bridged.into_iter().partition(|b| refused.contains_key(&b.interface));
        for b in &missing {
            self.shared.set_problem(&b.outlet, &refused[&b.interface]);
        }
        let (late_function, function) = match function {
            Some(f) if refused.contains_key(&f.control_interface) => (Some(f), None),
            other => (None, other),
        };
        tokio::select! {
            selected = self.select(&device, &bridged) => {
                if selected == Err(TransferError::Disconnected) {
                    let d = &descriptors;
                    let text = format!("{:04x}:{:04x} at {place} went while it was being opened", d.vendor_id, d.product_id);
                    claim.give_back().await;
                    // Not as "not found": it may still be there, and then there is no news to wait for.
                    return Err(OpenError::Unreachable(text, Errno::ENODEV.into()));
                }
            }
            () = stopped(&mut stop) => return Ok(()),
        }
        if self.shared.set_held(false) {
            self.shared.tell("resume", format!("{place} is free again"));
        }
        self.shared.attached(device.clone(), backend, place.clone());
        self.shared.set_function(function.as_ref());
        if let (Some(function), Some(serial)) = (function, self.shared.serial()) {
            tokio::select! {
                () = serial.attach(device.clone(), function) => {}
                () = stopped(&mut stop) => return Ok(()),
            }
        }
        let (phase, phases) = watch::channel(Phase::Attached);
        let (in_use, mut in_use_ended) = mpsc::channel(1);
        let attach = Attach { device: device.clone(), phases, in_use };
        self.attach(bridged, &attach);
        self.write_json();
        self.shared.tell("attach", in_words(&descriptors));

        let mut port_watch = self.port_watch.take();
        let mut held = None;
        let refused = refused.into_keys().collect();
        let ended = tokio::select! {
            () = self.catch_up(&claim, refused, missing, late_function, &attach) => None,
            reason = device.gone() => Some((self.shared.how_it_went(), reason)),
            () = self.shared.loan.is_wanted() => Some((Phase::Released, "released".to_owned())),
            others = opened(&mut port_watch) => {
                let text = format!("{place} is in use by {others}");
                held = Some(OpenError::Held(text.clone(), PathBuf::from(&place)));
                Some((Phase::Released, text))
            }
            () = stopped(&mut stop) => None,
        };
        drop(attach);
        match ended {
            Some((how, reason)) => {
                phase.send_replace(how);
                for line in &self.lines {
                    line.attachments.send_replace(None);
                }
                self.shared.detached(reason.clone());
                self.shared.clear_problems();
                if let Some(serial) = self.shared.serial() {
                    serial.detach().await;
                }
                self.write_json();
                self.shared.tell("detach", reason);
                if how == Phase::Released {
                    // Programs that stopped reading cannot hold the device: transfers are back, see the pumps.
                    in_use_ended.recv().await;
                }
            }
            // Lines flush while the device is still there.
            None => while self.tasks.join_next().await.is_some() {},
        }
        claim.give_back().await;
        let Some(held) = held else { return Ok(()) };
        port_watch.iter_mut().for_each(PortWatch::own_close);
        self.port_watch = port_watch;
        Err(held)
    }

    /// Gives its pipe to each line.
    fn attach(&self, bridged: Vec<Bridged>, attach: &Attach) {
        for Bridged { outlet, endpoint, .. } in bridged {
            self.shared.set_endpoint(&outlet, endpoint);
            let Some(slot) = self.lines.iter().find(|l| l.outlet == outlet) else { continue };
            let Attach { device, phases, in_use } = attach;
            let gate = self.serial_of(&slot.outlet).map(|serial| serial.gate.clone());
            let (device, phase, _in_use) = (device.clone(), phases.clone(), in_use.clone());
            let attachment = Attachment { device, endpoint, phase, gate, _in_use };
            slot.attachments.send_replace(Some(attachment));
        }
    }

    /// Bridges what is `missing`, and the serial function, as soon as others let go of the `refused` interfaces. Ends
    /// only by being dropped.
    async fn catch_up(
        &self,
        claim: &Claim<'_>,
        refused: BTreeSet<u8>,
        mut missing: Vec<Bridged>,
        mut function: Option<Function>,
        attach: &Attach,
    ) {
        let mut late = Late::new(refused);
        loop {
            let interface = late.next(claim, &self.surroundings.own.hotplug).await;
            let (free, rest) = missing.into_iter().partition(|b| b.interface == interface);
            missing = rest;
            // A device that has gone says so by itself.
            let _ = self.select(&attach.device, &free).await;
            if let Some(function) = function.take_if(|f| f.control_interface == interface)
                && let Some(serial) = self.shared.serial()
            {
                serial.attach(attach.device.clone(), function).await;
            }
            self.attach(free, attach);
            self.shared.tell("attach", format!("interface {interface} is free and bridged now"));
        }
    }

    /// Selects the settings that are about to be bridged. One that is refused is told; fails when the device has gone.
    async fn select(&self, device: &Arc<dyn UsbDevice>, bridged: &[Bridged]) -> Result<(), TransferError> {
        let chosen = bridged.iter().map(|b| (b.interface, b.setting));
        for (interface, setting) in plan::alt_settings(chosen, device.descriptors()) {
            match device.set_alt_setting(interface, setting).await {
                Ok(()) => {}
                Err(TransferError::Disconnected) => return Err(TransferError::Disconnected),
                Err(_) if timeout(NEWS_DELAY, device.gone()).await.is_ok() => return Err(TransferError::Disconnected),
                Err(e) => {
                    let text = format!("selecting alternate setting {setting} of interface {interface} failed: {e}");
                    self.shared.tell("error", text);
                }
            }
        }
        Ok(())
    }

    /// Makes the outlets that are missing and says which endpoints can be bridged.
    fn prepare(&mut self, descriptors: &Descriptors, function: Option<&Function>) -> Vec<Bridged> {
        let mut bridged = Vec::new();
        for pipe in plan::pipes(&self.config, descriptors, function) {
            let outlet = outlet_name(pipe.endpoint);
            let Some((place, endpoint)) = descriptors.find_endpoint(pipe.endpoint, pipe.interface, pipe.alt) else {
                self.shared.tell("error", missing_endpoint(&pipe, descriptors));
                continue;
            };
            let (interface, setting) = (place.interface, place.setting);
            if self.ensure(|keeper| keeper.make_line(&outlet, &pipe), &outlet) {
                bridged.push(Bridged { outlet, interface, setting, endpoint });
            }
        }
        match function {
            Some(f) => {
                let serial = plan::serial(&self.config);
                if self.ensure(|keeper| keeper.make_serial(&serial), "serial.rx") {
                    let (interface, setting) = (f.data_interface, f.data_alt);
                    for (outlet, endpoint) in [("serial.rx", f.bulk_in), ("serial.tx", f.bulk_out)] {
                        bridged.push(Bridged { outlet: outlet.into(), interface, setting, endpoint });
                    }
                }
            }
            None if self.config.serial.is_some() => {
                self.shared.tell("error", "the device has no CDC ACM function that could be bridged as a serial line");
            }
            None => {}
        }
        bridged
    }

    /// Makes an outlet unless it stands already.
    fn ensure(&mut self, make: impl FnOnce(&mut Self) -> Result<(), DirError>, outlet: &str) -> bool {
        if self.lines.iter().any(|l| l.outlet == outlet) {
            return true;
        }
        match make(self) {
            Ok(()) => true,
            Err(e) => {
                self.shared.tell("error", e.to_string());
                false
            }
        }
    }

    fn make_line(&mut self, outlet: &str, config: &PipeConfig) -> Result<(), DirError> {
        let is_in = config.is_in();
        let has = |kind| config.outlets.contains(&kind);
        let access = access(&config.access.or(&self.config.access));
        let fifo = match has(OutletKind::Fifo) {
            true => Some(self.make_fifo(outlet, is_in, &access)?),
            false => None,
        };
        let socket = match has(OutletKind::Socket) && !outlet.starts_with(SERIAL_OUTLETS) {
            true => Some(self.listen(outlet, config.framing == Framing::Packet, &access)?),
            false => None,
        };
        let (attachments, receiver) = watch::channel(None);
        let context = Context {
            device: self.config.name.clone(),
            outlet: outlet.to_owned(),
            events: self.surroundings.events.clone(),
            counters: Arc::default(),
            problem: Arc::default(),
            openings: self.serial_of(outlet).map(|serial| serial.openings.clone()),
            eof: self.config.unplug == Unplug::Eof,
            attachments: receiver,
            stop: self.stop.clone(),
        };
        if let Some(openings) = &context.openings {
            openings.add_line(&context.counters);
        }
        let shared_name = if has(OutletKind::Socket) { SERIAL_SOCKET } else { TTY };
        let path = fifo.clone().or_else(|| socket.clone()).unwrap_or_else(|| self.dir.path().join(shared_name));
        let cannot = |e| DirError::from_io(&path, "cannot open", e);
        let watcher = &self.surroundings.watcher;
        let (device, events) = (&self.config.name, &self.surroundings.events);
        let packets = config.framing == Framing::Packet;
        let rules = Rules { packets, exclusive: config.writers == Writers::One };
        if is_in {
            let (hub, arrivals) = Hub::of_in(device, outlet, events, rules);
            let fifo = fifo.map(|path| InFifo::new(path, watcher, packets)).transpose().map_err(cannot)?;
            self.shared.add_pipe(&context, config.endpoint, path.clone(), socket, &hub);
            self.tasks.spawn(InLine::new(context, config.clone(), fifo, hub, arrivals).run());
        } else {
            let (hub, arrivals) = Hub::of_out(device, outlet, events, rules);
            let fifo = fifo.map(|path| OutFifo::new(path, watcher)).transpose().map_err(cannot)?;
            self.shared.add_pipe(&context, config.endpoint, path.clone(), socket, &hub);
            self.tasks.spawn(OutLine::new(context, config.clone(), fifo, &hub, arrivals).run());
        }
        self.lines.push(LineSlot { outlet: outlet.to_owned(), attachments });
        Ok(())
    }

    fn make_fifo(&mut self, name: &str, is_in: bool, access: &Access) -> Result<PathBuf, DirError> {
        let path = self.dir.fifo(name, if is_in { IN_FIFO_MODE } else { OUT_FIFO_MODE }, access)?;
        self.entries.push(name.to_owned());
        Ok(path)
    }

    /// Makes the socket of a line, or of `serial`, and serves it.
    fn listen(&mut self, line: &str, messages: bool, access: &Access) -> Result<PathBuf, DirError> {
        let name = format!("{line}.sock");
        let kind = if messages { SocketKind::Messages } else { SocketKind::Stream };
        let listener = Listener::bind(&self.dir, &name, kind, SOCKET_MODE, access)?;
        self.entries.push(name.clone());
        self.doors.spawn(sockets::serve(listener, line.to_owned(), self.shared.clone()));
        Ok(self.dir.path().join(name))
    }

    /// The serial function of which this is a data outlet.
    fn serial_of(&self, outlet: &str) -> Option<Arc<SerialPort>> {
        self.shared.serial().filter(|_| outlet.starts_with(SERIAL_OUTLETS))
    }

    /// The addresses stand for the directions until the device is there and says which they are.
    fn make_serial(&mut self, config: &SerialConfig) -> Result<(), DirError> {
        let name = &self.config.name;
        let (port, due) = SerialPort::new(name, config, self.surroundings.events.clone());
        let port = Arc::new(port);
        self.shared.set_serial(port.clone());
        self.make_line("serial.rx", &plan::serial_pipe(config, 0x81))?;
        self.make_line("serial.tx", &plan::serial_pipe(config, 0x01))?;
        if config.outlets.contains(&OutletKind::Socket) {
            let access = access(&config.access.or(&self.config.access));
            let socket = self.listen(BOTH_LINES, false, &access)?;
            self.shared.set_socket(SERIAL_OUTLETS, &socket);
        }
        if config.outlets.contains(&OutletKind::Tty) {
            self.make_tty(&port, &access(&config.access.or(&self.config.access)))?;
        }
        self.doors.spawn(port.reset_when_opened(due));
        let listener = self.bind("serial.ctl", UnixListener::bind)?;
        let shared = self.shared.clone();
        self.doors.spawn(doors::serve_text_socket(
            listener,
            SERIAL_LINE,
            Arc::new(move |line| {
                let shared = shared.clone();
                Box::pin(async move { shared.answer_serial(&line).await })
            }),
        ));
        Ok(())
    }

    /// Makes the terminal of a serial function, and serves whoever opens it.
    fn make_tty(&mut self, port: &Arc<SerialPort>, access: &Access) -> Result<(), DirError> {
        let place = Place { dir: self.dir.try_clone()?, name: TTY.to_owned(), access: access.clone() };
        let settings = *port.shown.borrow();
        let listener = TtyListener::new(place, settings, &self.surroundings.watcher)?;
        self.entries.push(TTY.to_owned());
        self.shared.set_tty(SERIAL_OUTLETS, &listener.path());
        let (shared, stop) = (self.shared.clone(), self.stop.clone());
        self.tasks.spawn(terminals::serve(listener, shared, port.clone(), stop));
        Ok(())
    }

    fn make_control(&mut self) -> Result<(), DirError> {
        let access = access(&self.config.access);
        let request = self.dir.fifo("ep_00.request", OUT_FIFO_MODE, &access)?;
        self.entries.push("ep_00.request".into());
        let response = self.dir.fifo("ep_00.response", IN_FIFO_MODE, &access)?;
        self.entries.push("ep_00.response".into());
        let (source, answers) =
            doors::open_text_fifos(&request, &response).map_err(|e| DirError::from_io(&request, "cannot open", e))?;
        let shared = self.shared.clone();
        let answer: doors::AnswerText = Arc::new(move |line| {
            let shared = shared.clone();
            Box::pin(async move { shared.answer_control(&line).await })
        });
        self.doors.spawn(doors::serve_text(source, answers, control::MAX_LINE, answer));
        let listener = self.bind("ep_00.sock", UnixSeqpacketListener::bind)?;
        let shared = self.shared.clone();
        let answer: doors::AnswerBinary = Arc::new(move |message| {
            let shared = shared.clone();
            Box::pin(async move { shared.answer_binary(&message).await })
        });
        self.doors.spawn(doors::serve_binary_socket(listener, BINARY_MESSAGE, answer));
        Ok(())
    }

    fn bind<T>(&mut self, name: &str, bind: impl FnOnce(PathBuf) -> std::io::Result<T>) -> Result<T, DirError> {
        let path = self.dir.socket_path(name)?;
        let listener = bind(path.clone()).map_err(|e| DirError::from_io(&path, "cannot bind the socket", e))?;
        self.entries.push(name.to_owned());
        self.dir.set_access(name, SOCKET_MODE, &access(&self.config.access))?;
        Ok(listener)
    }

    fn write_json(&mut self) {
        let json = device_json::render(&self.shared.status(), self.shared.descriptors().as_deref());
        match self.dir.write_file("device.json", &json) {
            Ok(()) if !self.entries.iter().any(|e| e == "device.json") => self.entries.push("device.json".into()),
            Ok(()) => {}
            Err(e) => self.shared.tell("error", e.to_string()),
        }
    }

    /// Waits for the lines, which flush, and removes what was made.
    async fn finish(mut self) {
        while self.tasks.join_next().await.is_some() {}
        self.doors.shutdown().await;
        // Clients of the sockets may stay connected; what they share no longer holds the device.
        self.shared.detached("the daemon no longer bridges it".to_owned());
        if let Some(serial) = self.shared.serial() {
            serial.detach().await;
        }
        self.shared.loan.set_free();
        self.shared.tap.close(CAPTURE_PATIENCE).await;
        self.remove_entries();
    }

    fn remove_entries(&mut self) {
        for entry in self.entries.drain(..) {
            self.dir.remove(&entry);
        }
        // Also what an earlier daemon left for endpoints that the device no longer has.
        self.dir.clear();
        self.surroundings.dir.remove_subdir(&self.config.name);
    }
}

impl Handle {
    /// The device's name.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// What it was started with.
    pub fn config(&self) -> &DeviceConfig {
        &self.config
    }

    /// Its state and counters.
    pub fn status(&self) -> DeviceStatus {
        self.shared.status()
    }

    /// Answers one request of the control pipe; the future does not borrow the handle.
    pub fn control(&self, line: String) -> impl Future<Output = Answer> + Send + use<> {
        let shared = self.shared.clone();
        async move { shared.answer_control(&line).await }
    }

    /// Answers one request of the serial line.
    pub fn serial(&self, line: String) -> impl Future<Output = Answer> + Send + use<> {
        let shared = self.shared.clone();
        async move { shared.answer_serial(&line).await }
    }

    /// Makes the program at the other end of a descriptor one of this outlet, see `Shared::adopt`.
    ///
    /// # Errors
    /// Why it cannot be let in, in words for its user.
    pub fn adopt(&self, outlet: &str, fd: OwnedFd, peer: Peer) -> Result<(), String> {
        self.shared.adopt(outlet, fd, Via::Descriptor, peer)
    }

    /// Begins a capture of all that crosses, with records of at most `limit` bytes.
    ///
    /// # Errors
    /// [`Refused`] when too many run already.
    pub fn capture(&self, limit: u32) -> Result<Capture, Refused> {
        self.shared.capture(limit)
    }

    /// Ends in order: flushes, removes the outlets.
    pub async fn end(self) {
        self.stop.send_replace(true);
        let _ = self.task.await;
    }
}

/// What a device says of itself, and what is known of it.
fn in_words(d: &Descriptors) -> String {
    let product = d.product.as_deref().unwrap_or("no product string");
    let board = board_name(d.vendor_id, d.product_id).map_or_else(String::new, |name| format!(", {name}"));
    format!("{:04x}:{:04x} {product:?}, {} speed{board}", d.vendor_id, d.product_id, d.speed)
}

/// Resolves when another program has opened the port that is watched.
async fn opened(port_watch: &mut Option<PortWatch>) -> String {
    match port_watch {
        Some(port_watch) => port_watch.opened().await,
        None => pending().await,
    }
}

/// Resolves when a port that is held may be free. Where the kernel grants no watch, time tells.
async fn free(port_watch: &mut Option<PortWatch>, is_held: bool) {
    match port_watch {
        Some(port_watch) if is_held => port_watch.is_free().await,
        None if is_held => tokio::time::sleep(LONGEST_RETRY).await,
        _ => pending().await,
    }
}

/// The interfaces that are needed, each once.
fn interfaces(bridged: &[Bridged], function: Option<&Function>) -> BTreeSet<u8> {
    let control = function.map(|f| f.control_interface);
    bridged.iter().map(|b| b.interface).chain(control).collect()
}

fn missing_endpoint(pipe: &PipeConfig, descriptors: &Descriptors) -> String {
    let mut there: Vec<String> = Vec::new();
    for setting in &descriptors.alt_settings {
        for endpoint in &setting.endpoints {
            there.push(format!("{:#04x} (interface {}, alt {})", endpoint.address, setting.interface, setting.setting));
        }
    }
    let there = if there.is_empty() { "none but the control pipe".to_owned() } else { there.join(", ") };
    format!("the device has no endpoint {:#04x} as configured; it has {there}", pipe.endpoint)
}

fn access(config: &crate::config::Access) -> Access {
    outlet::Access { owner: config.owner.clone(), group: config.group.clone(), mode: config.mode }
}

/// The backend of the kernel's ports.
const SERIAL: &str = "serial";
/// A session of this length was one, even if nothing moved.
const SETTLED: Duration = Duration::from_secs(1);
/// How long the end waits for somebody who does not read a capture.
const CAPTURE_PATIENCE: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_millis(20);
const LONGEST_RETRY: Duration = Duration::from_secs(1);
const IN_FIFO_MODE: u32 = 0o640;
const OUT_FIFO_MODE: u32 = 0o620;
const SOCKET_MODE: u32 = 0o660;
/// What the names of all data outlets of a serial function begin with.
const SERIAL_OUTLETS: &str = "serial.";
/// The socket of both of its lines together.
const SERIAL_SOCKET: &str = "serial.sock";
/// What stands for both of its lines.
const BOTH_LINES: &str = "serial";
/// The longest request of a serial line is far shorter.
const SERIAL_LINE: usize = 256;
/// A setup packet and the longest data stage.
const BINARY_MESSAGE: usize = 8 + 65535;
