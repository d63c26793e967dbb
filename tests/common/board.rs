//! A simulated board as somebody meets it who has its serial line open, for reading and for writing.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, reason = "each test uses its own part of it")]

use std::fs::File;
use std::io::Write;

use firmware_mock::DeviceKind;

use crate::common::{Bus, Daemon, read_line};

/// A board behind its line.
pub struct Board {
    pub name: &'static str,
    pub daemon: Daemon,
    pub answers: File,
    pub lines: File,
    pub bus: Bus,
}

impl Board {
    pub fn with(kind: DeviceKind, name: &'static str, config: &str) -> Self {
        let bus = Bus::with(&[kind]);
        let daemon = Daemon::run(&bus.device(name, &format!("[device.serial]\n{config}")));
        let answers = daemon.reader(&format!("{name}/serial.rx"));
        let lines = daemon.writer(&format!("{name}/serial.tx"));
        let board = Self { name, daemon, answers, lines, bus };
        board.wait_boot();
        board
    }

    pub fn uno() -> Self {
        Self::with(DeviceKind::Uno, "uno", "")
    }

    /// A board that has just come up may greet whoever listens.
    pub fn wait_boot(&self) {
        self.say("PING boot");
        while read_line(&self.answers) != "PONG boot" {}
    }

    pub fn say(&self, line: &str) {
        (&self.lines).write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    pub fn ask(&self, line: &str) -> String {
        self.say(line);
        read_line(&self.answers)
    }

    /// A value of the answer to `STATUS`.
    pub fn status(&self, key: &str) -> String {
        let answer = self.ask("STATUS");
        let value = answer.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        value.unwrap_or_else(|| panic!("no {key} in {answer:?}")).to_owned()
    }

    /// The answer of `usbpipe serial`.
    pub fn serial(&self, request: &[&str]) -> String {
        self.daemon.answer(&[&["serial", self.name], request].concat())
    }
}
