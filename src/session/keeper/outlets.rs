//! The outlets of one device: makes them, hands pipes to their lines, and removes them. It knows of no session.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Surroundings;
use super::lines::Parts;
use super::stand::common_outlet;
use crate::config::{self, DeviceConfig, Framing, PipeConfig, SerialConfig, Unplug, Writers};
use crate::name::{line_of_outlet, serial_line};
use crate::outlet::tty::{self, TtyListener};
use crate::outlet::{self, Access, Dir, DirError, Node};
use crate::session::admission::Directories;
use crate::session::hub::{Hub, Rules, Via};
use crate::session::line::{Attachment, Context, Stop};
use crate::session::network::{NetworkLine, Server};
use crate::session::program::Presence;
use crate::session::serial::SerialPort;
use crate::session::shared::{Shared, outlet_name};
use crate::session::terminals::TTY;
use crate::session::{device_json, doors, plan, terminals};
use crate::usb::{Prompt, caught};

/// What stands in the run dir for a device, and what serves it.
pub(super) struct Outlets {
    pub(super) config: Arc<DeviceConfig>,
    pub(super) surroundings: Surroundings,
    pub(super) dir: Dir,
    pub(super) shared: Arc<Shared>,
    pub(super) stop: Stop,
    lines: Vec<Slot>,
    /// The lines and what else must come to its end by itself.
    pub(super) tasks: JoinSet<()>,
    /// What is simply dropped at the end.
    pub(super) doors: JoinSet<()>,
    /// Names to remove at the end.
    pub(super) entries: Vec<String>,
    /// Tells the serial line's program when to run.
    pub(super) presence: Presence,
    /// What tasks that look after it ended by, which they should not.
    failures: UnboundedSender<String>,
    reported: Option<UnboundedReceiver<String>>,
}

/// The outlets that are a line's alone.
pub(super) struct Standing {
    pub(super) fifo: Option<Node>,
    /// A socket, or a named pipe of Windows.
    pub(super) socket: Option<PathBuf>,
}

/// Where a line gets its attachments.
struct Slot {
    outlet: String,
    attachments: watch::Sender<Option<Attachment>>,
}

impl Outlets {
    /// Makes the device's directory and the outlets that are known without it.
    ///
    /// # Errors
    /// [`DirError`] when anything cannot be made; nothing is left behind then.
    pub(super) fn make(
        config: Arc<DeviceConfig>,
        surroundings: Surroundings,
        shared: Arc<Shared>,
        stop: Stop,
    ) -> Result<Self, DirError> {
        let dir = surroundings.dir.subdir(&config.name, &access(&config.access))?;
        let _ = shared.directories.set(Directories { run_dir: Dir::clone(&surroundings.dir), dir: dir.clone() });
        let (failures, reported) = mpsc::unbounded_channel();
        let mut outlets = Self {
            config,
            surroundings,
            dir,
            shared,
            stop,
            lines: Vec::new(),
            tasks: JoinSet::new(),
            doors: JoinSet::new(),
            entries: Vec::new(),
            presence: Presence::default(),
            failures,
            reported: Some(reported),
        };
        match outlets.make_known().and_then(|()| outlets.spare_descriptors()) {
            Ok(()) => Ok(outlets),
            Err(error) => {
                outlets.remove();
                Err(error)
            }
        }
    }

    /// What tasks of it end by from now on. To be asked for once.
    pub(super) fn failures(&mut self) -> UnboundedReceiver<String> {
        self.reported.take().unwrap_or_else(|| mpsc::unbounded_channel().1)
    }

    /// A device must not take the last descriptors.
    fn spare_descriptors(&self) -> Result<(), DirError> {
        let few = |e| DirError::from_io(self.dir.path(), "its outlets would take the last descriptors", e);
        outlet::check_descriptors().map_err(few)
    }

    /// Runs something that must not end by itself, and is dropped at the end.
    pub(super) fn serve(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.doors.spawn(noticed(task, self.failures.clone()));
    }

    /// Runs something that comes to its end when the daemon stops.
    fn attend(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(noticed(task, self.failures.clone()));
    }

    fn make_known(&mut self) -> Result<(), DirError> {
        self.make_control()?;
        for pipe in self.config.pipes.clone() {
            self.make_line(&outlet_name(pipe.endpoint), &pipe)?;
        }
        for (nth, serial) in self.config.clone().serial_lines() {
            self.make_serial(nth, serial)?;
        }
        self.write_json();
        Ok(())
    }

    /// Makes the line of an endpoint unless it stands already; false, and told, when that cannot be.
    pub(super) fn ensure_line(&mut self, outlet: &str, pipe: &PipeConfig) -> bool {
        self.ensure(outlet, |outlets| outlets.make_line(outlet, pipe))
    }

    /// The same for everything of a serial function.
    pub(super) fn ensure_serial(&mut self, nth: usize) -> bool {
        let serial = plan::serial(&self.config, nth);
        self.ensure(&serial_in(nth), |outlets| outlets.make_serial(nth, &serial))
    }

    fn ensure(&mut self, outlet: &str, make: impl FnOnce(&mut Self) -> Result<(), DirError>) -> bool {
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

    /// Gives a pipe to the line of this outlet.
    pub(super) fn attach(&self, outlet: &str, mut attachment: Attachment) {
        self.shared.set_endpoint(outlet, attachment.endpoint);
        let Some(slot) = self.lines.iter().find(|l| l.outlet == outlet) else { return };
        attachment.gate = self.serial_of(outlet).map(|serial| serial.gate.clone());
        slot.attachments.send_replace(Some(attachment));
    }

    /// Takes the pipes from all lines.
    pub(super) fn detach(&self) {
        for line in &self.lines {
            line.attachments.send_replace(None);
        }
    }

    /// Waits for the ends of the lines, which flush. They end when the daemon stops.
    pub(super) async fn flushed(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    fn make_line(&mut self, outlet: &str, config: &PipeConfig) -> Result<(), DirError> {
        let is_in = config.is_in();
        let access = access(&config.access.or(&self.config.access));
        let Standing { fifo, socket } = self.make_own_outlets(outlet, config, &access)?;
        let (attachments, receiver) = watch::channel(None);
        let context = Context {
            device: self.config.name.clone(),
            outlet: outlet.to_owned(),
            events: self.surroundings.events.clone(),
            counters: Arc::default(),
            problem: Arc::default(),
            state: Arc::new(self.surroundings.tasks.add(Some(&self.config.name), outlet, "absent", "the device")),
            openings: self.serial_of(outlet).map(|serial| serial.openings.clone()),
            eof: self.config.unplug == Unplug::Eof,
            attachments: receiver,
            stop: self.stop.clone(),
        };
        let path = fifo.as_ref().map(|node| node.path().to_owned()).or_else(|| socket.clone());
        let path = path.unwrap_or_else(|| self.dir.path().join(common_outlet(outlet, &config.outlets)));
        let cannot = |e| DirError::from_io(&path, "cannot open", e);
        let (device, events) = (&self.config.name, &self.surroundings.events);
        let packets = config.framing == Framing::Packet;
        let rules = Rules { packets, exclusive: config.writers == Writers::One, transfer: config.longest_transfer() };
        let watcher = self.surroundings.watcher.clone();
        let parts = |hub| Parts { context, config: config.clone(), hub, fifo, watcher };
        if is_in {
            let (hub, arrivals) = Hub::of_in(device, outlet, events, rules);
            let parts = parts(hub);
            let fifo = parts.in_fifo().map_err(cannot)?;
            self.shared.add_pipe(&parts.context, config.endpoint, path.clone(), socket, &parts.hub);
            self.tasks.spawn(Prompt::new(parts.read(fifo, arrivals)));
        } else {
            let (hub, arrivals) = Hub::of_out(device, outlet, events, rules);
            let parts = parts(hub);
            let fifo = parts.out_fifo().map_err(cannot)?;
            self.shared.add_pipe(&parts.context, config.endpoint, path.clone(), socket, &parts.hub);
            self.tasks.spawn(Prompt::new(parts.write(fifo, arrivals)));
        }
        self.lines.push(Slot { outlet: outlet.to_owned(), attachments });
        Ok(())
    }

    /// The serial function of which this is a data outlet.
    fn serial_of(&self, outlet: &str) -> Option<Arc<SerialPort>> {
        let line = line_of_outlet(outlet)?;
        self.shared.serials().into_iter().find(|serial| serial.line == line)
    }

    /// The addresses stand for the directions until the device is there and says which they are.
    fn make_serial(&mut self, nth: usize, config: &SerialConfig) -> Result<(), DirError> {
        let name = &self.config.name;
        let (events, stop) = (self.surroundings.events.clone(), self.stop.clone());
        let (port, due) = SerialPort::new(name, &serial_line(nth), config, events, stop);
        let port = Arc::new(port);
        self.shared.add_serial(nth, port.clone());
        self.make_line(&serial_in(nth), &plan::serial_pipe(config, 0x81))?;
        self.make_line(&serial_out(nth), &plan::serial_pipe(config, 0x01))?;
        self.serve(port.clone().reset_when_opened(due));
        if let Some(program) = config.run.clone() {
            let dir = self.surroundings.dir.path();
            let line = port.line.clone();
            let attendant = self.presence.attendant(program, line, dir, &self.shared, &self.stop);
            self.attend(attendant.run());
        }
        self.make_serial_outlets(&port, config)?;
        self.listen_on_network(&port, config)
    }

    /// Starts the servers of a serial line on TCP.
    fn listen_on_network(&mut self, port: &Arc<SerialPort>, config: &SerialConfig) -> Result<(), DirError> {
        let line = NetworkLine::new(&self.shared, port, &config.network);
        let mut listen = |address: Option<SocketAddr>, via: Via| -> Result<Option<SocketAddr>, DirError> {
            let Some(address) = address else { return Ok(None) };
            let path = self.dir.path().join(port.outlet(via.kind()));
            let server = Server::bind(address, via, line.clone());
            let server = server.map_err(|e| DirError::from_io(&path, "cannot listen for network clients", e))?;
            let address = server.address();
            self.doors.spawn(server.run());
            Ok(address)
        };
        let rfc2217 = listen(config.network.rfc2217, Via::Rfc2217)?;
        let tcp = listen(config.network.tcp, Via::Tcp)?;
        self.shared.set_network(&port.outlet(""), rfc2217, tcp);
        Ok(())
    }

    /// Makes the terminal of a serial function, and serves whoever opens it.
    pub(super) fn make_tty(&mut self, port: &Arc<SerialPort>, access: &Access) -> Result<(), DirError> {
        let name = port.outlet(TTY);
        let place = tty::Place { dir: self.dir.clone(), name: name.clone(), access: access.clone() };
        let settings = *port.shown.borrow();
        let listener = TtyListener::new(place, settings, &self.surroundings.watcher)?;
        self.entries.push(name);
        self.shared.set_tty(&port.outlet(""), &listener.path());
        let (shared, stop) = (self.shared.clone(), self.stop.clone());
        self.attend(terminals::serve(listener, shared, port.clone(), stop));
        Ok(())
    }

    /// What answers lines of the control pipe's text.
    pub(super) fn control_text(&self) -> doors::AnswerText {
        let shared = self.shared.clone();
        Arc::new(move |line| {
            let shared = shared.clone();
            Box::pin(async move { shared.answer_control(&line).await })
        })
    }

    /// What answers binary messages of the control pipe.
    pub(super) fn control_binary(&self) -> doors::AnswerBinary {
        let shared = self.shared.clone();
        Arc::new(move |message| {
            let shared = shared.clone();
            Box::pin(async move { shared.answer_binary(&message).await })
        })
    }

    /// What answers lines of line control.
    pub(super) fn serial_text(&self, port: &Arc<SerialPort>) -> doors::AnswerText {
        let (shared, port) = (self.shared.clone(), port.clone());
        Arc::new(move |line| {
            let (shared, port) = (shared.clone(), port.clone());
            Box::pin(async move { shared.answer_serial_of(Some(port), &line).await })
        })
    }

    /// Writes what is known of the device for others to read.
    pub(super) fn write_json(&mut self) {
        let json = device_json::render(&self.shared.status(), self.shared.descriptors().as_deref());
        match self.dir.write_file("device.json", &json, JSON_MODE, &access(&self.config.access)) {
            Ok(()) if !self.entries.iter().any(|e| e == "device.json") => self.entries.push("device.json".into()),
            Ok(()) => {}
            Err(e) => self.shared.tell("error", e.to_string()),
        }
    }

    /// Serves nobody any more.
    pub(super) async fn close(&mut self) {
        self.doors.shutdown().await;
    }

    /// Removes what was made.
    pub(super) fn remove(&mut self) {
        for entry in self.entries.drain(..) {
            self.dir.remove(&entry);
        }
        // Also what an earlier daemon left for endpoints that the device no longer has.
        self.dir.clear();
        self.surroundings.dir.remove_subdir(&self.config.name);
    }
}

/// Has it noticed when a task panics.
async fn noticed(task: impl Future<Output = ()>, failures: UnboundedSender<String>) {
    if let Err(error) = caught(task).await {
        let _ = failures.send(error);
    }
}

pub(super) fn access(config: &config::Access) -> Access {
    let config::Access { owner, group, mode, sddl } = config.clone();
    Access { owner, group, mode, sddl }
}

/// The outlet for what the serial function with this number receives.
pub(super) fn serial_in(nth: usize) -> String {
    serial_line(nth) + ".rx"
}

/// The outlet for what it sends.
pub(super) fn serial_out(nth: usize) -> String {
    serial_line(nth) + ".tx"
}

/// As of IN FIFOs: who may read from the device may know what it is.
const JSON_MODE: u32 = 0o640;
/// The longest request of a serial line is far shorter.
pub(super) const SERIAL_LINE: usize = 256;
/// A setup packet and the longest data stage.
pub(super) const BINARY_MESSAGE: usize = 8 + 65535;
