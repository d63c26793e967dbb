//! What goes wrong, and when: one fault after the other, by chance. It knows which faults explain that bytes are lost or
//! doubled, and for which devices.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::PROBE;
use crate::common::{Bus, Daemon};
use crate::other::{Latency, Reports};
use crate::random::Random;
use crate::stream::Stream;

/// Whoever makes them.
pub(crate) struct Faults<'a> {
    bus: &'a Bus,
    streams: &'a [Arc<Stream>],
    reports: &'a Reports,
    latency: &'a Latency,
    random: Random,
    /// How many of each kind there were.
    pub(crate) counts: BTreeMap<&'static str, u64>,
    /// The last of them, for whoever looks for the cause of a failure.
    last: VecDeque<String>,
}

/// Starts another daemon.
type Restart<'a> = &'a mut dyn FnMut() -> Daemon;

impl<'a> Faults<'a> {
    pub(crate) fn new(
        bus: &'a Bus,
        streams: &'a [Arc<Stream>],
        reports: &'a Reports,
        latency: &'a Latency,
        seed: u64,
    ) -> Self {
        Self {
            bus,
            streams,
            reports,
            latency,
            random: Random::new(seed, "faults"),
            counts: BTreeMap::new(),
            last: VecDeque::new(),
        }
    }

    /// The next one; over when it is overcome. The daemon is killed only where it can be started again.
    pub(crate) fn strike(&mut self, daemon: &mut Daemon, restart: Option<Restart<'_>>) {
        sleep(Duration::from_millis(50 + self.random.below(300)));
        let devices: Vec<&String> =
            self.bus.busids.iter().map(|(name, _)| name).filter(|name| *name != PROBE).collect();
        let device = (*self.random.of(&devices)).clone();
        match (self.random.below(20), restart) {
            (0, Some(restart)) => self.kill(daemon, restart),
            (0..=2, _) => self.stop(daemon),
            (3..=6, _) => self.lose("unplug", daemon, &device),
            (7..=9, _) => self.lose("cut", daemon, &device),
            (10..=12, _) => self.lie(daemon, &device),
            (13..=14, _) => self.stall(&device),
            _ => self.hinder(&device),
        }
        for stream in self.streams {
            stream.check(|| format!("the last faults: {:?}; {}", self.last, daemon.status(&stream.name)));
        }
    }

    fn count(&mut self, kind: &'static str, what: &str) {
        *self.counts.entry(kind).or_default() += 1;
        self.last.push_back(format!("{kind} {what}"));
        if self.last.len() > 10 {
            self.last.pop_front();
        }
    }

    fn kill(&mut self, daemon: &mut Daemon, restart: Restart<'_>) {
        self.count("kill -9", "");
        self.disturb(|_| true);
        self.latency.pause(true);
        daemon.signal(Signal::SIGKILL);
        daemon.wait_end();
        *daemon = restart();
        daemon.wait_attached();
        self.recovered(|_| true);
        self.latency.pause(false);
    }

    /// Nothing explains a loss then.
    fn stop(&mut self, daemon: &Daemon) {
        self.count("SIGSTOP", "");
        self.latency.pause(true);
        daemon.signal(Signal::SIGSTOP);
        sleep(Duration::from_millis(20 + self.random.below(400)));
        daemon.signal(Signal::SIGCONT);
        self.latency.pause(false);
    }

    fn lose(&mut self, how: &'static str, daemon: &Daemon, device: &str) {
        self.count(how, device);
        let time = 20 + self.random.below(600);
        self.end_session(daemon, device, &format!("{how} {device} {time}"));
    }

    fn lie(&mut self, daemon: &Daemon, device: &str) {
        let lie = *self.random.of(&["length", "seqnum", "garbage"]);
        // It takes a reply to lie in, of which a device without programs has none.
        let is_asked = self.streams.iter().any(|stream| stream.name == device);
        if is_asked {
            self.count("lie", device);
            self.end_session(daemon, device, &format!("lie {device} {lie}"));
        }
    }

    /// Has this command end the device's session, and waits for the next one.
    fn end_session(&mut self, daemon: &Daemon, device: &str, command: &str) {
        let sessions = |status: &serde_json::Value| status["sessions"].as_u64().unwrap();
        let before = sessions(&daemon.status(device));
        self.disturb(|name| name == device);
        self.bus.command(command);
        daemon.wait_status(device, |status| sessions(status) > before && status["state"] == "attached");
        self.recovered(|name| name == device);
    }

    fn stall(&mut self, device: &str) {
        if let Some(endpoint) = self.endpoint(device) {
            self.count("stall", &format!("{device} {endpoint}"));
            self.disturb(|name| name == device);
            self.bus.command(&format!("stall {device} {endpoint}"));
            self.recovered(|name| name == device);
        }
    }

    /// What slows a device down, and loses nothing.
    fn hinder(&mut self, device: &str) {
        let Some(endpoint) = self.endpoint(device) else { return };
        let command = match self.random.below(3) {
            0 => format!("delay {device} {endpoint} 30"),
            // Every device that has a stream has its IN endpoint there.
            1 => format!("short {device} ep_82 96"),
            _ => format!("babble {device} ep_82 2"),
        };
        self.count("delay, short, babble", &command);
        self.bus.command(&command);
        sleep(Duration::from_millis(100 + self.random.below(300)));
        if let Some(("delay" | "short", _)) = command.split_once(' ') {
            let (command, _) = command.rsplit_once(' ').unwrap();
            self.bus.command(&format!("{command} 0"));
        }
    }

    /// An endpoint of a device that has a stream.
    fn endpoint(&mut self, device: &str) -> Option<&'static str> {
        match device.split('-').next()? {
            "zero" => Some(*self.random.of(&["ep_02", "ep_82"])),
            "echo" => Some(*self.random.of(&["ep_01", "ep_82"])),
            _ => None,
        }
    }

    fn disturb(&self, fits: impl Fn(&str) -> bool) {
        self.streams.iter().filter(|stream| fits(&stream.name)).for_each(|stream| stream.disturb());
        self.reports.disturb();
    }

    /// What is under way is let go first.
    fn recovered(&self, fits: impl Fn(&str) -> bool) {
        sleep(SETTLING);
        self.streams.iter().filter(|stream| fits(&stream.name)).for_each(|stream| stream.recovered());
        self.reports.recovered();
    }
}

const SETTLING: Duration = Duration::from_millis(400);
