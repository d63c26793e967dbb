//! How commands end when somebody types Ctrl-C, or closes the window.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::thread::spawn;

use firmware_mock::DeviceKind::{Knob, Uno, Zero};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{
    Bus, Daemon, PATIENCE, ask_to_end, stands, start_child, usbpipe, wait_child, wait_for, with_console, within,
};
use crate::plain::{client, close_console};

/// A command on a console of its own.
struct Typed {
    child: Child,
    out: Option<BufReader<ChildStdout>>,
    said: Option<BufReader<ChildStderr>>,
}

impl Typed {
    fn new(daemon: &Daemon, words: &[&str]) -> Self {
        let mut command = usbpipe();
        command.arg("--dir").arg(&daemon.dir).args(words);
        Self::start(command)
    }

    fn start(mut command: Command) -> Self {
        let command = with_console(&mut command).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = start_child(command);
        let (out, said) = (child.stdout.take().map(BufReader::new), child.stderr.take().map(BufReader::new));
        Self { child, out, said }
    }

    /// The next line on stdout.
    fn line(&mut self) -> String {
        let (out, line) = line_of(self.out.take().unwrap());
        self.out = Some(out);
        line
    }

    /// The next line on stderr.
    fn word(&mut self) -> String {
        let (said, line) = line_of(self.said.take().unwrap());
        self.said = Some(said);
        line
    }

    /// Types Ctrl-C, and gives the status and the rest of stdout.
    fn interrupted(mut self) -> (ExitStatus, String) {
        ask_to_end(self.child.id());
        let status = wait_child(&mut self.child);
        let mut rest = String::new();
        self.out.take().unwrap().read_to_string(&mut rest).unwrap();
        (status, rest)
    }
}

fn line_of<T: Read + Send + 'static>(source: BufReader<T>) -> (BufReader<T>, String) {
    within(PATIENCE, move || {
        let (mut source, mut line) = (source, String::new());
        source.read_line(&mut line).unwrap();
        (source, line.trim_end().to_owned())
    })
}

#[test]
fn bridge_needs_no_configuration_and_ends_in_order_by_ctrl_c() {
    let bus = Bus::with(&[Zero]);
    let dir = std::path::PathBuf::from(format!(r"\\.\pipe\usbpipe-test-{}-bridge", std::process::id()));
    let mut command = usbpipe();
    let selector = format!("usbip://127.0.0.1:{}/{}", bus.port, bus.busid("zero"));
    command.arg("--dir").arg(&dir).args(["bridge", &selector]);
    let mut daemon = Daemon::start(command, &dir);
    daemon.wait_said("ready");
    daemon.wait_status("0525-a4a0", |s| s["state"] == "attached");
    daemon.writer("0525-a4a0/ep_02").write_all(b"there and back").unwrap();
    let (_back, bytes) = crate::common::read_exactly(daemon.reader("0525-a4a0/ep_82"), 14);
    assert_eq!(bytes, b"there and back");
    let path = daemon.path("0525-a4a0/ep_82");
    assert!(daemon.end().success());
    assert!(!stands(&path));
}

#[test]
fn a_closed_console_ends_a_daemon_in_order() {
    let bus = Bus::with(&[Zero]);
    let mut daemon = Daemon::run(&bus.device("zero", ""));
    let path = daemon.path("zero/ep_81");
    let reader = daemon.reader("zero/ep_81");
    daemon.wait_count("zero", "ep_81", "bytes", 65536);
    close_console(daemon.child.id());
    assert!(daemon.wait_end().success());
    drop(reader);
    assert!(!stands(&path));
}

#[test]
fn events_are_lines_until_ctrl_c() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", ""));
    let mut events = Typed::new(&daemon, &["events"]);
    let (sender, lines) = channel();
    let out = events.out.take().unwrap().lines();
    spawn(move || out.map_while(Result::ok).try_for_each(|line| sender.send(line)));
    // Until it listens.
    let told = || {
        bus.command("unplug zero 20");
        daemon.wait_status("zero", |s| s["state"] == "attached");
        lines.try_iter().any(|line| line.contains("\"attach\"")).then_some(())
    };
    wait_for(told, || "no event".into());
    drop(daemon.reader("zero/ep_82"));
    let next = || lines.recv_timeout(PATIENCE).unwrap();
    let mut seen = vec![next()];
    while !seen.iter().any(|line| line.contains("\"close\"")) {
        seen.push(next());
    }
    for line in &seen {
        let event: Value = serde_json::from_str(line).unwrap();
        assert!(event["device"] == "zero" && event["time"].as_f64().unwrap() > 1.7e9, "{line}");
    }
    assert!(seen.iter().any(|line| line.contains("\"open\"") && line.contains("ep_82")), "{seen:?}");
    ask_to_end(events.child.id());
    wait_child(&mut events.child);
    assert_eq!(daemon.status("zero")["state"], "attached", "the daemon goes on");
}

#[test]
fn log_has_every_line_at_its_end_by_ctrl_c() {
    let bus = Bus::with(&[Uno]);
    let daemon = Daemon::run(&bus.device("uno", "[device.serial]\n"));
    let mut log = Typed::new(&daemon, &["log", "uno", "-o", "-"]);
    daemon.wait_pipe("uno", "serial.rx", |pipe| !pipe["clients"].as_array().unwrap().is_empty());
    // The board may still boot, and then hears nothing.
    let line = wait_for(
        || {
            daemon.writer("uno/serial.tx").write_all(b"PING logged\n").unwrap();
            let line = log.line();
            line.ends_with("PONG logged").then_some(line)
        },
        || "no answer in the log".into(),
    );
    assert!(line.starts_with("20") && line.contains('T') && line.contains("Z "), "{line}");
    let (status, _rest) = log.interrupted();
    assert!(status.success(), "{status}");
}

#[test]
fn a_capture_is_whole_at_its_end_by_ctrl_c() {
    let bus = Bus::with(&[Knob]);
    let daemon = Daemon::run(&bus.device("knob", ""));
    let temp = TempDir::new().unwrap();
    let file = temp.path().join("my capture.pcapng");
    let mut capture = usbpipe();
    capture.arg("--dir").arg(&daemon.dir).args(["capture", "knob", "-o"]).arg(&file);
    let capture = Typed::start(capture);
    let reader = daemon.reader("knob/ep_81");
    let length = || std::fs::metadata(&file).map_or(0, |file| file.len());
    wait_for(|| (length() > 2000).then_some(()), || format!("{} bytes", length()));
    let (status, _rest) = capture.interrupted();
    drop(reader);
    assert!(status.success(), "{status}");
    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(bytes[..4], [0x0a, 0x0d, 0x0d, 0x0a]);
    assert_eq!(bytes[8..12], [0x4d, 0x3c, 0x2b, 0x1a]);
    let statistics = blocks(&bytes).last().copied();
    assert_eq!(statistics, Some(5), "the last block says what was left out");
}

/// The types of the blocks of a pcapng file, which must be whole.
fn blocks(mut bytes: &[u8]) -> Vec<u32> {
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let mut types = Vec::new();
    while !bytes.is_empty() {
        let length = word(bytes, 4) as usize;
        assert_eq!(word(bytes, length - 4) as usize, length);
        types.push(word(bytes, 0));
        bytes = &bytes[length..];
    }
    types
}

#[test]
fn ctrl_c_reaches_the_command_of_exec_and_its_status_is_passed_on() {
    let bus = Bus::with(&[Knob]);
    let daemon = Daemon::run(&bus.device("knob", ""));
    let program = client();
    let program = program.get_program().to_str().unwrap();
    let mut exec = Typed::new(&daemon, &["exec", "knob", "--in", "ep_81", "--", program, "linger", "42"]);
    assert_eq!(exec.word(), "lingering");
    ask_to_end(exec.child.id());
    assert_eq!(exec.word(), "Ctrl-C came", "usbpipe waits for what the command makes of it");
    assert_eq!(wait_child(&mut exec.child).code(), Some(42));
    daemon.wait_pipe("knob", "ep_81", |pipe| pipe["clients"].as_array().unwrap().is_empty());
}

#[test]
fn ctrl_c_reaches_the_command_of_release_and_the_device_is_taken_back() {
    let bus = Bus::with(&[Uno]);
    let daemon = Daemon::run(&bus.device("uno", "[device.serial]\n"));
    let program = client();
    let program = program.get_program().to_str().unwrap();
    let mut release = Typed::new(&daemon, &["release", "uno", "--", program, "linger", "7"]);
    assert_eq!(release.word(), "lingering");
    daemon.wait_status("uno", |s| s["state"] == "released");
    ask_to_end(release.child.id());
    assert_eq!(release.word(), "Ctrl-C came");
    assert_eq!(wait_child(&mut release.child).code(), Some(7));
    daemon.wait_status("uno", |s| s["state"] == "attached");
}
