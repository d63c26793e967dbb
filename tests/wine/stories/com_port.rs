//! A serial port of Windows with a board at its other end, which is a pty outside Wine.

use std::io::Write;
use std::process::Command;

use crate::common::{Daemon, Outside, output, read_line, usbpipe, wait_for};

/// COM5 with its board, and in the list of ports as a driver would enter it.
struct ComPort(Outside);

impl ComPort {
    fn plugged_in() -> Self {
        let port = Self(Outside::named("port com5").0);
        list("add", &["/d", "COM5", "/f"]);
        port
    }

    /// Pulls it out: the line is hung up, and the driver strikes the port off.
    fn unplug(&self) {
        assert_eq!(self.0.ask("unplug"), "ok");
        list("delete", &["/f"]);
    }

    fn plug(&self) {
        assert_eq!(self.0.ask("plug"), "ok");
        list("add", &["/d", "COM5", "/f"]);
    }

    fn speed(&self) -> String {
        self.0.ask("baud")
    }
}

impl Drop for ComPort {
    fn drop(&mut self) {
        list("delete", &["/f"]);
    }
}

/// Changes the list of ports in the registry.
fn list(verb: &str, rest: &[&str]) {
    let mut command = Command::new("reg");
    command.args([verb, r"HKLM\HARDWARE\DEVICEMAP\SERIALCOMM", "/v", r"\Device\Serial4"]).args(rest);
    drop(output(&mut command));
}

#[test]
fn a_com_port_carries_both_ways_takes_speeds_and_comes_back_after_an_unplug() {
    let port = ComPort::plugged_in();
    let ports = output(usbpipe().arg("list"));
    assert!(String::from_utf8_lossy(&ports.stdout).contains("COM5"), "{ports:?}");

    let mut alone = usbpipe();
    alone.args(["--dir", r"\\.\pipe\usbpipe-test-nobody", "serial", "COM5", "baud", "38400"]);
    let alone = output(&mut alone);
    assert!(alone.status.success() && alone.stdout.starts_with(b"ok"), "without a daemon: {alone:?}");
    assert_eq!(port.speed(), "ok 38400");

    let daemon = Daemon::run(
        "[[device]]\nname = \"board\"\nbackend = \"serial\"\nmatch = { port = \"COM5\" }\n\
         [device.serial]\nbaud = 19200\n",
    );
    let (answers, mut lines) = (daemon.reader("board/serial.rx"), daemon.writer("board/serial.tx"));
    let mut ask = |line: &str| {
        writeln!(lines, "{line}").unwrap();
        read_line(&answers)
    };
    assert_eq!(ask("PING 1"), "PONG 1");
    assert_eq!(ask("BAUD"), "BAUD 19200", "as the configuration says");
    assert_eq!(daemon.answer(&["serial", "board", "baud", "57600"]), "ok");
    assert_eq!((ask("BAUD"), port.speed()), ("BAUD 57600".to_owned(), "ok 57600".to_owned()));
    // A pty has no modem lines: that is said, and the line goes on.
    assert!(daemon.answer(&["serial", "board", "dtr", "on"]).starts_with("error invalid "));
    assert_eq!(ask("PING 2"), "PONG 2");

    for round in 0..3 {
        port.unplug();
        daemon.wait_status("board", |s| s["state"] == "searching");
        port.plug();
        daemon.wait_status("board", |s| s["state"] == "attached");
        assert_eq!(ask(&format!("PING again {round}")), format!("PONG again {round}"));
        assert_eq!(ask("BAUD"), "BAUD 57600", "it is asked again");
    }
}

#[test]
fn a_port_that_is_not_there_is_named_beside_those_that_are() {
    let mut daemon = Daemon::run_unattached(
        "[[device]]\nname = \"board\"\nbackend = \"serial\"\nmatch = { port = \"COM77\" }\n[device.serial]\n",
    );
    daemon.wait_said("COM77");
    let status = wait_for(
        || Some(daemon.status("board")).filter(|s| s["state"] == "searching"),
        || daemon.status("board").to_string(),
    );
    assert!(status.to_string().contains("COM77"), "{status}");
}
