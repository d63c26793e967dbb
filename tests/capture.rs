//! Captures: what crosses the pipes, as Wireshark reads it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, or says that it is skipped"
)]

mod common;

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::spawn;

use common::bytes::random;
use common::{Bus, Daemon, PATIENCE, kill, read_exactly, read_line, usbpipe, wait_child, wait_for, within};
use firmware_mock::DeviceKind::{Echo, Knob, Regs, Tone, Zero};
use nix::sys::signal::Signal::SIGINT;
use tempfile::TempDir;

/// `usbpipe capture` into a file, once it has begun.
struct Recording {
    child: Child,
    file: PathBuf,
    _dir: TempDir,
}

impl Recording {
    fn of(daemon: &Daemon, device: &str, more: &[&str]) -> Self {
        Self::start(&daemon.dir, device, more)
    }

    fn start(run_dir: &Path, device: &str, more: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("usb.pcapng");
        let mut command = usbpipe();
        command.arg("--dir").arg(run_dir).args(["capture", device, "-o"]).arg(&file).args(more);
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        let recording = Self { child, file, _dir: dir };
        wait_for(|| (recording.length() > 0).then_some(()), || "nothing was written".into());
        recording
    }

    fn length(&self) -> u64 {
        self.file.metadata().map_or(0, |m| m.len())
    }

    /// Waits until the file holds what `fits` wants to see.
    fn wait(&self, fits: impl Fn(&[Block]) -> bool) {
        let enough = || fits(&blocks(&std::fs::read(&self.file).unwrap())).then_some(());
        wait_for(enough, || format!("{} bytes", self.length()));
    }

    /// Ends it by Ctrl-C and gives what it said.
    fn end(&mut self) -> String {
        kill(self.child.id(), SIGINT);
        assert!(wait_child(&mut self.child).success());
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A block of a pcapng file: its type and all of it.
struct Block {
    kind: u32,
    bytes: Vec<u8>,
}

const RECORD: u32 = 6;
const STATISTICS: u32 = 5;

impl Block {
    /// The record's header and what follows it.
    fn record(&self) -> Option<(&[u8], &[u8])> {
        (self.kind == RECORD).then(|| self.bytes[28..].split_at(64)).map(|(header, rest)| {
            let kept = u32::from_le_bytes(header[36..40].try_into().unwrap()) as usize;
            (header, &rest[..kept])
        })
    }

    /// Event and endpoint of a record, such as `('C', 0x81)`.
    fn event(&self) -> Option<(char, u8)> {
        self.record().map(|(header, _)| (char::from(header[8]), header[10]))
    }

    /// An option of eight bytes, looked for behind this many bytes of the block.
    fn option(&self, fixed: usize, code: u16) -> Option<u64> {
        let mut rest = self.bytes.get(fixed..)?;
        while rest.len() >= 12 {
            let (this, length) = (u16::from_le_bytes([rest[0], rest[1]]), u16::from_le_bytes([rest[2], rest[3]]));
            if this == code {
                return Some(u64::from_le_bytes(rest[4..12].try_into().unwrap()));
            }
            rest = rest.get(4 + usize::from(length).next_multiple_of(4)..)?;
        }
        None
    }

    fn dropped_before(&self) -> u64 {
        let captured = u32::from_le_bytes(self.bytes[20..24].try_into().unwrap()) as usize;
        self.option(28 + captured.next_multiple_of(4), 4).unwrap_or(0)
    }
}

/// All blocks that are whole.
fn blocks(mut capture: &[u8]) -> Vec<Block> {
    let mut blocks = Vec::new();
    while capture.len() >= 12 {
        let word = |at: usize| u32::from_le_bytes(capture[at..at + 4].try_into().unwrap());
        let (kind, length) = (word(0), word(4) as usize);
        let Some((block, rest)) = capture.split_at_checked(length) else { break };
        assert_eq!(block[length - 4..], block[4..8], "both lengths of a block are the same");
        blocks.push(Block { kind, bytes: block.to_vec() });
        capture = rest;
    }
    blocks
}

thread_local! {
    /// Whether this test has said that it is skipped.
    static TOLD: Cell<bool> = const { Cell::new(false) };
}

/// What tshark reads from a capture; `None` where it is not installed.
fn tshark(file: &Path, args: &[&str]) -> Option<String> {
    let mut command = Command::new("tshark");
    // Root is told not to dissect; what it says on stderr is no matter of the capture.
    command.arg("-r").arg(file).args(args).stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::piped());
    let Ok(child) = command.spawn() else {
        if !TOLD.replace(true) {
            println!("skipped: tshark is not installed, so no capture was read with it");
        }
        return None;
    };
    let output = within(PATIENCE, move || child.wait_with_output().unwrap());
    assert!(output.status.success(), "tshark {args:?} on {}", file.display());
    Some(String::from_utf8(output.stdout).unwrap())
}

/// The payloads that an endpoint moved in one direction, put together as Wireshark sees them.
fn payload(file: &Path, endpoint: u8) -> Option<Vec<u8>> {
    let event = if endpoint & 0x80 != 0 { 'C' } else { 'S' };
    let filter = format!("usb.endpoint_address == {endpoint:#04x} && usb.urb_type == '{event}'");
    let fields = ["usb.capdata", "usb.iso.data", "usb.data_fragment", "usb.control.Response"];
    let mut args = vec!["-Y", &filter, "-T", "fields"];
    fields.iter().for_each(|field| args.extend(["-e", field]));
    let hex: Vec<u8> = tshark(file, &args)?.bytes().filter(u8::is_ascii_hexdigit).collect();
    let digit = |c: u8| char::from(c).to_digit(16).unwrap() as u8;
    Some(hex.chunks_exact(2).map(|two| digit(two[0]) << 4 | digit(two[1])).collect())
}

/// Fails if Wireshark finds anything wrong.
fn assert_well_formed(file: &Path) {
    let Some(text) = tshark(file, &["-V"]) else { return };
    let wrong: Vec<&str> =
        text.lines().filter(|l| l.contains("Malformed") || l.contains("[Expert Info (Err")).collect();
    assert!(wrong.is_empty() && text.contains("URB"), "{wrong:?}");
}

/// Fails unless the capture holds these payloads of this endpoint and is well formed.
fn assert_carried(file: &Path, endpoint: u8, expected: &[u8]) {
    assert_well_formed(file);
    if let Some(seen) = payload(file, endpoint) {
        assert!(
            seen.starts_with(expected),
            "{endpoint:#04x}: {} bytes, not the {} expected",
            seen.len(),
            expected.len()
        );
    }
}

#[test]
fn bulk_transfers_open_in_wireshark_and_hold_what_the_pipes_carried() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", ""));
    let mut recording = Recording::of(&daemon, "zero", &[]);
    let sent = random(300_000, 1);
    let back = daemon.reader("zero/ep_82");
    daemon.writer("zero/ep_02").write_all(&sent).unwrap();
    assert!(read_exactly(back, sent.len()).1 == sent);
    let (_source, read) = read_exactly(daemon.reader("zero/ep_81"), 1_000_000);
    let said = recording.end();
    assert!(said.contains("records of zero") && said.contains("none were left out"), "{said}");
    assert_carried(&recording.file, 0x02, &sent);
    assert_carried(&recording.file, 0x82, &sent);
    assert_carried(&recording.file, 0x81, &read);
}

#[test]
fn interrupt_and_isochronous_transfers_open_in_wireshark_and_hold_what_the_pipes_carried() {
    let bus = Bus::with(&[Knob, Tone]);
    let daemon = Daemon::run(&(bus.device("knob", "") + &bus.device("tone", "")));
    let (mut knob, mut tone) = (Recording::of(&daemon, "knob", &[]), Recording::of(&daemon, "tone", &[]));
    daemon.writer("knob/ep_01").write_all(&[5]).unwrap();
    let (_reports, reports) = read_exactly(daemon.reader("knob/ep_81"), 80);
    let played = random(19_300, 2);
    daemon.writer("tone/ep_03").write_all(&played).unwrap();
    let (_sound, sound) = read_exactly(daemon.reader("tone/ep_83"), 192 * 200);
    daemon.wait_pipe("tone", "ep_03", |pipe| pipe["open"] == false && pipe["opens"] == 1);
    knob.end();
    tone.end();
    assert_carried(&knob.file, 0x01, &[5]);
    assert_carried(&knob.file, 0x81, &reports);
    assert_carried(&tone.file, 0x03, &played);
    assert_carried(&tone.file, 0x83, &sound);
    if let Some(text) = tshark(&tone.file, &["-V", "-Y", "usb.iso.error_count > 0 || usb.iso.iso_status != 0"]) {
        assert_eq!(text, "", "every packet descriptor tells of success");
    }
}

#[test]
fn control_transfers_open_in_wireshark_refused_ones_included() {
    let bus = Bus::with(&[Regs]);
    let daemon = Daemon::run(&bus.device("regs", ""));
    let mut recording = Recording::of(&daemon, "regs", &[]);
    assert_eq!(daemon.answer(&["control", "regs", "out", "0x40", "1", "0", "7", "cafe"]), "ok");
    assert_eq!(daemon.answer(&["control", "regs", "in", "0xc0", "2", "0", "7", "2"]), "ok cafe");
    assert!(daemon.answer(&["control", "regs", "in", "0xc0", "3", "0", "0", "2"]).starts_with("error stall"));
    recording.end();
    assert_carried(&recording.file, 0x00, &[0xca, 0xfe]);
    let Some(seen) = tshark(&recording.file, &["-T", "fields", "-e", "_ws.col.Info", "-e", "usb.urb_status"]) else {
        return;
    };
    assert!(seen.contains("GET DESCRIPTOR Response CONFIGURATION"), "Wireshark learns what the device is: {seen}");
    assert!(seen.trim_end().ends_with("-32"), "a stall is EPIPE: {seen}");
}

#[test]
fn a_capture_goes_live_into_a_pipe_and_ends_when_nobody_reads_it() {
    let bus = Bus::with(&[Echo]);
    let daemon = Daemon::run(&bus.device("echo", ""));
    let (mut child, chunks) = into_pipe(&daemon, "echo");
    let mut seen = Vec::new();
    let mut wait = |fits: &dyn Fn(&[Block]) -> bool| {
        while !fits(&blocks(&seen)) {
            seen.extend(chunks.recv_timeout(PATIENCE).unwrap());
        }
    };
    wait(&|blocks| blocks.len() >= 2 && blocks[0].kind == 0x0a0d_0d0a);
    let (line, mut to) = (daemon.reader("echo/serial.rx"), daemon.writer("echo/serial.tx"));
    to.write_all(b"now\n").unwrap();
    assert_eq!(read_line(&line), "now");
    wait(&|blocks| blocks.iter().any(|b| b.record().is_some_and(|(_, data)| data == b"now\n")));
    drop(chunks);
    let ended = || {
        to.write_all(b"more\n").unwrap();
        child.try_wait().unwrap()
    };
    let status = wait_for(ended, || "it goes on without a reader".into());
    assert!(status.success(), "a reader that leaves is no failure");
}

/// `usbpipe capture DEVICE -o -`, and what it writes as it comes; dropping the receiver leaves the pipe.
fn into_pipe(daemon: &Daemon, device: &str) -> (Child, Receiver<Vec<u8>>) {
    let mut command = usbpipe();
    command.arg("--dir").arg(&daemon.dir).args(["capture", device, "-o", "-"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let (sender, receiver) = sync_channel(0);
    spawn(move || {
        let mut chunk = vec![0; 65536];
        while let Ok(n @ 1..) = out.read(&mut chunk)
            && sender.send(chunk[..n].to_vec()).is_ok()
        {}
    });
    (child, receiver)
}

#[test]
fn a_capture_that_nobody_reads_does_not_hold_up_the_bridge_and_counts_what_it_lacks() {
    const READ: usize = 64 << 20;
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", ""));
    let (child, chunks) = into_pipe(&daemon, "zero");
    let begin = chunks.recv_timeout(PATIENCE).unwrap();
    let (source, _) = read_exactly(daemon.reader("zero/ep_81"), READ);
    drop(source);
    daemon.wait_pipe("zero", "ep_81", |pipe| pipe["open"] == false);
    assert!(daemon.proc_status("VmRSS") < 64 * 1024, "what is not read does not gather");
    kill(child.id(), SIGINT);
    let capture = [begin, chunks.iter().flatten().collect()].concat();
    let blocks = blocks(&capture);
    let records = blocks.iter().filter(|b| b.kind == RECORD).count() as u64;
    let told: u64 = blocks.iter().filter(|b| b.kind == RECORD).map(Block::dropped_before).sum();
    let end = blocks.last().unwrap();
    let (seen, dropped) = (end.option(20, 4).unwrap(), end.option(20, 5).unwrap());
    assert_eq!((end.kind, records + dropped), (STATISTICS, seen));
    assert!(dropped > 0 && told <= dropped, "{dropped} left out, of which records tell {told}");
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains(&format!("{dropped} were left out")), "{said}");
}

#[test]
fn a_ring_keeps_the_newest_records_and_its_size_at_any_moment() {
    const SIZE: u64 = 1 << 20;
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", ""));
    let mut recording = Recording::of(&daemon, "zero", &["--ring", "1M"]);
    // More than a header: what the device is.
    recording.wait(|blocks| blocks.len() > 2);
    let mut source = daemon.reader("zero/ep_81");
    for _ in 0..20 {
        source = read_exactly(source, SIZE as usize / 2).0;
        assert!(recording.length() <= SIZE);
        let now = blocks(&std::fs::read(&recording.file).unwrap());
        assert!(now.len() > 2 && now[0].kind == 0x0a0d_0d0a, "a whole capture at any moment");
    }
    drop(source);
    let back = daemon.reader("zero/ep_82");
    daemon.writer("zero/ep_02").write_all(b"the end").unwrap();
    assert_eq!(read_exactly(back, 7).1, b"the end");
    recording.wait(|blocks| blocks.iter().any(|b| b.event() == Some(('C', 0x82))));
    recording.end();
    assert!(recording.length() <= SIZE && recording.length() > SIZE / 4);
    assert_eq!(blocks(&std::fs::read(&recording.file).unwrap()).last().unwrap().kind, STATISTICS);
    assert_carried(&recording.file, 0x02, b"the end");
}

#[test]
fn a_capture_goes_on_over_unplug_and_replug_under_a_new_address() {
    let bus = Bus::with(&[Echo]);
    let daemon = Daemon::run(&bus.device("echo", ""));
    let mut recording = Recording::of(&daemon, "echo", &[]);
    let (line, mut to) = (daemon.reader("echo/serial.rx"), daemon.writer("echo/serial.tx"));
    to.write_all(b"before\n").unwrap();
    assert_eq!(read_line(&line), "before");
    bus.command("unplug echo 50");
    daemon.wait_status("echo", |status| status["sessions"] == 2);
    to.write_all(b"after\n").unwrap();
    assert_eq!(read_line(&line), "after");
    recording.end();
    let all = blocks(&std::fs::read(&recording.file).unwrap());
    let with_data = |text: &[u8]| all.iter().filter_map(Block::record).find(|(_, data)| *data == text).unwrap().0[11];
    assert_eq!([with_data(b"before\n"), with_data(b"after\n")], [1, 2]);
    assert!(all.iter().filter_map(Block::record).any(|(header, _)| header[28..32] == (-108i32).to_le_bytes()));
    assert_well_formed(&recording.file);
}

#[test]
fn without_a_daemon_a_selector_is_bridged_for_as_long_as_it_is_captured() {
    let bus = Bus::with(&[Echo]);
    let temp = TempDir::new().unwrap();
    let dir = temp.path().join("run");
    let selector = format!("usbip://127.0.0.1:{}/{}", bus.port, bus.busid("echo"));
    let mut recording = Recording::start(&dir, &selector, &[]);
    let outlets = wait_for(|| std::fs::read_dir(&dir).ok()?.flatten().find(|e| e.path().is_dir()), || "none".into());
    let path = |name: &str| outlets.path().join(name);
    // The later one of the two.
    wait_for(|| path("serial.tx").exists().then_some(()), || "no line".into());
    let line = File::open(path("serial.rx")).unwrap();
    OpenOptions::new().write(true).open(path("serial.tx")).unwrap().write_all(b"alone\n").unwrap();
    assert_eq!(read_line(&line), "alone");
    let said = recording.end();
    assert!(said.contains("none were left out"), "{said}");
    assert!(!dir.exists(), "nothing is left behind");
    let all = blocks(&std::fs::read(&recording.file).unwrap());
    let answered = all.iter().filter(|b| b.event() == Some(('C', 0x82))).any(|b| b.record().unwrap().1 == b"alone\n");
    assert!(answered && all.last().unwrap().kind == STATISTICS);
}

#[test]
fn what_is_captured_is_complete_when_the_daemon_ends() {
    let bus = Bus::with(&[Echo]);
    let mut daemon = Daemon::run(&bus.device("echo", ""));
    let mut recording = Recording::of(&daemon, "echo", &[]);
    assert!(daemon.end().success());
    assert!(wait_child(&mut recording.child).success());
    let all = blocks(&std::fs::read(&recording.file).unwrap());
    assert_eq!(all.last().unwrap().kind, STATISTICS);
}

#[test]
fn what_cannot_be_captured_is_refused_with_what_to_do() {
    let bus = Bus::with(&[Echo]);
    let daemon = Daemon::run(&bus.device("echo", ""));
    let refused = |args: &[&str], code: i32, words: &[&str]| {
        let output = daemon.ask(&[&["capture"], args].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(code) && words.iter().all(|w| said.contains(w)), "{args:?}: {said}");
    };
    refused(&["eco", "-o", "-"], 1, &["no device \"eco\"", "echo"]);
    refused(&["1234:5678", "-o", "-"], 1, &["no such device", "status"]);
    refused(&["echo", "--ring", "1M"], 2, &["-o FILE"]);
    refused(&["echo", "--ring", "1", "-o", "x"], 2, &["16K"]);
    refused(&["echo", "-o", "/nowhere/at/all"], 1, &["/nowhere/at/all", "cannot be written"]);
    let nobody = TempDir::new().unwrap();
    let output = usbpipe().arg("--dir").arg(nobody.path()).args(["capture", "echo", "-o", "-"]).output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("no daemon runs"));
}
