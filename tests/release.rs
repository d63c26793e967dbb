//! A device that another program gets for a while, as somebody meets it who uploads firmware with a monitor open.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on fails, and says why")]

#[path = "common/board.rs"]
mod board;
#[path = "common/cable.rs"]
mod cable;
mod common;
#[path = "common/vitals.rs"]
mod vitals;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread::spawn;

use board::Board;
use cable::{Cable, Patient};
use common::bytes::{assert_same, random};
use common::{Bus, Daemon, PATIENCE, kill, read_line, usbpipe, wait_child};
use firmware_mock::DeviceKind;
use nix::sys::signal::Signal;
use vitals::Events;

/// A port with a program on each of its FIFOs. With `eof` a real unplug would end them.
struct Line {
    daemon: Daemon,
    cable: Cable,
    from: File,
    to: File,
}

impl Line {
    fn new() -> Self {
        let cable = Cable::new();
        let daemon = Daemon::run(&cable.device("unplug = \"eof\"", ""));
        let (from, to) = (daemon.reader("board/serial.rx"), daemon.writer("board/serial.tx"));
        daemon.wait_pipe("board", "serial.rx", |pipe| pipe["open"] == true);
        Self { daemon, cable, from, to }
    }

    /// `usbpipe release board -- COMMAND`, once the command runs: it says a line first.
    fn lend(&self, command: &str) -> (Child, BufReader<ChildStdout>) {
        let mut release = usbpipe();
        release
            .arg("--dir")
            .arg(&self.daemon.dir)
            .args(["release", "board", "--", "sh", "-c", command, "sh", "{port}"]);
        let mut child = release.stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut String::new()).unwrap();
        (child, said)
    }

    /// The programs that were there before go on.
    fn goes_on(&self) {
        self.daemon.wait_status("board", |s| s["state"] == "attached");
        self.cable.say(b"from afar\n");
        assert_eq!(read_line(&self.from), "from afar");
        (&self.to).write_all(b"back there\n").unwrap();
        assert_eq!(self.cable.hear(11), b"back there\n");
    }
}

#[test]
fn an_uploader_gets_the_port_while_a_monitor_waits_and_sees_no_end() {
    let line = Line::new();
    let mut events = Events::of(&line.daemon);
    let upload = "exec 3<>$1; echo ready; echo sync >&3; read -r answer <&3; echo \"$answer\"; exit 7";
    let (mut child, mut said) = line.lend(upload);
    assert_eq!(line.cable.hear(5), b"sync\n");
    let status = line.daemon.status("board");
    assert_eq!((&status["state"], &status["reason"]), (&"released".into(), &"released to sh".into()));
    (&line.to).write_all(b"early\n").unwrap();
    line.cable.say(b"in sync\n");
    let mut answer = String::new();
    said.read_line(&mut answer).unwrap();
    assert_eq!(answer, "in sync\n", "nobody else took it");
    assert_eq!(wait_child(&mut child).code(), Some(7));
    assert_eq!(line.cable.hear(6), b"early\n");
    line.goes_on();
    for event in ["pause", "detach", "resume", "attach"] {
        events.wait(event, "board");
    }
}

/// What a bootloader of the Arduino Uno answers (STK500 version 1, as avrdude speaks it), over this port, into a memory.
fn bootloader(mut end: File, flash: &mut [u8]) -> std::io::Result<()> {
    let mut address = 0;
    loop {
        let take = |n: usize| -> std::io::Result<Vec<u8>> {
            let mut bytes = vec![0; n];
            Patient(end.try_clone()?).read_exact(&mut bytes)?;
            Ok(bytes)
        };
        let command = take(1)?[0];
        let length = |head: &[u8]| usize::from(head[0]) << 8 | usize::from(head[1]);
        let answer = match command {
            b'A' => take(1).map(|_| vec![3])?,
            b'B' => take(20).map(|_| vec![])?,
            b'E' => take(5).map(|_| vec![])?,
            b'V' => take(4).map(|_| vec![0])?,
            b'U' => {
                let at = take(2)?;
                address = (usize::from(at[1]) << 8 | usize::from(at[0])) * 2;
                vec![]
            }
            b'd' => {
                let count = length(&take(3)?);
                flash[address..address + count].copy_from_slice(&take(count)?);
                vec![]
            }
            b't' => {
                let count = length(&take(3)?);
                flash[address..address + count].to_vec()
            }
            b'u' => vec![0x1e, 0x95, 0x0f],
            _ => vec![],
        };
        take(1)?;
        end.write_all(&[&[0x14], &answer[..], &[0x10]].concat())?;
        if command == b'Q' {
            return Ok(());
        }
    }
}

#[test]
fn avrdude_uploads_unchanged_while_a_monitor_stays_open() {
    if Command::new("avrdude").arg("-?").stderr(Stdio::null()).status().is_err() {
        println!("skipped: avrdude_uploads_unchanged_while_a_monitor_stays_open: there is no avrdude; install it");
        return;
    }
    let line = Line::new();
    let sketch = random(3000, 328);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &sketch).unwrap();
    let (sender, programmed) = channel();
    let end = line.cable.far_end();
    spawn(move || {
        let mut flash = vec![0xff; 32768];
        let done = bootloader(end, &mut flash);
        sender.send((done.is_ok(), flash))
    });
    let mut release = usbpipe();
    // It would go on for ever after its port is gone.
    release.arg("--dir").arg(&line.daemon.dir).args(["release", "board", "--", "timeout", "-k", "1", "15", "avrdude"]);
    release.args(["-q", "-q", "-c", "arduino"]);
    release.args(["-p", "m328p", "-P", "{port}", "-D", "-U"]).arg(format!("flash:w:{}:r", file.path().display()));
    let mut uploader = release.spawn().unwrap();
    assert_eq!(wait_child(&mut uploader).code(), Some(0));
    let (is_done, flash) = programmed.recv_timeout(PATIENCE).unwrap();
    assert!(is_done);
    assert_same(&sketch, &flash[..sketch.len()], 0);
    line.goes_on();
}

#[test]
fn the_port_comes_back_when_the_command_is_killed() {
    let line = Line::new();
    let (mut child, mut said) = line.lend("echo ready; echo $$; exec sleep 1000");
    let mut pid = String::new();
    said.read_line(&mut pid).unwrap();
    kill(pid.trim().parse().unwrap(), Signal::SIGKILL);
    assert_eq!(wait_child(&mut child).code(), Some(128 + 9));
    line.goes_on();
}

#[test]
fn the_port_comes_back_when_the_client_is_killed() {
    let line = Line::new();
    let (mut child, mut said) = line.lend("echo ready; echo $$; exec sleep 1000");
    let mut pid = String::new();
    said.read_line(&mut pid).unwrap();
    child.kill().unwrap();
    wait_child(&mut child);
    line.goes_on();
    kill(pid.trim().parse().unwrap(), Signal::SIGKILL);
}

#[test]
fn signals_reach_the_command_and_not_the_client() {
    let line = Line::new();
    for (name, signal) in [("TERM", Signal::SIGTERM), ("HUP", Signal::SIGHUP), ("USR1", Signal::SIGUSR1)] {
        let (mut child, _said) =
            line.lend(&format!("trap 'exit 5' {name}; echo ready; for i in $(seq 3000); do sleep 0.01; done"));
        kill(child.id(), signal);
        assert_eq!(wait_child(&mut child).code(), Some(5), "{name}");
    }
    line.goes_on();
}

#[test]
fn one_program_gets_it_at_a_time_and_a_person_can_take_it_back() {
    let line = Line::new();
    let (mut child, _said) = line.lend("echo ready; exec sleep 1000");
    let second = line.daemon.ask(&["release", "board", "--", "true"]);
    assert_eq!(second.status.code(), Some(1));
    let told = String::from_utf8(second.stderr).unwrap();
    assert!(told.contains("released already, to sh") && told.contains("usbpipe reclaim board"), "{told}");
    assert_eq!(line.daemon.answer(&["reclaim", "board"]), "ok");
    line.goes_on();
    kill(child.id(), Signal::SIGTERM);
    assert_eq!(wait_child(&mut child).code(), Some(128 + 15));
    line.goes_on();
}

#[test]
fn without_a_command_it_stays_released_until_it_is_reclaimed() {
    let line = Line::new();
    for _ in 0..2 {
        assert_eq!(line.daemon.answer(&["release", "board"]), "ok");
        assert_eq!(line.daemon.status("board")["state"], "released");
    }
    assert_eq!(line.daemon.answer(&["reclaim", "board"]), "ok");
    line.goes_on();
}

#[test]
fn a_command_that_cannot_run_says_so_and_changes_nothing() {
    let line = Line::new();
    let failed = line.daemon.ask(&["release", "board", "--", "/nowhere/avrdude"]);
    assert_eq!(failed.status.code(), Some(1));
    let told = String::from_utf8(failed.stderr).unwrap();
    assert!(told.contains("/nowhere/avrdude cannot be started"), "{told}");
    let unknown = line.daemon.ask(&["release", "nobody", "--", "true"]);
    assert!(String::from_utf8(unknown.stderr).unwrap().contains("it has board"));
    line.goes_on();
}

#[test]
fn a_board_behind_a_server_can_be_released() {
    let board = Board::with(DeviceKind::Uno, "uno", "");
    let released = board.daemon.ask(&["release", "uno", "--", "sh", "-c", "exit 3"]);
    assert_eq!(released.status.code(), Some(3));
    assert_eq!(board.ask("PING 1"), "PONG 1");
}

/// `usbpipe release NAME -- sh -c SCRIPT sh {port}`: what it said, after its end with status 0.
fn upload(board: &Board, script: &str) -> Vec<String> {
    let mut release = usbpipe();
    release
        .arg("--dir")
        .arg(&board.daemon.dir)
        .args(["release", board.name, "--", "sh", "-ec", script, "sh", "{port}"]);
    let mut child = release.stdout(Stdio::piped()).spawn().unwrap();
    assert_eq!(wait_child(&mut child).code(), Some(0));
    BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap).collect()
}

#[test]
fn an_uploader_gets_a_port_of_a_board_behind_a_server_and_its_reset_while_a_monitor_waits() {
    let board = Board::with(DeviceKind::Uno, "uno", "");
    let script = "exec 3<>$1; stty -F $1 57600; read -r greeting <&3; echo PING up >&3; read -r answer <&3; \
                  echo STATUS >&3; read -r status <&3; printf '%s\\n' \"$greeting\" \"$answer\" \"$status\"";
    for resets in 1..=2 {
        let said = upload(&board, script);
        assert_eq!(said[..2], ["READY", "PONG up"]);
        assert_eq!(said[2], format!("STATUS led=off baud=57600 dtr=1 resets={resets}"));
        assert_eq!(board.ask("PING 1"), "PONG 1", "the monitor saw nothing of it");
        assert_eq!(board.status("dtr"), "0");
    }
    assert!(!board.daemon.path("uno/serial.lent").exists());
}

#[test]
fn a_touch_through_a_lent_port_leads_to_the_bootloader_behind_the_same_name() {
    let board = Board::with(DeviceKind::Leonardo, "leonardo", "");
    // Uploaders wait like this: a board whose port is opened again at once takes the touch back.
    let script = "stty -F $1 1200; sleep 0.5; exec 3<>$1; printf ? >&3; read -r answer <&3; echo \"$answer\"";
    assert_eq!(upload(&board, script), ["BOOT"]);
    board.daemon.wait_status("leonardo", |s| s["state"] == "attached" && s["id"] == "2341:8036");
    board.wait_boot();
    assert_eq!(board.ask("PING 1"), "PONG 1");
}

#[test]
fn a_device_without_a_serial_function_has_no_port() {
    let bus = Bus::with(&[DeviceKind::Regs]);
    let daemon = Daemon::run(&bus.device("regs", ""));
    let refused = daemon.ask(&["release", "regs", "--", "cat", "{port}"]);
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("regs has no serial function"), "{told}");
    daemon.wait_status("regs", |s| s["state"] == "attached");
}
