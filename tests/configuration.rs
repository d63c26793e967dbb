//! What the configuration says, what it may not say, and what happens when it changes.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "common/vitals.rs"]
mod vitals;

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use common::{Bus, Daemon, ended, read_exactly, read_line, usbpipe, wait_for, within};
use firmware_mock::DeviceKind::{Echo, Knob, Regs, Uno, Zero};
use nix::sys::signal::Signal::SIGHUP;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use tempfile::TempDir;
use vitals::{Events, cpu_ticks, inode};

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
fn sighup_with_changed_settings_of_a_line_changes_them_and_programs_go_on() {
    let bus = Bus::with(&[Uno]);
    let temp = TempDir::new().unwrap();
    let config = |serial: &str| bus.device("uno", &format!("[device.serial]\n{serial}"));
    let mut daemon = Daemon::run_in(&temp.path().join("run"), &config("baud = 9600\n"));
    daemon.wait_attached();
    let (answers, lines) = (daemon.reader("uno/serial.rx"), daemon.writer("uno/serial.tx"));
    let tty = fs::OpenOptions::new().read(true).write(true).open(daemon.path("uno/serial.tty")).unwrap();
    let ask = |line: &str| {
        (&lines).write_all(format!("{line}\n").as_bytes()).unwrap();
        std::iter::repeat_with(|| read_line(&answers)).find(|answer| answer != "READY").unwrap()
    };
    let changes = [
        ("baud = 57600\n", "baud=57600 dtr=0", "mode=8N1"),
        ("baud = 57600\nmode = \"7E2\"\nboot_wait = 0.001\n", "baud=57600 dtr=0", "mode=7E2"),
        ("baud = 19200\nmode = \"7E2\"\ndtr = true\nrts = true\n", "baud=19200 dtr=1", "rts=on baud=19200 mode=7E2"),
        // What is not asked for any more stays as it is.
        (
            "unread = \"forever\"\nreset = \"if-idle\"\npatience = 2\n",
            "baud=19200 dtr=1",
            "rts=untouched baud=19200 mode=7E2",
        ),
    ];
    for (serial, told, shown) in changes {
        reload(&mut daemon, &config(serial));
        let lines = || daemon.answer(&["serial", "uno", "lines"]);
        wait_for(|| lines().ends_with(shown).then_some(()), || format!("after {serial:?}: {}", lines()));
        let status = ask("STATUS");
        assert!(status.contains(told), "after {serial:?}: {status}");
    }
    assert_eq!(daemon.status("uno")["sessions"], 1);
    assert!(daemon.pipe("uno", "serial.rx")["clients"].as_array().unwrap().len() == 2, "the terminal too");
    drop(tty);
    // What takes other outlets is another device.
    reload(&mut daemon, &config("outlets = [\"fifo\"]\n"));
    assert_eq!(within(common::PATIENCE, move || (&answers).read(&mut [0; 1]).unwrap()), 0);
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

#[test]
fn two_readers_of_one_fifo_are_warned_of_although_both_have_gone() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", ""));
    let mut events = Events::of(&daemon);
    for round in 0..5 {
        // In one process, which is not looked for twice.
        let readers = [daemon.reader("zero/ep_81"), daemon.reader("zero/ep_81")];
        for mut reader in &readers {
            reader.read_exact(&mut [0; 64]).unwrap();
        }
        drop(readers);
        let warning = events.wait("warning", "zero");
        let text = warning["text"].as_str().unwrap();
        assert!(text.starts_with("2 programs had this FIFO open at the same time"), "{text}");
        assert!(text.contains("socket") && warning["outlet"] == "ep_81", "{text}");
        // Later on they share what the FIFO still has, and are gone before the bridge goes on.
        let bytes = text.split(' ').find_map(|word| word.parse().ok().filter(|&n: &u64| n > 2));
        assert!(round > 0 || bytes.is_some_and(|n| n >= 128), "{text}");
        daemon.wait_pipe("zero", "ep_81", |pipe| pipe["open"] == false);
    }
    // One after the other they take nothing from each other.
    let mut events = Events::of(&daemon);
    for _ in 0..5 {
        daemon.reader("zero/ep_81").read_exact(&mut [0; 64]).unwrap();
        daemon.wait_pipe("zero", "ep_81", |pipe| pipe["open"] == false);
    }
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    while let Some(event) = events.next(common::PATIENCE) {
        assert_ne!(event["event"], "warning", "{event}");
    }
}

#[test]
fn config_check_names_a_program_that_is_not_there_and_where_it_was_looked_for() {
    let temp = TempDir::new().unwrap();
    let file = temp.path().join("usbpipe.toml");
    let check = |run: &str| {
        let text = format!("[[device]]\nname = \"d\"\nmatch = {{ vid = 1 }}\n[device.serial]\nrun = [{run}]\n");
        fs::write(&file, text).unwrap();
        let output = ended(usbpipe().args(["config", "check", "-c"]).arg(&file).env("PATH", "/nowhere:/usr/bin:/bin"));
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, told) = check("\"./logger\", \"--stdin\"");
    let path = temp.path().join("./logger");
    assert!(code == 2 && told.contains(&format!("{}:5:8: ", file.display())), "{told}");
    assert!(told.contains(&format!("{} is not there", path.display())), "{told}");
    let (code, told) = check("\"no-such-program\"");
    assert!(code == 2 && told.contains(":5:8: ") && told.contains("PATH (/nowhere:/usr/bin:/bin)"), "{told}");
    fs::write(&path, "#!/bin/sh\n").unwrap();
    let (code, told) = check("\"./logger\"");
    assert!(code == 2 && told.contains("chmod +x"), "{told}");
    assert_eq!(check("\"sh\"").0, 0);
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
fn a_device_is_called_as_the_configuration_says_and_never_leaves_the_run_dir() {
    let bus = Bus::with(&[Echo]);
    let config = format!("[[device]]\nname = \"../../etc/passwd\"\n{}", bus.remote("echo"));
    let daemon = Daemon::run_unattached(&config);
    let names: Vec<PathBuf> = fs::read_dir(&daemon.dir).unwrap().map(|e| e.unwrap().path()).collect();
    let made: Vec<_> = names.iter().filter(|p| p.is_dir()).collect();
    assert_eq!(made, [&daemon.path("_._.._etc_passwd")]);
}

/// Writes the configuration anew and waits until the daemon has read it.
/// A configuration of ten times as many devices takes ten times as long to check, and not a hundred times.
#[test]
fn checking_a_configuration_takes_as_long_as_it_is() {
    let temp = TempDir::new().unwrap();
    let check = |devices: usize| {
        let file = temp.path().join(format!("{devices}.toml"));
        let device =
            |n| format!("[[device]]\nname = \"d{n}\"\nmatch = {{ vid = 0x1209, pid = 1, serial = \"{n}\" }}\n");
        fs::write(&file, (0..devices).map(device).collect::<String>()).unwrap();
        let mut command = usbpipe();
        let mut child = command.args(["config", "check", "-c"]).arg(&file).stdout(Stdio::piped()).spawn().unwrap();
        // The times of a process can be read until it is waited for.
        let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
        waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
        let ticks = cpu_ticks(child.id());
        assert!(child.wait().unwrap().success());
        ticks
    };
    let (few, many) = (check(2_000), check(20_000));
    println!("2,000 devices took {few} ticks, 20,000 took {many}");
    // A clock tick is 10 ms, and the few may have taken less than one.
    assert!(many < 30 * (few + 1), "2,000 devices took {few} ticks, 20,000 took {many}");
}

fn reload(daemon: &mut Daemon, config: &str) {
    fs::write(daemon.dir.with_extension("toml"), config).unwrap();
    daemon.signal(SIGHUP);
    daemon.wait_said("read again");
}
