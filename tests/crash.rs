//! Programs that are killed or stopped, and a daemon that is.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "common/vitals.rs"]
mod vitals;

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::spawn;
use std::time::{Duration, Instant};

use common::{Bus, Daemon, kill, read_exactly, wait_for, within};
use firmware_mock::DeviceKind::{Regs, Zero};
use nix::libc::O_NONBLOCK;
use nix::sys::signal::Signal::{SIGCONT, SIGKILL, SIGSTOP};
use tempfile::TempDir;
use vitals::{Events, cpu_ticks, inode, wait_rest};

#[test]
fn what_a_killed_reader_did_not_take_goes_to_the_next_one() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", ""));
    for round in 0..5 {
        let mut sleeper = holder(&daemon.path("zero/ep_82"), "exec sleep 1000 <");
        daemon.wait_status("zero", |_| daemon.pipe("zero", "ep_82")["open"] == true);
        let expected = records(round * 100_000, 100_000);
        let mut writer = daemon.writer("zero/ep_02");
        let all = expected.clone();
        let written = spawn(move || writer.write_all(&all).unwrap());
        // All of it waits in the FIFO, in the bridge and in the device.
        daemon.wait_status("zero", |_| daemon.count("zero", "ep_82", "bytes") > 0);
        kill(sleeper.id(), SIGKILL);
        sleeper.wait().unwrap();
        let (_, bytes) = read_exactly(daemon.reader("zero/ep_82"), expected.len());
        assert!(bytes == expected, "round {round}: bytes were lost, doubled or out of order");
        within(common::PATIENCE, || written.join().unwrap());
    }
    wait_rest(daemon.child.id());
}

#[test]
fn a_killed_writer_leaves_a_whole_beginning_and_the_next_one_goes_on() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", ""));
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("numbers");
    std::fs::write(&file, records(0, 1_000_000)).unwrap();
    let mut reader = daemon.reader("zero/ep_82");
    let command = format!("exec cat {} >", file.display());
    let mut writer = holder(&daemon.path("zero/ep_02"), &command);
    let first;
    (reader, first) = read_exactly(reader, 80_000);
    assert!(first == records(0, 10_000));
    kill(writer.id(), SIGKILL);
    writer.wait().unwrap();
    let end = [0xff; 8];
    daemon.writer("zero/ep_02").write_all(&end).unwrap();
    within(common::PATIENCE, move || {
        let mut next = 10_000u64;
        let mut record = [0; 8];
        loop {
            reader.read_exact(&mut record).unwrap();
            if record == end {
                return;
            }
            assert_eq!(u64::from_le_bytes(record), next);
            next += 1;
        }
    });
}

#[test]
fn the_next_daemon_takes_over_what_a_killed_one_left() {
    let bus = Bus::with(&[Zero]);
    let temp = TempDir::new().unwrap();
    let (dir, config) = (temp.path().join("run"), bus.device("zero", ""));
    let mut daemon = Daemon::run_in(&dir, &config);
    daemon.wait_attached();
    let names = ["zero/ep_81", "zero/ep_82", "zero/ep_01", "zero/ep_02", "zero/ep_00.request", "zero/ep_00.response"];
    let inodes = names.map(|n| inode(&daemon.path(n)));
    let mut reader = daemon.reader("zero/ep_82");
    daemon.writer("zero/ep_02").write_all(b"first").unwrap();
    let bytes;
    (reader, bytes) = read_exactly(reader, 5);
    assert_eq!(bytes, b"first");
    daemon.signal(SIGKILL);
    daemon.wait_end();
    assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0, "nobody writes at the moment");

    let mut next = Daemon::run_in(&dir, &config);
    next.wait_attached();
    assert_eq!(names.map(|n| inode(&next.path(n))), inodes);
    next.writer("zero/ep_02").write_all(b"again").unwrap();
    assert_eq!(read_exactly(reader, 5).1, b"again");
    assert!(next.end().success());
    assert!(!dir.join("zero").exists(), "the second daemon removes what the first one made");
}

#[test]
fn a_reader_that_is_stopped_for_ten_seconds_costs_nothing_and_loses_nothing() {
    let bus = Bus::with(&[Zero, Zero, Regs]);
    let zero = bus.device("zero", "");
    let daemon = Daemon::run(&format!("{zero}{}{}", bus.device("zero-2", ""), bus.device("regs", "")));
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("copy");
    let mut cat = Command::new("cat")
        .stdin(Stdio::from(daemon.reader("zero/ep_82")))
        .stdout(File::create(&file).unwrap())
        .spawn()
        .unwrap();
    let mut flood = holder(&daemon.path("zero/ep_81"), "exec sleep 1000 <");
    let mut writer = daemon.writer("zero/ep_02");
    let written = spawn(move || writer.write_all(&records(0, RECORDS)).unwrap());
    wait_for(|| (file.metadata().unwrap().len() > 0).then_some(()), || "nothing arrives".into());
    let (mut back, mut out) = (daemon.reader("zero-2/ep_82"), daemon.writer("zero-2/ep_02"));
    for outlet in ["ep_82", "ep_02"] {
        daemon.wait_status("zero-2", |_| daemon.pipe("zero-2", outlet)["open"] == true);
    }
    kill(cat.id(), SIGSTOP);
    wait_rest(daemon.child.id());
    let (memory, started) = (daemon.proc_status("VmRSS"), Instant::now());
    let mut slowest = Duration::ZERO;
    while started.elapsed() < Duration::from_secs(10) {
        let asked = Instant::now();
        out.write_all(b"ping").unwrap();
        let bytes;
        (back, bytes) = read_exactly(back, 4);
        assert_eq!(bytes, b"ping");
        slowest = slowest.max(asked.elapsed());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(slowest < Duration::from_secs(1), "another device took {slowest:?} to answer");
    assert_eq!(daemon.answer(&["control", "zero", "clear-halt 0x01"]), "ok", "the same device's control pipe");
    let grown = daemon.proc_status("VmRSS").saturating_sub(memory);
    assert!(grown < 1024, "grew by {grown} KiB");

    kill(cat.id(), SIGCONT);
    let whole = || (file.metadata().unwrap().len() == RECORDS * 8).then_some(());
    wait_for(whole, || format!("{} of {} bytes", file.metadata().unwrap().len(), RECORDS * 8));
    assert!(std::fs::read(&file).unwrap() == records(0, RECORDS), "bytes were lost, doubled or out of order");
    within(common::PATIENCE, || written.join().unwrap());
    for child in [&mut cat, &mut flood] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn a_stopped_reader_of_a_device_that_went_does_not_hold_up_its_other_pipes() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", "unplug = \"eof\""));
    let mut sleeper = holder(&daemon.path("zero/ep_81"), "exec sleep 1000 <");
    daemon.wait_status("zero", |_| daemon.count("zero", "ep_81", "bytes") > 300_000);
    let mut events = Events::of(&daemon);
    for _ in 0..3 {
        bus.command("unplug zero 50");
        events.wait("attach", "zero");
        let (reader, mut writer) = within(common::PATIENCE, {
            let (back, out) = (daemon.path("zero/ep_82"), daemon.path("zero/ep_02"));
            move || (File::open(back).unwrap(), OpenOptions::new().write(true).open(out).unwrap())
        });
        writer.write_all(b"ping").unwrap();
        assert_eq!(read_exactly(reader, 4).1, b"ping");
    }
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    let reader = within(common::PATIENCE, {
        let path = daemon.path("zero/ep_81");
        move || File::open(path).unwrap()
    });
    assert_eq!(read_exactly(reader, 100).1.len(), 100);
}

#[test]
fn the_end_of_a_very_short_reader_or_writer_is_always_seen() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", ""));
    for _ in 0..30 {
        let openers: Vec<_> = (0..4)
            .map(|n| {
                let (back, out) = (daemon.path("zero/ep_82"), daemon.path("zero/ep_02"));
                spawn(move || {
                    for _ in 0..50 {
                        drop(OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(&back).unwrap());
                        if n == 0 {
                            drop(OpenOptions::new().write(true).open(&out).unwrap());
                        }
                    }
                })
            })
            .collect();
        openers.into_iter().for_each(|t| t.join().unwrap());
        let closed = |name: &str| daemon.pipe("zero", name)["open"] == false;
        let both = || (closed("ep_82") && closed("ep_02")).then_some(());
        wait_for(both, || format!("still open: {}", daemon.status("zero")));
    }
    wait_rest(daemon.child.id());
}

#[test]
fn readers_that_leave_a_full_pipe_cost_no_processor_time_afterwards() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", ""));
    let pid = daemon.child.id();
    for round in 0..5 {
        let mut sleepers = [0, 1].map(|_| holder(&daemon.path("zero/ep_81"), "exec sleep 1000 <"));
        daemon.wait_status("zero", |_| daemon.pipe("zero", "ep_81")["open"] == true);
        wait_rest(pid);
        for sleeper in &mut sleepers {
            kill(sleeper.id(), SIGKILL);
            sleeper.wait().unwrap();
            wait_rest(pid);
        }
        if round == 3 {
            bus.command("unplug zero 50");
            wait_rest(pid);
        }
    }
    daemon.wait_status("zero", |s| s["state"] == "attached");
    let before = cpu_ticks(pid);
    std::thread::sleep(Duration::from_secs(2));
    assert!(cpu_ticks(pid) - before <= 1, "{} ticks of 10 ms in 2 s", cpu_ticks(pid) - before);
}

#[test]
fn a_writer_that_writes_nothing_and_one_whose_device_is_full_cost_no_processor_time() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", ""));
    let pid = daemon.child.id();
    let _idle = daemon.writer("zero/ep_01");
    let mut cat = holder(&daemon.path("zero/ep_02"), "exec cat /dev/zero >");
    daemon.wait_status("zero", |_| daemon.count("zero", "ep_02", "bytes") > 900_000);
    wait_rest(pid);
    kill(cat.id(), SIGKILL);
    cat.wait().unwrap();
    wait_rest(pid);
    let before = cpu_ticks(pid);
    std::thread::sleep(Duration::from_secs(2));
    assert!(cpu_ticks(pid) - before <= 1, "{} ticks of 10 ms in 2 s", cpu_ticks(pid) - before);
}

/// A shell that runs `command` with the path behind it, such as `exec sleep 1000 <`.
fn holder(path: &Path, command: &str) -> Child {
    Command::new("sh").arg("-c").arg(format!("{command}'{}'", path.display())).spawn().unwrap()
}

/// Consecutive numbers, eight bytes each.
fn records(first: u64, count: u64) -> Vec<u8> {
    (first..first + count).flat_map(u64::to_le_bytes).collect()
}

/// Four times what FIFOs, buffers and the device hold.
const RECORDS: u64 = 1_000_000;
