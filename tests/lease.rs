//! A port that other programs open by themselves, as somebody meets it who uploads from an editor.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/cable.rs"]
mod cable;
mod common;
#[path = "common/vitals.rs"]
mod vitals;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use cable::Cable;
use common::{Daemon, read_line, wait_child};
use vitals::{Events, wait_rest};

/// A program that has the port open and does with it what it is told.
struct Other {
    child: Child,
    orders: ChildStdin,
    said: BufReader<ChildStdout>,
}

impl Other {
    fn open(cable: &Cable) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", "exec 3<>\"$0\"; echo ready; while read -r line; do eval \"$line\"; done"])
            .arg(&cable.port)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (orders, said) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut other = Self { child, orders, said };
        assert_eq!(other.line(), "ready\n");
        other
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line
    }

    /// What a shell says to one line of orders.
    fn order(&mut self, line: &str) -> String {
        writeln!(self.orders, "{line}").unwrap();
        self.line()
    }

    fn close(self) {
        let Self { mut child, orders, .. } = self;
        drop(orders);
        assert!(wait_child(&mut child).success());
    }
}

fn goes_on(cable: &Cable, from: &File, mut to: &File) {
    cable.say(b"from afar\n");
    assert_eq!(read_line(from), "from afar");
    to.write_all(b"back there\n").unwrap();
    assert_eq!(cable.hear(11), b"back there\n");
}

#[test]
fn a_port_that_another_program_has_is_waited_for_without_looking_again_and_again() {
    let cable = Cable::new();
    let other = Other::open(&cable);
    let daemon = Daemon::run_unattached(&cable.device("unplug = \"eof\"", ""));
    let status = daemon.wait_status("board", |s| s["state"] == "leased");
    let holder = format!("in use by sh (process {})", other.child.id());
    assert!(status["reason"].as_str().unwrap().contains(&holder), "{status}");
    let problem = status["problem"].as_str().unwrap();
    assert!(problem.contains(&holder) && problem.contains("end that program, or let it close the port"), "{status}");
    let shown = String::from_utf8(daemon.ask(&["status"]).stdout).unwrap();
    assert!(shown.contains(&format!("\n  problem: {problem}\n")), "{shown}");
    // Not asleep: what others do in the folders above the port may wake it.
    wait_rest(daemon.child.id());
    let mut events = Events::of(&daemon);
    other.close();
    events.wait("resume", "board");
    events.wait("attach", "board");
    goes_on(&cable, &daemon.reader("board/serial.rx"), &daemon.writer("board/serial.tx"));
}

#[test]
fn with_lock_off_whoever_opens_the_port_gets_it_and_programs_with_outlets_wait() {
    let cable = Cable::new();
    let daemon = Daemon::run(&cable.device("unplug = \"eof\"", "lock = false"));
    let (from, to) = (daemon.reader("board/serial.rx"), daemon.writer("board/serial.tx"));
    goes_on(&cable, &from, &to);
    for round in 1..=3 {
        let mut events = Events::of(&daemon);
        let mut other = Other::open(&cable);
        let told = events.wait("pause", "board");
        let holder = format!("in use by sh (process {})", other.child.id());
        assert!(told["text"].as_str().unwrap().contains(&holder), "{told}");
        (&to).write_all(b"early\n").unwrap();
        // Not before the daemon has closed it: that throws away what nobody has read.
        let status = daemon.wait_status("board", |s| s["state"] == "leased");
        assert!(status["problem"].as_str().unwrap().contains("when that program closes the port"), "{status}");
        cable.say(b"in sync\n");
        assert_eq!(other.order("read -r answer <&3; echo \"$answer\""), "in sync\n");
        other.close();
        events.wait("resume", "board");
        assert_eq!(cable.hear(6), b"early\n", "round {round}");
        assert!(daemon.status("board")["problem"].is_null());
        goes_on(&cable, &from, &to);
    }
}

#[test]
fn with_lock_off_the_lock_is_there_for_others_to_take() {
    let cable = Cable::new();
    let daemon = Daemon::run(&cable.device("", "lock = false"));
    let locked = Command::new("flock").arg("--nonblock").arg(&cable.port).arg("true").status().unwrap();
    assert!(locked.success());
    // For a moment flock(1) had it, which the daemon may have seen.
    wait_rest(daemon.child.id());
    daemon.wait_status("board", |s| s["state"] == "attached");
    goes_on(&cable, &daemon.reader("board/serial.rx"), &daemon.writer("board/serial.tx"));
}

#[test]
fn a_second_program_that_opens_the_port_keeps_it_leased() {
    let cable = Cable::new();
    let daemon = Daemon::run(&cable.device("", "lock = false"));
    let first = Other::open(&cable);
    daemon.wait_status("board", |s| s["state"] == "leased");
    let mut second = Other::open(&cable);
    first.close();
    cable.say(b"hello\n");
    assert_eq!(second.order("read -r answer <&3; echo \"$answer\""), "hello\n");
    assert_eq!(daemon.status("board")["state"], "leased");
    second.close();
    daemon.wait_status("board", |s| s["state"] == "attached");
}

#[test]
fn a_port_that_is_pulled_out_of_another_programs_hands_is_found_again() {
    let mut cable = Cable::new();
    let other = Other::open(&cable);
    let daemon = Daemon::run_unattached(&cable.device("", ""));
    daemon.wait_status("board", |s| s["state"] == "leased");
    cable.unplug();
    daemon.wait_status("board", |s| s["state"] == "searching");
    cable.plug();
    daemon.wait_status("board", |s| s["state"] == "attached");
    goes_on(&cable, &daemon.reader("board/serial.rx"), &daemon.writer("board/serial.tx"));
    other.close();
}
