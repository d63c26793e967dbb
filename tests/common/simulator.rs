//! The real sketch on a board that simavr simulates, behind a port that can be pulled out.
//!
//! It builds what it needs with the sketch's own Makefile; a machine without the compilers gets the reason.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "each test uses its own part of it, and tests may print"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::common::{PATIENCE, kill, wait_child};

/// What building takes, with the package that brings it.
const NEEDS: &[(&str, &str)] = &[
    ("/usr/bin/make", "make"),
    ("/usr/bin/avr-gcc", "gcc-avr"),
    ("/usr/lib/avr/include/avr/io.h", "avr-libc"),
    ("/usr/share/arduino/hardware/arduino/avr/cores/arduino/Arduino.h", "arduino-core-avr"),
    ("/usr/include/simavr/sim_avr.h", "libsimavr-dev"),
];

/// A board with the sketch in it.
pub struct Simulator {
    /// Where its port is, plugged in or not.
    pub port: PathBuf,
    files: PathBuf,
    running: Option<Running>,
    _dir: TempDir,
}

struct Running {
    child: Child,
    said: Receiver<String>,
}

impl Simulator {
    /// A board whose UART has this speed, plugged in. None where it cannot be built, so that `story` is skipped.
    pub fn with(baud: u32, story: &str) -> Option<Self> {
        let missing: Vec<&str> =
            NEEDS.iter().filter(|(path, _)| !Path::new(path).exists()).map(|(_, package)| *package).collect();
        if !missing.is_empty() {
            println!("skipped: {story}: to build and run the sketch, install {}", missing.join(" "));
            return None;
        }
        let dir = TempDir::new().unwrap();
        let mut simulator = Self { port: dir.path().join("port"), files: build(baud), running: None, _dir: dir };
        simulator.plug();
        Some(simulator)
    }

    pub fn plug(&mut self) {
        let mut command = Command::new(self.files.join("simulator"));
        // Its standard input is a pipe that ends with the test, and so does the simulator.
        command.arg(self.files.join("uno.elf")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, said) = channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        self.running = Some(Running { child, said });
        let said = self.next_said();
        symlink(said.strip_prefix("port ").unwrap(), &self.port).unwrap();
    }

    pub fn unplug(&mut self) {
        fs::remove_file(&self.port).unwrap();
        let mut running = self.running.take().unwrap();
        kill(running.child.id(), Signal::SIGTERM);
        assert!(wait_child(&mut running.child).success());
    }

    /// The button on the board.
    pub fn press_reset(&self) {
        kill(self.running.as_ref().unwrap().child.id(), Signal::SIGUSR1);
    }

    /// The next thing that is to be seen of the board, such as `led on`.
    pub fn next_said(&self) -> String {
        self.running.as_ref().unwrap().said.recv_timeout(PATIENCE).unwrap()
    }

    /// A `[[device]]` for it with this name.
    pub fn device(&self, name: &str, serial: &str) -> String {
        format!(
            "[[device]]\nname = \"{name}\"\nbackend = \"serial\"\nmatch = {{ port = \"{}\" }}\n[device.serial]\n{serial}\n",
            self.port.display()
        )
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

/// The folder with the sketch for this speed and the simulator. Tests of one program wait for each other.
fn build(baud: u32) -> PathBuf {
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock();
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("uno-{baud}"));
    let mut make = Command::new("make");
    make.arg("-C").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/firmware-mock/sketch"));
    let made = make.arg(format!("OUT={}", out.display())).arg(format!("BAUD={baud}")).output().unwrap();
    assert!(made.status.success(), "make: {}", String::from_utf8_lossy(&made.stderr));
    out
}
