//! The guest and what stories do to it: make devices, plug and unplug them, press keys. Refuses to touch any machine
//! but the lab's guest: all of it is reached through [`Guest::here`].

#![allow(dead_code, unused_imports, unreachable_pub, missing_docs, reason = "each suite uses its own part of it")]

mod drivers;
mod gadget;
mod monitor;
mod nobody;
mod package;
mod people;
mod qemu;
mod sysfs;
mod tty;
mod udev;
mod usbip;
mod vhci;

use std::process::{Command, Output};

use crate::common::Bus;

pub use drivers::NoDrivers;
pub use gadget::{Function, Gadget};
pub use monitor::Monitor;
pub use package::{Package, Service, property};
pub use people::Person;
pub use qemu::QemuDevice;
pub use sysfs::UsbDevice;
pub use tty::FarEnd;
pub use udev::{Rules, access, look_again, properties};
pub use usbip::{Attached, Exported, UsbipServer, VhciPort};
pub use vhci::AttachedPort;

/// The lab's guest. Who has one may change the machine.
pub struct Guest(());

impl Guest {
    /// The guest, if this runs in it; otherwise it prints that the story is skipped.
    pub fn here() -> Option<Self> {
        let arguments = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
        if arguments.split_whitespace().any(|word| word == "usbpipe.lab") {
            return Some(Self(()));
        }
        let story = std::thread::current().name().unwrap_or("lab").to_owned();
        println!("skipped: {story}: this is not the lab's guest; run tests/lab/run");
        None
    }

    /// A gadget with these ids (`vvvv:pppp`) and functions, not plugged in yet.
    pub fn gadget(&self, ids: &str, functions: &[Function]) -> Gadget {
        Gadget::make(ids, functions)
    }

    /// The stock `usbipd`, running.
    pub fn usbip_server(&self) -> UsbipServer {
        UsbipServer::start()
    }

    /// Attaches a device of a simulated bus to this kernel, as if it were hardware with these ids, and waits for it.
    pub fn attach(&self, bus: &Bus, name: &str, ids: &str) -> Attached {
        Attached { port: self.attach_unawaited(bus, name), device: UsbDevice::wait(ids) }
    }

    /// The same, not waiting until the kernel has enumerated it.
    pub fn attach_unawaited(&self, bus: &Bus, name: &str) -> VhciPort {
        VhciPort::attach(bus.port, bus.busid(name))
    }

    /// Attaches devices of a simulated bus side by side, not waiting for the kernel.
    pub fn attach_all(&self, bus: &Bus, names: &[&str]) -> Vec<AttachedPort> {
        names.iter().enumerate().map(|(number, name)| AttachedPort::attach(bus, name, number)).collect()
    }

    /// Keeps drivers from what is plugged in.
    pub fn without_drivers(&self) -> NoDrivers {
        NoDrivers::begin()
    }

    /// QEMU's monitor.
    pub fn monitor(&self) -> Monitor {
        Monitor::open()
    }

    /// The program under test, to be run by a user without rights.
    pub fn usbpipe_of_nobody(&self) -> Command {
        nobody::usbpipe()
    }

    /// A user of this name, without rights.
    pub fn person(&self, name: &'static str) -> Person {
        Person::new(name)
    }

    /// A group of this name.
    pub fn group(&self, name: &'static str) -> Group {
        must(&["groupadd", "--system", "--force", name]);
        Group(name)
    }

    /// The Debian package, installed.
    pub fn package(&self) -> Package {
        Package::installed()
    }

    /// Puts rules for udevd in force, for devices that come from now on.
    pub fn rules(&self, name: &str, text: &str) -> Rules {
        Rules::install(name, text)
    }

    /// Rules that a command has put in force.
    pub fn rules_found(&self, name: &str) -> Rules {
        Rules::found(name)
    }

    /// Runs what somebody would type into a shell, as root already.
    pub fn type_as_root(&self, line: &str) -> String {
        must(&["bash", "-c", &format!("set -o pipefail; sudo() {{ \"$@\"; }}; {line}")])
    }

    /// Runs a command to its end; fails the story with what it said if that is not 0.
    pub fn must(&self, command: &[&str]) -> String {
        must(command)
    }
}

/// A group of the guest while this is there.
pub struct Group(&'static str);

impl Drop for Group {
    fn drop(&mut self) {
        run(&["groupdel", self.0]);
    }
}

fn must(command: &[&str]) -> String {
    let output = run(command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}: {}{text}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

fn run(command: &[&str]) -> Output {
    Command::new(command[0]).args(&command[1..]).output().unwrap_or_else(|e| panic!("{command:?}: {e}"))
}
