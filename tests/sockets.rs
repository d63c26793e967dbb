//! Unix sockets as outlets: where they stand, who may use them, and what unplug, stalls and bad programs do to them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
#[path = "common/sockets.rs"]
mod helpers;
#[path = "common/people.rs"]
mod people;
#[path = "common/vitals.rs"]
mod vitals;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use common::bytes::{pattern, random};
use common::zero::pipe;
use common::{Bus, Daemon, Messages, PATIENCE, SHARED, read_exactly, usbpipe, wait_for, within};
use firmware_mock::DeviceKind::{Echo, Uno, Zero};
use helpers::{clients, connect_stream, file, is_closed};
use nix::sys::signal::Signal::SIGKILL;
use people::Admin;
use vitals::{Events, cpu_ticks, inode, mode, wait_asleep, wait_rest, wait_without_helpers};

fn all_pipes() -> String {
    ["0x81", "0x02", "0x82"].map(|endpoint| pipe(endpoint, SHARED)).concat()
}

#[test]
fn a_client_that_is_refused_at_a_serial_line_gets_nothing() {
    let bus = Bus::with(&[Echo]);
    let daemon = Daemon::run(&bus.device("echo", "[device.serial]\noutlets = [\"fifo\", \"socket\"]\n"));
    // As many writers as there may be, and one reader less.
    let mut lone_writer = Admin::connect(&daemon.dir);
    assert!(lone_writer.ask(r#"{"cmd":"open","device":"echo","outlet":"serial.tx"}"#)["error"].is_null());
    let connect = || UnixStream::connect(daemon.path("echo/serial.sock")).unwrap();
    let clients: Vec<UnixStream> = (0..127).map(|_| connect()).collect();
    daemon.wait_pipe("echo", "serial.tx", |pipe| pipe["clients"].as_array().unwrap().len() == 128);
    let mut refused = connect();
    let mut asked = Admin::connect(&daemon.dir);
    let reply = asked.ask(r#"{"cmd":"open","device":"echo","outlet":"serial"}"#);
    assert!(reply["error"].as_str().unwrap().contains("128 programs"), "{reply}");
    (&clients[0]).write_all(b"for those who are there").unwrap();
    let mut answer = [0; 23];
    (&clients[126]).read_exact(&mut answer).unwrap();
    for (client, what) in [(&mut refused as &mut dyn Read, "serial.sock"), (&mut asked.into_stream(), "admin.sock")] {
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).unwrap();
        assert_eq!(String::from_utf8_lossy(&bytes), "", "{what}");
    }
    assert_eq!(daemon.pipe("echo", "serial.rx")["clients"].as_array().unwrap().len(), 127);
}

#[test]
fn a_socket_stands_beside_the_fifo_with_its_own_mode_and_goes_with_the_daemon() {
    let bus = Bus::with(&[Zero]);
    let settings = pipe("0x81", SHARED) + &pipe("0x02", "outlets = [\"socket\"]\nmode = 0o600");
    let mut daemon = Daemon::run(&bus.device("zero", &settings));
    let (one, other) = (daemon.path("zero/ep_81.sock"), daemon.path("zero/ep_02.sock"));
    assert!(std::fs::symlink_metadata(&one).unwrap().file_type().is_socket());
    assert_eq!((mode(&one), mode(&other)), (0o660, 0o600));
    assert!(!daemon.path("zero/ep_02").exists(), "no FIFO was asked for");
    assert_eq!(daemon.pipe("zero", "ep_81")["socket"], one.display().to_string());
    assert_eq!(daemon.pipe("zero", "ep_02")["path"], other.display().to_string());
    let json: serde_json::Value =
        serde_json::from_reader(File::open(daemon.path("zero/device.json")).unwrap()).unwrap();
    assert_eq!(json["outlets"][0]["socket"], one.display().to_string());
    let client = connect_stream(&daemon, "zero/ep_81.sock");
    assert!(daemon.end().success());
    assert!(!one.exists() && !other.exists());
    within(PATIENCE, move || {
        let mut rest = Vec::new();
        let _ = (&client).read_to_end(&mut rest);
    });
}

#[test]
fn the_next_daemon_takes_over_the_sockets_of_a_killed_one() {
    let bus = Bus::with(&[Zero]);
    let temp = tempfile::TempDir::new().unwrap();
    let dir = temp.path().join("run");
    let config = bus.device("zero", &pipe("0x81", SHARED));
    let mut killed = Daemon::run_in(&dir, &config);
    killed.wait_attached();
    killed.signal(SIGKILL);
    killed.wait_end();
    assert!(dir.join("zero/ep_81.sock").exists());
    let mut next = Daemon::run_in(&dir, &config);
    next.wait_attached();
    let client = connect_stream(&next, "zero/ep_81.sock");
    assert_eq!(read_exactly(file(&client), 1000).1, pattern(1000));
}

#[test]
fn a_link_in_the_socket_s_place_is_not_followed() {
    let bus = Bus::with(&[Zero]);
    let temp = tempfile::TempDir::new().unwrap();
    let (dir, elsewhere) = (temp.path().join("run"), temp.path().join("elsewhere"));
    std::fs::create_dir_all(dir.join("zero")).unwrap();
    symlink(&elsewhere, dir.join("zero/ep_81.sock")).unwrap();
    let config = temp.path().join("c.toml");
    std::fs::write(&config, bus.device("zero", &pipe("0x81", SHARED))).unwrap();
    let output = usbpipe().arg("run").arg("--dir").arg(&dir).arg("-c").arg(&config).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("ep_81.sock") && said.contains("in the way"), "{said}");
    assert!(!elsewhere.exists());
}

#[test]
fn a_run_dir_with_a_long_name_has_sockets_too() {
    let bus = Bus::with(&[Zero]);
    let temp = tempfile::TempDir::new().unwrap();
    let dir = temp.path().join("a-directory-name-that-is-rather-long".repeat(2)).join("run");
    std::fs::create_dir_all(dir.parent().unwrap()).unwrap();
    let file = dir.with_extension("toml");
    let config =
        "[[device]]\nname = \"z\"\n".to_owned() + &bus.remote("zero") + &pipe("0x81", "outlets = [\"socket\"]");
    std::fs::write(&file, config).unwrap();
    let mut command = usbpipe();
    command.arg("run").arg("--dir").arg("run").arg("-c").arg(&file).current_dir(dir.parent().unwrap());
    let mut daemon = Daemon::start(command, &dir);
    daemon.wait_said("ready");
    assert!(std::fs::symlink_metadata(dir.join("z/ep_81.sock")).unwrap().file_type().is_socket());
}

#[test]
fn clients_wait_through_an_unplug_and_who_connects_meanwhile_waits_too() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", &all_pipes()));
    let source = inode(&daemon.path("zero/ep_81.sock"));
    let (out, back) = (connect_stream(&daemon, "zero/ep_02.sock"), connect_stream(&daemon, "zero/ep_82.sock"));
    (&out).write_all(b"before").unwrap();
    assert_eq!(read_exactly(file(&back), 6).1, b"before");
    bus.command("unplug zero 2000");
    daemon.wait_status("zero", |status| status["state"] == "searching");
    let late = connect_stream(&daemon, "zero/ep_82.sock");
    (&out).write_all(b"after").unwrap();
    assert_eq!(read_exactly(file(&back), 5).1, b"after");
    assert_eq!(read_exactly(file(&late), 5).1, b"after");
    assert_eq!(inode(&daemon.path("zero/ep_81.sock")), source);
}

#[test]
fn with_eof_clients_get_what_had_arrived_and_the_end_and_new_ones_wait_for_the_device() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", &format!("unplug = \"eof\"\n{}", all_pipes())));
    let (out, back) = (connect_stream(&daemon, "zero/ep_02.sock"), connect_stream(&daemon, "zero/ep_82.sock"));
    (&out).write_all(b"before").unwrap();
    daemon.wait_count("zero", "ep_82", "bytes", 6);
    bus.command("unplug zero 2000");
    let mut rest = Vec::new();
    let mut reader = back;
    reader.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"before");
    assert!(is_closed(&out));
    wait_for(|| (&out).write(b"x").err(), || "writing goes on".into());
    daemon.wait_status("zero", |status| status["state"] == "searching");
    let (out, back) = (connect_stream(&daemon, "zero/ep_02.sock"), connect_stream(&daemon, "zero/ep_82.sock"));
    (&out).write_all(b"again").unwrap();
    assert_eq!(read_exactly(file(&back), 5).1, b"again");
}

#[test]
fn a_stall_that_stops_the_pipe_ends_its_clients_and_the_next_one_goes_on() {
    let bus = Bus::with(&[Zero]);
    let settings = pipe("0x82", &format!("{SHARED}\nstall = \"stop\"")) + &pipe("0x02", "");
    let daemon = Daemon::run(&bus.device("zero", &settings));
    let mut out = daemon.writer("zero/ep_02");
    let mut back = connect_stream(&daemon, "zero/ep_82.sock");
    out.write_all(b"before").unwrap();
    assert_eq!(read_exactly(file(&back), 6).1, b"before");
    bus.command("stall zero 0x82");
    let mut rest = Vec::new();
    back.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"");
    let back = UnixStream::connect(daemon.path("zero/ep_82.sock")).unwrap();
    out.write_all(b"after").unwrap();
    assert_eq!(read_exactly(file(&back), 5).1, b"after");
}

#[test]
fn a_serial_socket_goes_both_ways_and_an_end_of_input_leaves_the_answers() {
    let bus = Bus::with(&[Uno]);
    let settings = "[device.serial]\noutlets = [\"fifo\", \"socket\"]\n";
    let daemon = Daemon::run(&bus.device("uno", settings));
    let monitor = daemon.reader("uno/serial.rx");
    let mut shell = connect_stream(&daemon, "uno/serial.sock");
    shell.write_all(b"PING 1\nSUM 1 2\n").unwrap();
    shell.shutdown(Shutdown::Write).unwrap();
    let mut answers = BufReader::new(&shell).lines().map(Result::unwrap).filter(|line| line != "READY");
    assert_eq!((answers.next().unwrap(), answers.next().unwrap()), ("PONG 1".into(), "SUM 3".into()));
    let (_monitor, heard) = read_exactly(monitor, 7);
    assert!(heard.starts_with(b"READY") || heard == b"PONG 1\n", "{}", String::from_utf8_lossy(&heard));
    assert_eq!(daemon.pipe("uno", "serial.tx")["clients"].as_array().unwrap().len(), 0, "it writes no more");
    assert_eq!(clients(&daemon, "uno/serial.sock"), 2, "but it reads, beside the FIFO");
    drop(answers);
    drop(shell);
    wait_for(|| (clients(&daemon, "uno/serial.sock") == 1).then_some(()), || "the client stays".into());
}

#[test]
fn without_fifos_a_serial_line_has_its_socket_alone() {
    let bus = Bus::with(&[Echo]);
    let daemon = Daemon::run(&bus.device("echo", "[device.serial]\noutlets = [\"socket\"]\n"));
    assert!(!daemon.path("echo/serial.rx").exists() && daemon.path("echo/serial.ctl").exists());
    let mut line = connect_stream(&daemon, "echo/serial.sock");
    line.write_all(b"hello").unwrap();
    assert_eq!(read_exactly(file(&line), 5).1, b"hello");
}

#[test]
fn who_writes_to_a_socket_that_is_for_reading_only_hurts_nobody() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", &all_pipes()));
    let (noisy, good) = (connect_stream(&daemon, "zero/ep_82.sock"), connect_stream(&daemon, "zero/ep_82.sock"));
    noisy.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    while (&noisy).write_all(&[b'?'; 65536]).is_ok() {}
    wait_rest(daemon.child.id());
    daemon.writer("zero/ep_02").write_all(b"fine").unwrap();
    assert_eq!(read_exactly(file(&good), 4).1, b"fine");
    assert_eq!(read_exactly(file(&noisy), 4).1, b"fine");
}

#[test]
fn a_gibibyte_from_a_client_that_never_reads_waits_in_nobodys_memory() {
    let bus = Bus::with(&[Echo]);
    let daemon = Daemon::run(&bus.device("echo", "[device.serial]\noutlets = [\"fifo\", \"socket\"]\n"));
    let before = daemon.proc_status("VmRSS");
    let greedy = connect_stream(&daemon, "echo/serial.sock");
    greedy.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut written = 0u64;
    while written < 1 << 30 {
        match (&greedy).write(&[7; 65536]) {
            Ok(n) => written += n as u64,
            // Nobody takes it any more: the device waits for its answers to be read.
            Err(_) => break,
        }
    }
    assert!(written < 16 << 20, "{written} bytes went somewhere");
    let grown = daemon.proc_status("VmRSS").saturating_sub(before);
    assert!(grown < 8 << 10, "{grown} KiB more");
    wait_rest(daemon.child.id());
    drop(greedy);
    // Whoever comes next finds a line that works.
    wait_for(|| (clients(&daemon, "echo/serial.sock") == 0).then_some(()), || "the client stays".into());
    let next = connect_stream(&daemon, "echo/serial.sock");
    let writer = next.try_clone().unwrap();
    thread::spawn(move || (&writer).write_all(b"\nhere"));
    within(PATIENCE, move || {
        let mut seen = Vec::new();
        while !seen.ends_with(b"\nhere") {
            let mut part = [0; 4096];
            let n = (&next).read(&mut part).unwrap();
            seen.extend_from_slice(&part[..n]);
            seen.drain(..seen.len().saturating_sub(5));
        }
    });
}

#[test]
fn of_ten_thousand_connections_those_that_are_too_many_are_refused_and_the_first_go_on() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", &all_pipes()));
    let mut events = Events::of(&daemon);
    let first = connect_stream(&daemon, "zero/ep_82.sock");
    let before = daemon.descriptors();
    let path = daemon.path("zero/ep_82.sock");
    let mut kept = Vec::new();
    for n in 0..10_000 {
        let client = UnixStream::connect(&path).unwrap_or_else(|e| panic!("connection {n}: {e}"));
        // Most go at once; some hundred stay to be refused.
        if n < 300 {
            kept.push(client);
        }
    }
    let refused = events.wait("refuse", "zero");
    assert!(refused["text"].as_str().unwrap().contains("128 programs"), "{refused}");
    wait_rest(daemon.child.id());
    let alive = || kept.iter().filter(|client| !has_ended(client)).count();
    assert_eq!(alive() + 1, 128);
    assert!(daemon.descriptors() - before <= 128, "{} descriptors more", daemon.descriptors() - before);
    daemon.writer("zero/ep_02").write_all(b"still here").unwrap();
    assert_eq!(read_exactly(file(&first), 10).1, b"still here");
    kept.clear();
    wait_for(|| (clients(&daemon, "zero/ep_82.sock") == 1).then_some(()), || "clients stay".into());
}

/// Whether the other side has closed the connection, without waiting.
fn has_ended(stream: &UnixStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    matches!((&*stream).read(&mut [0; 16]), Ok(0))
}

#[test]
fn where_descriptors_run_out_connections_are_refused_and_clients_go_on() {
    let bus = Bus::with(&[Zero]);
    let temp = tempfile::TempDir::new().unwrap();
    let (dir, config) = (temp.path().join("run"), temp.path().join("c.toml"));
    std::fs::write(&config, bus.device("zero", &all_pipes())).unwrap();
    let mut command = std::process::Command::new("sh");
    command.arg("-c").arg("ulimit -n 64; exec \"$0\" \"$@\"").arg(env!("CARGO_BIN_EXE_usbpipe"));
    command.arg("run").arg("--dir").arg(&dir).arg("-c").arg(&config);
    let mut daemon = Daemon::start(command, &dir);
    daemon.wait_said("attach");
    let first = connect_stream(&daemon, "zero/ep_82.sock");
    let kept: Vec<UnixStream> =
        (0..100).map(|_| UnixStream::connect(daemon.path("zero/ep_82.sock")).unwrap()).collect();
    let said = daemon.wait_said("refuse");
    assert!(said.contains("LimitNOFILE"), "{said}");
    // Connections leave some for commands, until these take the last.
    assert!(daemon.ask(&["status"]).status.success());
    let commands: Vec<UnixStream> = (0..20).map(|_| UnixStream::connect(dir.join("admin.sock")).unwrap()).collect();
    let status = daemon.ask(&["status"]);
    let said = String::from_utf8_lossy(&status.stderr);
    assert!(status.status.code() == Some(1) && said.contains("no descriptors left"), "{status:?}");
    drop(commands);
    wait_for(|| daemon.ask(&["status"]).status.success().then_some(()), || "no command is answered any more".into());
    wait_for(|| has_ended(&kept[99]).then_some(()), || "the last one is not refused".into());
    let control = Messages::connect(&daemon.path("zero/ep_00.sock"));
    assert!(within(PATIENCE, move || control.receive()).is_empty(), "the control pipe turns away, too");
    let ticks = cpu_ticks(daemon.child.id());
    wait_rest(daemon.child.id());
    assert!(cpu_ticks(daemon.child.id()) - ticks < 100, "it spins");
    let mut out: File = daemon.writer("zero/ep_02");
    let sent = random(300_000, 4);
    thread::scope(|scope| {
        scope.spawn(|| out.write_all(&sent).unwrap());
        // The other clients take nothing, so this one has to wait for them no longer than their patience.
        assert_eq!(read_exactly(file(&first), sent.len()).1, sent);
    });
    drop(kept);
    // There is room again.
    let admitted = || {
        let client = UnixStream::connect(daemon.path("zero/ep_82.sock")).unwrap();
        out.write_all(b"news").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        (&client).read(&mut [0; 4]).is_ok_and(|n| n > 0).then_some(())
    };
    wait_for(admitted, || "nobody is admitted any more".into());
}

#[test]
fn ten_thousand_connections_to_the_commands_socket_are_told_so_and_the_first_go_on() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", &pipe("0x81", "")));
    let mut events = Events::of(&daemon);
    let before = daemon.descriptors();
    let mut kept: Vec<UnixStream> = Vec::new();
    for n in 0..10_000 {
        let client = UnixStream::connect(daemon.path("admin.sock")).unwrap();
        if n < 400 {
            kept.push(client);
        }
    }
    // Connections are taken in their order, so the last of those that stay tells for all.
    let mut answer = String::new();
    BufReader::new(&kept[399]).read_line(&mut answer).unwrap();
    assert!(answer.contains("no more"), "{answer:?}");
    assert!(daemon.descriptors() - before <= 256, "{} descriptors more", daemon.descriptors() - before);
    assert_eq!(read_exactly(daemon.reader("zero/ep_81"), 1000).1, pattern(1000));
    events.wait("open", "zero");
    kept.clear();
    wait_for(|| daemon.ask(&["status"]).status.success().then_some(()), || "no command is served any more".into());
}

#[test]
fn clients_that_wait_wake_nobody_up_not_even_when_they_have_shut_down_their_side() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", &all_pipes()));
    let clients = [(); 3].map(|()| connect_stream(&daemon, "zero/ep_82.sock"));
    let writer = connect_stream(&daemon, "zero/ep_02.sock");
    clients[0].shutdown(Shutdown::Write).unwrap();
    (&clients[1]).write_all(b"to nobody").unwrap();
    wait_without_helpers(daemon.child.id());
    wait_asleep(daemon.child.id());
    (&writer).write_all(b"all").unwrap();
    for client in &clients {
        assert_eq!(read_exactly(file(client), 3).1, b"all");
    }
    drop(clients);
    wait_for(|| (helpers::clients(&daemon, "zero/ep_82.sock") == 0).then_some(()), || "clients stay".into());
}
