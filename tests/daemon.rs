//! The daemon's own life: what may not hold it up, and how it ends.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/vitals.rs"]
mod vitals;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use common::witness::Witness;
use common::{Bus, Daemon, PATIENCE, read_line, usbpipe, wait_for, while_progressing, within};
use firmware_mock::DeviceKind::{Uno, Zero};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGTERM};
use peer::{Behaviour, Fake, Peer};
use serde_json::Value;
use tempfile::TempDir;
use vitals::Events;

/// Stderr is a pipe whose reader has stopped: what finds no room in it is dropped, and nothing waits for it. A reader that
/// goes on learns how much it has missed.
#[test]
fn a_log_that_nobody_reads_holds_up_nothing() {
    let bus = Bus::with(&[Zero]);
    let temp = TempDir::new().unwrap();
    let (mut log, mut stderr) = std::io::pipe().unwrap();
    let filled = fill(&mut stderr);
    // Each time that it is read again, a line names it.
    let long = (0..15).fold(temp.path().to_owned(), |dir, _| dir.join("x".repeat(200)));
    fs::create_dir_all(&long).unwrap();
    let mut command = run(&temp, &long, &bus.device("zero", ""));
    command.stderr(stderr);
    let mut daemon = Daemon::of(command.spawn().unwrap(), &temp.path().join("run"));
    drop(command);
    daemon.wait_attached();
    let tasks = || String::from_utf8(daemon.ask(&["status", "--tasks"]).stdout).unwrap();
    let text = wait_for(
        || {
            daemon.signal(SIGHUP);
            Some(tasks()).filter(|text| text.contains("lines of the log were dropped"))
        },
        tasks,
    );
    println!("{text}");
    echoes(&daemon, 1000);

    let mut rest = vec![0; filled];
    log.read_exact(&mut rest).unwrap();
    let (log, missed) = within(PATIENCE, move || {
        let mut lines = BufReader::new(log).lines().map(Result::unwrap);
        let missed = lines.find(|line| line.contains("lines of the log were dropped")).unwrap();
        (lines, missed)
    });
    println!("{missed}");
    // And nobody reads it at the end.
    assert!(daemon.end().success());
    drop(log);
}

#[test]
fn a_full_disk_under_the_log_holds_up_nothing() {
    let bus = Bus::with(&[Zero]);
    let temp = TempDir::new().unwrap();
    let mut command = run(&temp, temp.path(), &bus.device("zero", ""));
    command.stderr(File::options().write(true).open("/dev/full").unwrap());
    let mut daemon = Daemon::of(command.spawn().unwrap(), &temp.path().join("run"));
    daemon.wait_attached();
    echoes(&daemon, 10);
    assert!(daemon.end().success());
    // A command that fails says so in vain, but with its own status.
    let mut command = usbpipe();
    command.args(["--dir", "/nowhere", "status"]).stderr(File::options().write(true).open("/dev/full").unwrap());
    assert_eq!(command.status().unwrap().code(), Some(1));
}

/// The run dir is on a disk without room: `device.json` cannot be written, and everything else works.
#[test]
fn a_full_disk_under_the_run_dir_holds_up_nothing() {
    let bus = Bus::with(&[Zero]);
    let temp = TempDir::new().unwrap();
    let full = temp.path().join("full");
    fs::create_dir(&full).unwrap();
    let file = temp.path().join("full.toml");
    fs::write(&file, bus.device("zero", "")).unwrap();
    let mut command = usbpipe();
    command.arg("run").arg("--dir").arg(full.join("run")).arg("-c").arg(&file).stderr(Stdio::piped());
    on_a_small_disk(&mut command, &full);
    let Ok(child) = command.spawn() else {
        println!("skipped: no mount namespace can be made here");
        return;
    };
    let inside = PathBuf::from(format!("/proc/{}/root{}", child.id(), full.join("run").display()));
    let mut daemon = Daemon::of(child, &inside);
    daemon.wait_attached();
    echoes(&daemon, 10);
    assert!(fs::read(daemon.path("zero/device.json")).map_or(true, |text| text.is_empty()), "the disk is not full");
    assert!(daemon.end().success());
    let mut said = String::new();
    daemon.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("device.json") && said.contains("No space left"), "{said}");
}

/// Devices that do not take what was written end at once, not one after the other, and a signal is heard meanwhile.
#[test]
fn a_daemon_that_reads_its_configuration_again_hears_signals() {
    let (_peer, mut daemon, _writers) = with_unflushed_devices("");
    replace_all(&daemon);
    // They have begun to end.
    wait_for(|| daemon.status("d0").is_null().then_some(()), || daemon.status("d0").to_string());
    let witness = Witness::start();
    daemon.signal(SIGTERM);
    assert!(daemon.wait_end().success());
    // `flush` is a second; see rule 15 of the contract.
    witness.assert_within(Duration::from_secs(3));
    assert!(!daemon.dir.exists());
}

#[test]
fn a_configuration_that_changes_while_it_is_read_is_read_again() {
    let (_peer, mut daemon, _writers) = with_unflushed_devices("");
    replace_all(&daemon);
    wait_for(|| daemon.status("d0").is_null().then_some(()), || daemon.status("d0").to_string());
    fs::write(daemon.dir.with_extension("toml"), absent("newest")).unwrap();
    daemon.signal(SIGHUP);
    wait_for(|| (!daemon.status("newest").is_null()).then_some(()), || daemon.status("newest").to_string());
    assert!(daemon.status("other").is_null());
    assert!(daemon.end().success());
}

#[test]
fn an_end_waits_for_flush_and_a_second_signal_for_nothing() {
    let (_peer, mut daemon, _writers) = with_unflushed_devices("[[device.pipe]]\nendpoint = 0x01\nflush = \"10m\"\n");
    let mut events = Events::of(&daemon);
    daemon.signal(SIGTERM);
    // Commands are answered until the end.
    wait_for(|| daemon.status("d0").is_null().then_some(()), || daemon.status("d0").to_string());
    assert!(events.next(Duration::ZERO).is_none_or(|event| event["event"] != "loss"));
    let witness = Witness::start();
    daemon.signal(SIGINT);
    assert_eq!(daemon.wait_end().code(), Some(1));
    witness.assert_within(Duration::from_secs(1));
    assert!(daemon.all_said().iter().any(|line| line.contains("second signal")), "{:?}", daemon.said());
}

/// 20 devices that have bytes of a program and do not take them, with what else their configuration says.
fn with_unflushed_devices(settings: &str) -> (Peer, Daemon, Vec<File>) {
    let mut fake = Fake::silent();
    let endpoint = fake.configuration.iter().rposition(|&byte| byte == 0x81).unwrap();
    fake.configuration[endpoint] = 0x01;
    let seen = fake.seen.clone();
    let peer = Peer::new(Behaviour::Serve(fake));
    let config: String = (0..20).map(|n| peer.device(&format!("d{n}"), settings)).collect();
    let daemon = Daemon::run(&config);
    let write = |n| {
        let mut writer = daemon.writer(&format!("d{n}/ep_01"));
        writer.write_all(b"never taken").unwrap();
        writer
    };
    let writers: Vec<File> = (0..20).map(write).collect();
    let unanswered = || seen.unanswered.load(SeqCst);
    wait_for(|| (unanswered() == 20).then_some(()), || format!("{} transfers", unanswered()));
    (peer, daemon, writers)
}

/// Has the daemon end all its devices and start another one.
fn replace_all(daemon: &Daemon) {
    fs::write(daemon.dir.with_extension("toml"), absent("other")).unwrap();
    daemon.signal(SIGHUP);
}

/// A device that is not there.
fn absent(name: &str) -> String {
    format!("[[device]]\nname = \"{name}\"\nmatch = {{ vid = 0x1209, pid = 1, serial = \"absent\" }}\n")
}

/// A pulse of a minute is over when nobody waits for it any more, and holds up neither programs nor the end.
#[test]
fn a_long_pulse_ends_with_its_asker_and_with_the_daemon() {
    let bus = Bus::with(&[Uno]);
    let mut daemon = Daemon::run(&bus.device("uno", "[device.serial]\noutlets = [\"fifo\", \"tty\"]\n"));
    let lines = || daemon.answer(&["serial", "uno", "lines"]);
    let wait_dtr = |state: &str| wait_for(|| lines().contains(&format!("dtr={state}")).then_some(()), lines);
    for request in ["dtr pulse 60000", "rts pulse 60000"] {
        let mut asker = daemon.both("uno/serial.ctl");
        writeln!(asker, "dtr off").unwrap();
        assert_eq!(read_line(&asker), "ok");
        writeln!(asker, "{request}").unwrap();
        let (line, _) = request.split_once(' ').unwrap();
        wait_for(|| lines().contains(&format!("{line}=on")).then_some(()), lines);
        // Programs have the line meanwhile.
        let (reader, mut writer) = (daemon.reader("uno/serial.rx"), daemon.writer("uno/serial.tx"));
        writeln!(writer, "PING {line}").unwrap();
        while read_line(&reader) != format!("PONG {line}") {}
        drop(asker);
        wait_for(|| lines().contains(&format!("{line}=off")).then_some(()), lines);
    }
    let mut command = usbpipe();
    command.arg("--dir").arg(&daemon.dir).args(["serial", "uno", "dtr", "pulse", "60000"]);
    let mut asker = command.stdout(Stdio::null()).spawn().unwrap();
    wait_dtr("on");
    asker.kill().unwrap();
    asker.wait().unwrap();
    wait_dtr("off");

    let mut asker = daemon.both("uno/serial.ctl");
    writeln!(asker, "dtr pulse 60000").unwrap();
    wait_dtr("on");
    let _terminal = File::options().read(true).write(true).open(daemon.path("uno/serial.tty")).unwrap();
    let witness = Witness::start();
    daemon.signal(SIGTERM);
    assert!(daemon.wait_end().success());
    witness.assert_within(Duration::from_secs(3));
}

/// Programs that a daemon starts get the limit that it was started with.
#[test]
fn the_soft_limit_of_descriptors_is_raised_for_the_daemon_alone() {
    let bus = Bus::with(&[Uno]);
    let temp = TempDir::new().unwrap();
    let shown = temp.path().join("limit");
    let program = format!("run = [\"/bin/sh\", \"-c\", \"ulimit -Sn >{}; exec sleep 1000\"]", shown.display());
    let mut config = bus.device("uno", &format!("[device.serial]\n{program}\n"));
    config.extend((0..40).map(|n| absent(&format!("d{n}")) + "[device.serial]\n"));
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let mut daemon = limited(&temp, &config, 160, hard);
    assert_eq!(daemon.wait_status("d39", |device| device["state"] == "searching")["problem"], Value::Null);
    let limit = || fs::read_to_string(&shown).unwrap_or_default();
    wait_for(|| (limit() == "160\n").then_some(()), limit);
    assert!(daemon.end().success());
}

/// Where descriptors do not suffice, the devices without them wait for some, and all others work.
#[test]
fn a_device_without_descriptors_is_a_problem_of_that_device_only() {
    let bus = Bus::with(&[Zero]);
    let temp = TempDir::new().unwrap();
    let config = bus.device("zero", "") + &(0..60).map(|n| absent(&format!("d{n}"))).collect::<String>();
    let mut daemon = limited(&temp, &config, 200, 200);
    daemon.wait_status("zero", |zero| zero["state"] == "attached");
    echoes(&daemon, 10);
    let waiting = daemon.status("d59");
    assert!(waiting["problem"].as_str().is_some_and(|text| text.contains("Too many open files")), "{waiting}");
    // They get theirs when others need them no more.
    fs::write(temp.path().join("run.toml"), bus.device("zero", "") + &absent("d59")).unwrap();
    daemon.signal(SIGHUP);
    daemon.wait_status("d59", |device| device["state"] == "searching" && device["problem"].is_null());
    echoes(&daemon, 10);
    assert!(daemon.end().success());
}

/// A daemon that is started with these limits of descriptors.
fn limited(temp: &TempDir, config: &str, soft: u64, hard: u64) -> Daemon {
    let mut command = run(temp, temp.path(), config);
    // SAFETY: setrlimit(2) may be called between fork and exec.
    unsafe { command.pre_exec(move || Ok(setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?)) };
    let mut daemon = Daemon::start(command, &temp.path().join("run"));
    daemon.wait_said("ready");
    daemon
}

/// systemd hears from the reactor, and from nobody else.
#[test]
fn the_watchdog_of_systemd_is_fed() {
    let temp = TempDir::new().unwrap();
    let path = temp.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = run(&temp, temp.path(), &absent("d"));
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "100000");
    let mut daemon = Daemon::start(command, &temp.path().join("run"));
    let next = || {
        let mut message = [0; 64];
        let n = manager.recv(&mut message).unwrap();
        String::from_utf8(message[..n].to_vec()).unwrap()
    };
    assert_eq!(next(), "READY=1");
    for _ in 0..5 {
        assert_eq!(next(), "WATCHDOG=1");
    }
    daemon.signal(SIGTERM);
    while next() != "STOPPING=1" {}
    assert!(daemon.wait_end().success());
}

/// What each task waits for can be seen.
#[test]
fn the_tasks_of_a_daemon_are_listed_with_what_they_wait_for() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run_unattached(&(bus.device("zero", "") + &absent("d")));
    daemon.wait_status("zero", |zero| zero["state"] == "attached");
    let _reader = daemon.reader("zero/ep_81");
    let tasks = || -> Value {
        let shown = daemon.ask(&["status", "--tasks", "--json"]);
        serde_json::from_slice(&shown.stdout).unwrap()
    };
    let state = |device: &str, task: &str| {
        let all = tasks();
        let found =
            all["tasks"].as_array().unwrap().iter().find(|t| t["device"] == device && t["task"] == task).cloned();
        found.map(|t| format!("{} {}", t["state"], t["waits_for"]))
    };
    let wait = |device: &str, task: &str, wanted: &str| {
        let shown = || format!("{:?}", state(device, task));
        wait_for(|| state(device, task).filter(|state| state == wanted), shown);
    };
    wait("zero", "device", "\"attached\" \"the device to go\"");
    wait("zero", "ep_81", "\"transferring\" \"the device, or programs that read\"");
    wait("zero", "ep_02", "\"idle\" \"a program that writes\"");
    wait("d", "device", "\"searching\" \"news of the device, or the next try\"");
    assert_eq!(tasks()["dropped_log_lines"], 0);
    let text = daemon.answer(&["status", "--tasks"]);
    assert!(text.lines().any(|line| line.starts_with("admin.sock ") && line.ends_with("waits for commands")), "{text}");
}

/// Whoever connects all the time fills no log, and the events say how often it did.
#[test]
fn what_happens_all_the_time_is_reported_once_a_second() {
    let bus = Bus::with(&[Zero]);
    let temp = TempDir::new().unwrap();
    let config = bus.device("zero", "[[device.pipe]]\nendpoint = 0x81\noutlets = [\"fifo\", \"socket\"]\n");
    let mut command = run(&temp, temp.path(), &config);
    command.env("RUST_LOG", "debug");
    let mut daemon = Daemon::start(command, &temp.path().join("run"));
    daemon.wait_said("ready");
    daemon.wait_attached();
    let mut events = Events::of(&daemon);
    for _ in 0..2000 {
        drop(daemon.both("zero/ep_81.sock"));
    }
    let mut count = 0;
    loop {
        let event = events.wait("open", "zero");
        count += 1;
        if event["text"].as_str().unwrap().contains("within a second") {
            println!("after {count} events: {event}");
            break;
        }
    }
    assert!(daemon.end().success());
    let said = daemon.all_said().iter().filter(|line| line.contains("connected")).count();
    assert!(said < 200, "{said} lines for 2000 connections");
}

/// A file system of a single page in a mount namespace of its own, with nothing left.
fn on_a_small_disk(command: &mut Command, place: &Path) {
    let place = place.to_owned();
    let full = place.join("full");
    let prepare = move || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        mount(Some("small"), &place, Some("tmpfs"), MsFlags::empty(), Some("size=4k"))?;
        fs::write(&full, [0; 4096])
    };
    // SAFETY: between fork and exec of a test; no other thread of it holds a lock that is needed here for long.
    unsafe { command.pre_exec(prepare) };
}

/// `usbpipe run` in `temp/run` with this configuration, which is written in `folder`.
fn run(temp: &TempDir, folder: &Path, config: &str) -> Command {
    let file = folder.join("run.toml");
    fs::write(&file, config).unwrap();
    let mut command = usbpipe();
    command.arg("run").arg("--dir").arg(temp.path().join("run")).arg("-c").arg(&file);
    command
}

/// Fills a pipe, and returns how much is in it.
fn fill(pipe: &mut std::io::PipeWriter) -> usize {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    fcntl(&*pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    let mut filled = 0;
    while let Ok(n) = pipe.write(&[b'.'; 4096]) {
        filled += n;
    }
    fcntl(&*pipe, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    filled
}

/// Sends so many messages round the loopback.
fn echoes(daemon: &Daemon, count: u32) {
    let (mut writer, mut reader) = (daemon.writer("zero/ep_02"), daemon.reader("zero/ep_82"));
    while_progressing(move |progress| {
        for n in 0..count {
            writer.write_all(&n.to_le_bytes()).unwrap();
            let mut echo = [0; 4];
            reader.read_exact(&mut echo).unwrap();
            assert_eq!(u32::from_le_bytes(echo), n);
            progress.made();
        }
    });
}
