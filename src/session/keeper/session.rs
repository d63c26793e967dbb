//! One session of a keeper's device: takes its interfaces, gives its pipes to the lines, and puts everything back.

use std::collections::BTreeSet;
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::Keeper;
use super::outlets::{serial_in, serial_out};
use crate::config::PipeConfig;
use crate::name::{line_of_outlet, serial_line};
use crate::serial::{Function, board_name};
use crate::session::claim::Claim;
use crate::session::follow::Follow;
use crate::session::late::Late;
use crate::session::line::{Attachment, NEWS_DELAY, Phase, stopped};
use crate::session::locate::Found;
use crate::session::passed_over;
use crate::session::plan;
use crate::session::port_watch::PortWatch;
use crate::session::shared::outlet_name;
use crate::usb::descriptors::{Descriptors, Endpoint};
use crate::usb::{OpenError, TransferError, UsbDevice};

/// An endpoint that is about to be bridged.
struct Bridged {
    outlet: String,
    interface: u8,
    setting: u8,
    endpoint: Endpoint,
}

/// What others have of the device, to be bridged when they let go of it.
struct Missing {
    interfaces: BTreeSet<u8>,
    bridged: Vec<Bridged>,
    functions: Vec<(usize, Function)>,
}

/// What the lines of a session get.
struct Attach {
    device: Arc<dyn UsbDevice>,
    phases: watch::Receiver<Phase>,
    in_use: mpsc::Sender<()>,
}

/// Why a session is over although the daemon goes on.
struct Ended {
    how: Phase,
    reason: String,
    /// Another program has opened the kernel's port of the device.
    is_held: bool,
}

/// How long a device may take at the daemon's end, once everything has been flushed, to give back what is in flight.
const CANCELLING: Duration = Duration::from_secs(1);

impl Keeper {
    /// From attach to detach.
    ///
    /// # Errors
    /// Why the device could not be taken, or that another program has its port now.
    pub(super) async fn session(&mut self, found: Found) -> Result<(), OpenError> {
        let Found { device, backend, place, port, taken: _taken } = found;
        let device = self.shared.tap.wrap(device);
        self.follow = Follow::of(device.descriptors(), port.as_deref());
        let (shared, journal, detach) = (self.shared.clone(), self.surroundings.journal.clone(), self.config.detach);
        let claim = Claim { device: &device, place: &place, shared: &shared, journal: &journal, detach };
        let mut stop = self.stop.clone();
        self.state.set("attaching", "the device to answer");
        let (bridged, missing) = tokio::select! {
            taken = self.take(&claim, backend) => taken?,
            // A device that does not answer holds up nobody's end.
            () = stopped(&mut stop) => return Ok(()),
        };
        let (phase, phases) = watch::channel(Phase::Attached);
        let (in_use, mut in_use_ended) = mpsc::channel(1);
        let attach = Attach { device: device.clone(), phases, in_use };
        bridged.iter().for_each(|b| self.shared.set_endpoint(&b.outlet, b.endpoint));
        self.outlets.write_json();
        // Before any byte: who listens to both is to know where the session begins.
        self.shared.tell("attach", in_words(device.descriptors()));
        self.emit_remarks(device.descriptors());
        self.attach(bridged, &attach);

        self.state.set("attached", "the device to go");
        let mut port_watch = self.port_watch.take();
        let ended = self.until_over(&claim, missing, &attach, &mut port_watch).await;
        drop(attach);
        match &ended {
            Some(ended) => {
                phase.send_replace(ended.how);
                self.detach(ended).await;
                if ended.how == Phase::Released {
                    self.state.set("releasing", "transfers to come back");
                    // Programs that stopped reading cannot hold the device: transfers are back, see the pumps.
                    in_use_ended.recv().await;
                }
            }
            // Lines flush while the device is still there, and then cancel what is in flight.
            None => {
                device.end_within(self.config.longest_flush() + CANCELLING);
                self.state.set("ending", "its outlets to be flushed");
                self.outlets.flushed().await;
            }
        }
        self.state.set("detaching", "the device's interfaces to be given back");
        claim.give_back().await;
        let Some(Ended { is_held: true, reason, .. }) = ended else { return Ok(()) };
        port_watch.iter_mut().for_each(PortWatch::own_close);
        self.port_watch = port_watch;
        Err(OpenError::Held(reason, PathBuf::from(place)))
    }

    /// Claims the interfaces and sets them up. Returns what can be bridged, and what others have.
    async fn take(&mut self, claim: &Claim<'_>, backend: &'static str) -> Result<(Vec<Bridged>, Missing), OpenError> {
        let Claim { device, place, .. } = *claim;
        let d = device.descriptors();
        let functions = plan::serial_functions(&self.config, d);
        let bridged = self.prepare(d, &functions);
        let refused = claim.all(interfaces(&bridged, &functions)).await?;
        let (theirs, bridged) = bridged.into_iter().partition::<Vec<_>, _>(|b| refused.contains_key(&b.interface));
        for b in &theirs {
            self.shared.set_problem(&b.outlet, &refused[&b.interface]);
        }
        let (late_functions, functions) =
            functions.into_iter().partition::<Vec<_>, _>(|(_, f)| refused.contains_key(&f.control_interface));
        if self.select(device, &bridged).await.is_err() {
            let text = format!("{:04x}:{:04x} at {place} went while it was being opened", d.vendor_id, d.product_id);
            claim.give_back().await;
            // Not as "not found": it may still be there, and then there is no news to wait for.
            return Err(OpenError::Unreachable(text, std::io::Error::other(TransferError::Disconnected)));
        }
        if self.shared.set_held(false) {
            self.shared.tell("resume", format!("{place} is free again"));
        }
        self.shared.attached(device.clone(), backend, place.to_owned());
        self.shared.set_function(functions.first().map(|(_, function)| function));
        for (nth, function) in functions {
            if let Some(serial) = self.shared.serial_line(nth) {
                serial.attach(device.clone(), function).await;
            }
        }
        let missing = Missing { interfaces: refused.into_keys().collect(), bridged: theirs, functions: late_functions };
        Ok((bridged, missing))
    }

    /// Bridges what was missing as it becomes free. Returns when the session is over, `None` when the daemon stops.
    async fn until_over(
        &self,
        claim: &Claim<'_>,
        missing: Missing,
        attach: &Attach,
        port_watch: &mut Option<PortWatch>,
    ) -> Option<Ended> {
        let mut stop = self.stop.clone();
        let (how, reason, is_held) = tokio::select! {
            () = self.catch_up(claim, missing, attach) => return None,
            reason = attach.device.gone() => (self.shared.how_it_went(), reason, false),
            () = self.shared.loan.is_wanted() => (Phase::Released, "released".to_owned(), false),
            others = opened(port_watch) => (Phase::Released, in_use(claim.place, &others), true),
            () = stopped(&mut stop) => return None,
        };
        Some(Ended { how, reason, is_held })
    }

    /// What a person who misses something of the device should know.
    fn emit_remarks(&mut self, descriptors: &Descriptors) {
        let mut remarks = descriptors.remarks.clone();
        remarks.extend(passed_over::settings(&self.config, descriptors));
        // A device that comes and goes has the same each time.
        if remarks != self.remarks {
            remarks.iter().for_each(|text| self.shared.tell("warning", text));
            self.remarks = remarks;
        }
    }

    /// Takes the device from everybody who uses it.
    async fn detach(&mut self, ended: &Ended) {
        self.outlets.detach();
        if ended.how == Phase::Gone {
            self.outlets.presence.went();
        }
        self.shared.detached(ended.reason.clone());
        self.shared.clear_problems();
        for serial in self.shared.serials() {
            serial.detach().await;
        }
        self.outlets.write_json();
        self.shared.tell("detach", ended.reason.clone());
    }

    /// Gives its pipe to each line.
    fn attach(&self, bridged: Vec<Bridged>, attach: &Attach) {
        let has_line = bridged.iter().any(|b| line_of_outlet(&b.outlet).is_some());
        for Bridged { outlet, endpoint, .. } in bridged {
            let (device, phase, _in_use) = (attach.device.clone(), attach.phases.clone(), attach.in_use.clone());
            self.outlets.attach(&outlet, Attachment { device, endpoint, phase, gate: None, _in_use });
        }
        if has_line {
            self.outlets.presence.came();
        }
    }

    /// Bridges what is missing as soon as others let go of it. Ends only by being dropped.
    async fn catch_up(&self, claim: &Claim<'_>, missing: Missing, attach: &Attach) {
        let Missing { interfaces, mut bridged, mut functions } = missing;
        let mut late = Late::new(interfaces);
        loop {
            let interface = late.next(claim, &self.surroundings.own.hotplug).await;
            let (free, rest) = bridged.into_iter().partition(|b| b.interface == interface);
            bridged = rest;
            // A device that has gone says so by itself.
            let _ = self.select(&attach.device, &free).await;
            for (nth, function) in functions.extract_if(.., |(_, f)| f.control_interface == interface) {
                if let Some(serial) = self.shared.serial_line(nth) {
                    serial.attach(attach.device.clone(), function).await;
                }
            }
            self.shared.tell("attach", format!("interface {interface} is free and bridged now"));
            self.attach(free, attach);
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
    fn prepare(&mut self, descriptors: &Descriptors, functions: &[(usize, Function)]) -> Vec<Bridged> {
        let mut bridged = Vec::new();
        if let Err(problem) = plan::check_endpoints(&self.config, descriptors) {
            self.shared.tell("error", problem);
        }
        for pipe in plan::pipes(&self.config, descriptors, functions) {
            let outlet = outlet_name(pipe.endpoint);
            let Some((place, endpoint)) = descriptors.find_endpoint(pipe.endpoint, pipe.interface, pipe.alt) else {
                self.shared.tell("error", missing_endpoint(&pipe, descriptors));
                continue;
            };
            let (interface, setting) = (place.interface, place.setting);
            if let Some(why) = endpoint.unusable() {
                let which = format!("endpoint {:#04x} of interface {interface} alt {setting}", endpoint.address);
                let text = format!("{which} is not bridged: {why}");
                self.shared.set_problem(&outlet, &text);
                self.shared.tell("error", text);
                continue;
            }
            if self.outlets.ensure_line(&outlet, &pipe) {
                bridged.push(Bridged { outlet, interface, setting, endpoint });
            }
        }
        for (nth, f) in functions {
            if self.outlets.ensure_serial(*nth) {
                let (interface, setting) = (f.data_interface, f.data_alt);
                for (outlet, endpoint) in [(serial_in(*nth), f.bulk_in), (serial_out(*nth), f.bulk_out)] {
                    bridged.push(Bridged { outlet, interface, setting, endpoint });
                }
            }
        }
        for (nth, _) in self.config.serial_lines().filter(|(nth, _)| functions.iter().all(|(there, _)| there != nth)) {
            let text = format!("the device has no CDC ACM function that could be bridged as {}", serial_line(nth));
            [serial_in(nth), serial_out(nth)].iter().for_each(|outlet| self.shared.set_problem(outlet, &text));
            self.shared.tell("error", text);
        }
        bridged
    }
}

/// The interfaces that are needed, each once.
fn interfaces(bridged: &[Bridged], functions: &[(usize, Function)]) -> BTreeSet<u8> {
    let control = functions.iter().map(|(_, f)| f.control_interface);
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
/// What a device says of itself, and what is known of it.
fn in_words(d: &Descriptors) -> String {
    let product = d.product.as_deref().unwrap_or("no product string");
    let board = board_name(d.vendor_id, d.product_id).map_or_else(String::new, |name| format!(", {name}"));
    format!("{:04x}:{:04x} {product:?}, {} speed{board}", d.vendor_id, d.product_id, d.speed)
}
/// Why a port that anybody may open is not bridged now.
fn in_use(place: &str, others: &str) -> String {
    format!("{place} is in use by {others}; the bridge goes on when that program closes the port")
}
/// Resolves when another program has opened the port that is watched.
async fn opened(port_watch: &mut Option<PortWatch>) -> String {
    match port_watch {
        Some(port_watch) => port_watch.opened().await,
        None => pending().await,
    }
}
