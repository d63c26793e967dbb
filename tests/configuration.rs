//! What the configuration says, what it may not say, and what happens when it changes.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "common/vitals.rs"]
mod vitals;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use common::{Bus, Daemon, read_exactly, usbpipe, wait_for, within};
use firmware_mock::DeviceKind::{Echo, Knob, Regs, Uno, Zero};
use nix::sys::signal::Signal::SIGHUP;
use tempfile::TempDir;
use vitals::{Events, inode};

#[test]
fn mistakes_are_named_with_file_line_and_column_by_run_and_by_check() {
    let device = "[[device]]\nname = \"a\"\nremote = \"usbip://localhost/1-1\"\n";
    let cases = [
        (format!("{device}colour = 3\n"), ":4:1:", "colour"),
        (format!("{device}unplug = 3\n"), ":4:10:", "`unplug`: expected a string"),
        (format!("{device}unplug = \"never\"\n"), ":4:10:", "never"),
        (format!("{device}{device}"), ":5:8:", "`a` is already"),
        (format!("{device}[[device.pipe]]\nendpoint = 0x00\n"), ":5:12:", "endpoint"),
        (format!("{device}[[device.pipe]]\nendpoint = 0x81\nqueue = 0\n"), ":6:9:", "queue"),
        (format!("{device}[[device.pipe]]\nendpoint = 0x81\ntransfer = -1\n"), ":6:12:", "transfer"),
        (format!("{device}[[device.pipe]]\nendpoint = 0x81\n[[device.pipe]]\nendpoint = 0x81\n"), ":7:12:", "0x81"),
        (format!("{device}mode = \"9999\"\n"), ":4:8:", "mode"),
        (format!("{device}match = {{ vid = 0x12345 }}\n"), ":4:17:", "vid"),
        (format!("{device}name = "), ":4:8:", ""),
        ("[device]\nname = \"a\"\n".to_owned(), ":1:1:", "[[device]]"),
        ("[[device]]\nname = \"a\"\nremote = \"lab-pi\"\n".to_owned(), ":3:10:", "usbip://"),
    ];
    let temp = TempDir::new().unwrap();
    let file = temp.path().join("broken.toml");
    for (text, place, word) in cases {
        fs::write(&file, &text).unwrap();
        for command in [&["config", "check"][..], &["run"]] {
            let dir = temp.path().join("run");
            let output = ended(usbpipe().args(command).arg("--dir").arg(&dir).arg("-c").arg(&file));
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{command:?} of {text}: {said}");
            assert!(said.contains(&format!("broken.toml{place}")) && said.contains(word), "{text}: {said}");
            assert!(!dir.exists(), "nothing was begun");
        }
    }
}

#[test]
fn a_configuration_that_is_missing_or_empty_is_wrong_usage_that_says_what_to_do() {
    let temp = TempDir::new().unwrap();
    let output = ended(usbpipe().arg("run").arg("-c").arg(temp.path().join("none.toml")));
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("none.toml"));
    let empty = temp.path().join("empty.toml");
    fs::write(&empty, "").unwrap();
    let output = ended(usbpipe().arg("run").arg("-c").arg(empty));
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("[[device]]"));
    let mut command = usbpipe();
    command.env("XDG_CONFIG_HOME", temp.path()).env("HOME", temp.path()).current_dir(temp.path());
    let output = ended(command.args(["config", "check"]));
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_good_configuration_is_said_to_be_good() {
    let temp = TempDir::new().unwrap();
    fs::write(temp.path().join("usbpipe.toml"), "[[device]]\nname = \"a\"\nremote = \"usbip://h/1-1\"\n").unwrap();
    let output = ended(usbpipe().args(["config", "check"]).current_dir(temp.path()));
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 device"));
}

#[test]
fn an_endpoint_that_the_device_lacks_is_named_beside_those_it_has() {
    let bus = Bus::with(&[Zero]);
    let pipes =
        "[[device.pipe]]\nendpoint = 0x83\n[[device.pipe]]\nendpoint = 0x82\n[[device.pipe]]\nendpoint = 0x02\n";
    let mut daemon = Daemon::run(&bus.device("zero", pipes));
    let said = daemon.wait_said("0x83");
    for there in ["0x81", "0x01", "0x82", "0x02"] {
        assert!(said.contains(there), "{said}");
    }
    daemon.writer("zero/ep_02").write_all(b"others work").unwrap();
    assert_eq!(read_exactly(daemon.reader("zero/ep_82"), 11).1, b"others work");
}

#[test]
fn another_device_than_the_one_that_was_meant_is_not_touched() {
    let bus = Bus::with(&[Zero]);
    let mut daemon = Daemon::run_unattached(&bus.device("zero", "match = { vid = 0x1234 }\n"));
    assert!(daemon.wait_said("another device").contains("0525:a4a0"));
    assert_eq!(daemon.status("zero")["sessions"], 0);
}

#[test]
fn sighup_starts_added_devices_ends_removed_ones_and_leaves_the_others_alone() {
    let bus = Bus::with(&[Zero, Regs, Uno]);
    let temp = TempDir::new().unwrap();
    let zero = bus.device("zero", "");
    let mut daemon = Daemon::run_in(&temp.path().join("run"), &format!("{zero}{}", bus.device("uno", "")));
    daemon.wait_attached();
    let (fifo, mut source) = (inode(&daemon.path("zero/ep_81")), daemon.reader("zero/ep_81"));
    source.read_exact(&mut [0; 5120]).unwrap();
    let mut client = std::os::unix::net::UnixStream::connect(daemon.path("uno/serial.ctl")).unwrap();
    client.write_all(b"lines\n").unwrap();
    client.read_exact(&mut [0; 2]).unwrap();

    reload(&mut daemon, &format!("{zero}{}", bus.device("regs", "")));
    daemon.wait_status("regs", |s| s["state"] == "attached");
    assert!(daemon.status("uno").is_null());
    assert!(!daemon.path("uno").exists());
    assert_eq!(inode(&daemon.path("zero/ep_81")), fifo);
    assert_eq!(daemon.status("zero")["sessions"], 1);
    let (_, bytes) = read_exactly(source, 1_000_000);
    assert!(bytes.iter().enumerate().all(|(n, &b)| usize::from(b) == n % 512 % 63), "the reader noticed");
    // The removed device is free for others, although a client of its line control is still connected.
    let remote = format!("usbip://127.0.0.1:{}/{}", bus.port, bus.busid("uno"));
    let answer = ended(usbpipe().args(["control", &remote, "status"]));
    assert!(String::from_utf8_lossy(&answer.stdout).starts_with("ok"), "{answer:?}");
    assert!(within(common::PATIENCE, move || {
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).is_ok()
    }));
}

#[test]
fn sighup_with_a_changed_device_starts_it_anew() {
    let bus = Bus::with(&[Zero]);
    let temp = TempDir::new().unwrap();
    let mut daemon = Daemon::run_in(&temp.path().join("run"), &bus.device("zero", ""));
    daemon.wait_attached();
    let reader = daemon.reader("zero/ep_82");
    reload(&mut daemon, &bus.device("zero", "[[device.pipe]]\nendpoint = 0x81\nframing = \"hex\"\n"));
    assert_eq!(within(common::PATIENCE, move || (&reader).read(&mut [0; 1]).unwrap()), 0);
    daemon.wait_attached();
    let (_, bytes) = read_exactly(daemon.reader("zero/ep_81"), 6);
    assert_eq!(bytes, b"000102");
    assert!(!daemon.path("zero/ep_82").exists());
}

#[test]
fn sighup_with_a_broken_configuration_changes_nothing() {
    let bus = Bus::with(&[Zero]);
    let temp = TempDir::new().unwrap();
    let mut daemon = Daemon::run_in(&temp.path().join("run"), &bus.device("zero", ""));
    daemon.wait_attached();
    let source = daemon.reader("zero/ep_81");
    fs::write(temp.path().join("run.toml"), "[[device]]\nnme = 3\n").unwrap();
    daemon.signal(SIGHUP);
    assert!(daemon.wait_said("stays as it was").contains(":2:1:"));
    assert_eq!(read_exactly(source, 100_000).1.len(), 100_000);
    assert_eq!(daemon.status("zero")["sessions"], 1);
    fs::remove_file(temp.path().join("run.toml")).unwrap();
    daemon.signal(SIGHUP);
    daemon.wait_said("cannot be read");
    assert_eq!(daemon.status("zero")["state"], "attached");
}

#[test]
fn two_readers_of_one_fifo_are_warned_of_by_name() {
    let bus = Bus::with(&[Knob]);
    let daemon = Daemon::run(&bus.device("knob", ""));
    let mut events = Events::of(&daemon);
    let first = cat(&daemon);
    daemon.wait_status("knob", |_| daemon.count("knob", "ep_81", "bytes") > 0);
    expect_warning(&mut events, [first, cat(&daemon)]);
}

#[test]
fn two_readers_that_were_there_before_the_device_are_warned_of_too() {
    let bus = Bus::with(&[Knob]);
    let port = bus.port;
    let daemon = Daemon::run(&bus.device("knob", ""));
    let mut events = Events::of(&daemon);
    drop(bus);
    events.wait("detach", "knob");
    let cats = [cat(&daemon), cat(&daemon)];
    let _bus = Bus::on_port(&[Knob], port);
    expect_warning(&mut events, cats);
}

/// A program that has opened the FIFO.
fn cat(daemon: &Daemon) -> Child {
    let path = daemon.path("knob/ep_81");
    let command = format!("exec cat <'{}' >/dev/null", path.display());
    let child = Command::new("sh").arg("-c").arg(command).spawn().unwrap();
    let stdin = format!("/proc/{}/fd/0", child.id());
    wait_for(|| (fs::read_link(&stdin).ok()? == path).then_some(()), || format!("{path:?} was not opened"));
    child
}

fn expect_warning(events: &mut Events, cats: [Child; 2]) {
    let warning = std::iter::repeat_with(|| events.wait("warning", "knob")).find(|w| w["outlet"] == "ep_81").unwrap();
    let text = warning["text"].as_str().unwrap();
    for mut cat in cats {
        assert!(text.contains(&cat.id().to_string()), "{text}");
        cat.kill().unwrap();
        cat.wait().unwrap();
    }
    assert!(text.contains("socket"), "{text}");
}

#[test]
fn with_idle_drain_the_device_is_read_while_nobody_listens() {
    let bus = Bus::with(&[Knob]);
    let daemon = Daemon::run(&bus.device("knob", "[[device.pipe]]\nendpoint = 0x81\nidle = \"drain\"\n"));
    daemon.wait_status("knob", |_| daemon.count("knob", "ep_81", "discarded_bytes") > 80);
    let before = daemon.count("knob", "ep_81", "transfers");
    let (reader, report) = read_exactly(daemon.reader("knob/ep_81"), 8);
    let first = u32::from_le_bytes(report[..4].try_into().unwrap());
    assert!(u64::from(first) + 20 >= before, "report {first} is an old one, {before} were drained");
    drop(reader);
    let then = daemon.count("knob", "ep_81", "discarded_bytes");
    daemon.wait_status("knob", |_| daemon.count("knob", "ep_81", "discarded_bytes") > then + 80);
}

#[test]
fn with_on_open_discard_a_new_reader_gets_nothing_old() {
    let bus = Bus::with(&[Zero]);
    let pipes = "[[device.pipe]]\nendpoint = 0x82\non_open = \"discard\"\n[[device.pipe]]\nendpoint = 0x02\n";
    let daemon = Daemon::run(&bus.device("zero", pipes));
    let mut writer = daemon.writer("zero/ep_02");
    let (reader, _) = {
        let reader = daemon.reader("zero/ep_82");
        writer.write_all(b"old bytes").unwrap();
        read_exactly(reader, 3)
    };
    drop(reader);
    daemon.wait_status("zero", |_| daemon.pipe("zero", "ep_82")["open"] == false);
    wait_for(
        || (daemon.count("zero", "ep_82", "discarded_bytes") == 6).then_some(()),
        || daemon.status("zero").to_string(),
    );
    let reader = daemon.reader("zero/ep_82");
    writer.write_all(b"new").unwrap();
    assert_eq!(read_exactly(reader, 3).1, b"new");
}

#[test]
fn with_on_open_discard_a_reader_that_leaves_while_the_device_is_away_leaves_nothing() {
    let bus = Bus::with(&[Zero]);
    let pipes = "[[device.pipe]]\nendpoint = 0x82\non_open = \"discard\"\n[[device.pipe]]\nendpoint = 0x02\n";
    let daemon = Daemon::run(&bus.device("zero", pipes));
    let mut writer = daemon.writer("zero/ep_02");
    let reader = daemon.reader("zero/ep_82");
    writer.write_all(b"old bytes").unwrap();
    let (reader, _) = read_exactly(reader, 3);
    bus.command("unplug zero 3000");
    daemon.wait_status("zero", |device| device["state"] != "attached");
    drop(reader);
    wait_for(
        || (daemon.count("zero", "ep_82", "discarded_bytes") == 6).then_some(()),
        || daemon.status("zero").to_string(),
    );
    let reader = daemon.reader("zero/ep_82");
    writer.write_all(b"new").unwrap();
    assert_eq!(read_exactly(reader, 3).1, b"new");
}

#[test]
fn with_stall_stop_a_halt_ends_readers_until_they_open_again() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", "[[device.pipe]]\nendpoint = 0x81\nstall = \"stop\"\n"));
    for stalls in 1..=3 {
        let mut reader = open(&daemon, "zero/ep_81", true);
        reader.read_exact(&mut [0; 100_000]).unwrap();
        bus.command("stall zero 0x81");
        within(common::PATIENCE, move || reader.read_to_end(&mut Vec::new()).unwrap());
        assert_eq!(daemon.count("zero", "ep_81", "stalls"), stalls);
    }
}

#[test]
fn with_stall_stop_a_halt_ends_writers_until_they_open_again() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", "[[device.pipe]]\nendpoint = 0x01\nstall = \"stop\"\n"));
    for stalls in 1..=3 {
        let mut writer = open(&daemon, "zero/ep_01", false);
        // The sink halts at the first wrong byte.
        writer.write_all(&[9; 512]).unwrap();
        let error = within(common::PATIENCE, move || {
            loop {
                if let Err(error) = writer.write_all(&[0]) {
                    return error;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
        assert_eq!(daemon.count("zero", "ep_01", "stalls"), stalls);
    }
    let good: Vec<u8> = (0..512u32).map(|n| (n % 63) as u8).collect();
    let before = daemon.count("zero", "ep_01", "bytes");
    open(&daemon, "zero/ep_01", false).write_all(&good).unwrap();
    daemon.wait_status("zero", |_| daemon.count("zero", "ep_01", "bytes") == before + 512);
}

#[test]
fn a_device_is_called_as_the_configuration_says_and_never_leaves_the_run_dir() {
    let bus = Bus::with(&[Echo]);
    let config = format!("[[device]]\nname = \"../../etc/passwd\"\n{}", bus.remote("echo"));
    let daemon = Daemon::run_unattached(&config);
    let names: Vec<PathBuf> = fs::read_dir(&daemon.dir).unwrap().map(|e| e.unwrap().path()).collect();
    let made: Vec<_> = names.iter().filter(|p| p.is_dir()).collect();
    assert_eq!(made, [&daemon.path("_._.._etc_passwd")]);
}

/// Writes the configuration anew and waits until the daemon has read it.
fn reload(daemon: &mut Daemon, config: &str) {
    fs::write(daemon.dir.with_extension("toml"), config).unwrap();
    daemon.signal(SIGHUP);
    daemon.wait_said("read again");
}

/// Opens an outlet; fails the test instead of waiting forever.
fn open(daemon: &Daemon, name: &str, read: bool) -> File {
    let path = daemon.path(name);
    within(common::PATIENCE, move || File::options().read(read).write(!read).open(path).unwrap())
}

/// Output of a command that must end by itself.
fn ended(command: &mut Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    common::wait_child(&mut child);
    child.wait_with_output().unwrap()
}
