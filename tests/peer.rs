//! USB/IP servers and devices that lie, break off, or say nothing: an error is told, others go on, nothing grows.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/vitals.rs"]
mod vitals;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use common::{Bus, Daemon, read_exactly, usbpipe, wait_for};
use firmware_mock::DeviceKind::{Regs, Zero};
use peer::{Behaviour, Fake, Peer, record, string_descriptor};
use serde_json::Value;
use tempfile::TempDir;
use usbip_wire::{OpCode, OpHeader};
use vitals::{Events, cpu_ticks};

#[test]
fn a_server_that_breaks_the_protocol_is_left_and_tried_again_and_other_devices_go_on() {
    let bus = Bus::with(&[Zero, Zero]);
    let daemon = Daemon::run(&format!("{}{}", bus.device("zero", ""), bus.device("zero-2", "")));
    let (mut other_in, mut other_out) = (daemon.reader("zero-2/ep_82"), daemon.writer("zero-2/ep_02"));
    let mut reader = daemon.reader("zero/ep_81");
    let mut events = Events::of(&daemon);
    for round in 0..5 {
        for (lie, word) in [("length", "claims"), ("seqnum", "never made"), ("garbage", "broke USB/IP")] {
            bus.command(&format!("lie zero {lie}"));
            let bytes;
            (reader, bytes) = read_exactly(reader, 3000 * 512);
            assert!(bytes.iter().enumerate().all(|(n, &b)| usize::from(b) == n % 512 % 63), "{lie}");
            let detach = events.wait("detach", "zero");
            let text = detach["text"].as_str().unwrap();
            assert!(text.contains(word), "after {lie} in round {round}: {text}");
            events.wait("attach", "zero");
            other_out.write_all(b"ping").unwrap();
            let bytes;
            (other_in, bytes) = read_exactly(other_in, 4);
            assert_eq!(bytes, b"ping");
        }
    }
    assert_eq!(daemon.status("zero-2")["sessions"], 1);
}

#[test]
fn a_server_that_falls_silent_is_left_when_a_cancellation_stays_unanswered() {
    let bus = Bus::with(&[Zero, Regs]);
    let daemon = Daemon::run(&format!("{}{}", bus.device("zero", ""), bus.device("regs", "")));
    let mut events = Events::of(&daemon);
    let reader = daemon.reader("zero/ep_82");
    events.wait("open", "zero");
    bus.command("lie zero silence");
    drop(reader);
    let asked = Instant::now();
    assert!(daemon.answer(&["control", "regs", "status"]).starts_with("ok"));
    assert!(asked.elapsed() < Duration::from_secs(1));
    let text = events.wait("detach", "zero")["text"].as_str().unwrap().to_owned();
    assert!(text.contains("did not answer"), "{text}");
    events.wait("attach", "zero");
    let source = daemon.reader("zero/ep_81");
    assert_eq!(read_exactly(source, 1000).1.len(), 1000);
}

#[test]
fn nonsense_in_the_handshake_is_named_and_tried_again_without_haste_and_without_growth() {
    let good = OpHeader { code: OpCode::RepImport, status: 0 }.encode();
    let wrong_version = [&[0x01, 0x06][..], &good[2..]].concat();
    let other_answer = OpHeader { code: OpCode::RepDevlist, status: 0 }.encode().to_vec();
    let half = [&good[..], &[0; 100]].concat();
    let cases = [
        (Behaviour::Say { bytes: wrong_version, forever: false }, "1.1.1"),
        (Behaviour::Say { bytes: other_answer, forever: false }, "another operation"),
        (Behaviour::Say { bytes: vec![0xff; 4096], forever: true }, "USB/IP"),
        (Behaviour::Say { bytes: b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), forever: false }, "USB/IP"),
        (Behaviour::Say { bytes: half, forever: false }, "timed out"),
        (Behaviour::Silent, "timed out"),
        (Behaviour::SilentAfterImport, "descriptor"),
    ];
    let peers: Vec<(Peer, &str)> = cases.map(|(behaviour, word)| (Peer::new(behaviour), word)).into();
    let bus = Bus::with(&[Zero]);
    let name = |n: usize| format!("liar-{n}");
    let liars: String = peers.iter().enumerate().map(|(n, (peer, _))| peer.device(&name(n), "")).collect();
    let mut daemon = Daemon::run_unattached(&format!("{liars}{}", bus.device("zero", "")));
    daemon.wait_status("zero", |s| s["state"] == "attached");
    let reason = |n: usize| daemon.status(&name(n))["reason"].as_str().unwrap_or_default().to_owned();
    for (n, (_, word)) in peers.iter().enumerate() {
        wait_for(|| reason(n).contains(word).then_some(()), || format!("case {n} ({word}): {}", reason(n)));
    }
    let (tries, memory, ticks) = (tries(&peers), daemon.proc_status("VmRSS"), cpu_ticks(daemon.child.id()));
    let (descriptors, started) = (daemon.descriptors(), Instant::now());
    // Five more tries of each that answers at once.
    let again = || (0..4).all(|n| peers[n].0.connections.load(SeqCst) >= tries[n] + 5).then_some(());
    wait_for(again, || "it no longer tries".into());
    let seconds = started.elapsed().as_secs_f64();
    assert!(seconds > 3.0, "five tries in {seconds} s are a storm");
    assert!(((cpu_ticks(daemon.child.id()) - ticks) as f64) < seconds * 20.0, "more than a fifth of a processor");
    assert!(daemon.proc_status("VmRSS") < memory + 2048);
    assert!(daemon.descriptors() <= descriptors + peers.len());
    let source = daemon.reader("zero/ep_81");
    assert_eq!(read_exactly(source, 100_000).1.len(), 100_000);
    assert!(daemon.end().success());
}

fn tries(peers: &[(Peer, &str)]) -> Vec<usize> {
    peers.iter().map(|(peer, _)| peer.connections.load(SeqCst)).collect()
}

#[test]
fn an_endless_device_list_ends() {
    let mut reply = OpHeader { code: OpCode::RepDevlist, status: 0 }.encode().to_vec();
    for count in [u32::MAX, 4000] {
        reply.truncate(8);
        reply.extend(count.to_be_bytes());
        let mut device = record(&Fake::with_strings(["", "", ""]));
        device.num_interfaces = 255;
        reply.extend(device.encode());
        reply.extend([0; 4 * 255]);
        let peer = Peer::new(Behaviour::Say { bytes: reply.clone(), forever: count == 4000 });
        let temp = TempDir::new().unwrap();
        let place = format!("127.0.0.1:{}", peer.port);
        let started = Instant::now();
        let output = usbpipe().arg("--dir").arg(temp.path()).args(["list", "--remote", &place]).output().unwrap();
        assert!(started.elapsed() < Duration::from_secs(10));
        if count == u32::MAX {
            assert_eq!(output.status.code(), Some(1));
            assert!(String::from_utf8_lossy(&output.stderr).contains("4294967295"), "{output:?}");
        }
    }
}

#[test]
fn a_bus_id_is_only_ever_data() {
    let mut reply = OpHeader { code: OpCode::RepDevlist, status: 0 }.encode().to_vec();
    let mut device = record(&Fake::with_strings(["", "", ""]));
    device.busid = "1-1\n\u{1b}[2J../x".into();
    device.num_interfaces = 0;
    reply.extend(1u32.to_be_bytes());
    reply.extend(device.encode());
    let peer = Peer::new(Behaviour::Say { bytes: reply, forever: false });
    let temp = TempDir::new().unwrap();
    let place = format!("127.0.0.1:{}", peer.port);
    let output = usbpipe().arg("--dir").arg(temp.path()).args(["list", "--remote", &place]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.lines().any(|l| l.contains("../x")), "{text:?}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn strings_of_a_device_are_only_ever_data() {
    let evil = ["../../../etc\n\0", "a\nb\0\u{1b}[31m\"}", "../../etc/passwd\n\0\u{1b}]0;x\u{7}"];
    let peer = Peer::new(Behaviour::Serve(Fake::with_strings(evil)));
    let temp = TempDir::new().unwrap();
    let dir = temp.path().join("run");
    let mut command = usbpipe();
    command.arg("--dir").arg(&dir).arg("bridge").arg(format!("usbip://127.0.0.1:{}/1-1", peer.port));
    let mut daemon = Daemon::start(command, &dir);
    let name = "1209-0077-.._.._etc_passwd____0_x_";
    let name = wait_for(
        || {
            let entries = fs::read_dir(&dir).ok()?.flatten().map(|e| e.file_name().into_string().unwrap());
            entries.into_iter().find(|n| n.starts_with("1209-0077"))
        },
        || format!("no {name} in {dir:?}"),
    );
    daemon.wait_status(&name, |s| s["state"] == "attached");
    assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)), "{name:?}");
    let made: BTreeSet<_> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(made.len(), 3, "lock, admin.sock and the device: {made:?}");
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1, "nothing was made outside the run dir");
    let json: Value = serde_json::from_slice(&fs::read(daemon.path(&name).join("device.json")).unwrap()).unwrap();
    assert_eq!(json["device"]["serial_number"], evil[2]);
    for command in ["status", "list"] {
        let text = String::from_utf8(daemon.ask(&[command]).stdout).unwrap();
        let controls = text.chars().find(|c| c.is_control() && *c != '\n');
        assert_eq!(controls, None, "{command} prints it raw: {text:?}");
        assert!(text.lines().all(|l| !l.starts_with("b\0") && !l.starts_with('b')), "{text:?}");
    }
    assert!(daemon.said().iter().all(|l| !l.contains(['\0', '\u{1b}'])), "the log has it raw");
    assert_eq!(read_exactly(daemon.reader(&format!("{name}/ep_81")), 4).1, b"data");
    assert!(daemon.end().success());
    assert!(!dir.exists());
}

#[test]
fn descriptors_that_lie_make_an_error_or_a_device_but_never_a_crash() {
    let honest = Fake::with_strings(["maker", "thing", "S1"]);
    let with = |change: &dyn Fn(&mut Fake)| {
        let mut fake = honest.clone();
        change(&mut fake);
        fake
    };
    let fakes = [
        with(&|f| f.device.truncate(8)),
        with(&|f| f.device[0] = 255),
        with(&|f| f.device[1] = 2),
        with(&|f| f.device.clear()),
        with(&|f| f.configuration.truncate(9)),
        with(&|f| f.configuration.truncate(20)),
        with(&|f| f.configuration.clear()),
        with(&|f| f.configuration[0] = 0),
        with(&|f| f.configuration[2..4].copy_from_slice(&[0xff, 0xff])),
        with(&|f| f.configuration[2..4].copy_from_slice(&[1, 0])),
        with(&|f| f.configuration[4] = 255),
        with(&|f| f.configuration[9] = 0),
        with(&|f| f.configuration[9] = 255),
        with(&|f| f.configuration[13] = 200),
        with(&|f| f.configuration[18] = 0),
        with(&|f| f.configuration[18] = 2),
        with(&|f| f.configuration[20] = 0x80),
        with(&|f| f.configuration[22..24].copy_from_slice(&[0, 0])),
        with(&|f| f.configuration[22..24].copy_from_slice(&[0xff, 0xff])),
        with(&|f| f.configuration[21] = 1),
        with(&|f| f.configuration[21] = 3),
        with(&|f| f.strings = vec![vec![255, 3, 65], vec![], vec![0, 3]]),
        with(&|f| f.strings = vec![vec![1], string_descriptor("x")[..3].to_vec(), vec![2, 9]]),
        with(&|f| f.strings.clear()),
    ];
    let peers: Vec<Peer> = fakes.iter().map(|f| Peer::new(Behaviour::Serve(f.clone()))).collect();
    let config: String = peers.iter().enumerate().map(|(n, p)| p.device(&format!("liar-{n}"), "")).collect();
    let mut daemon = Daemon::run_unattached(&config);
    for n in 0..peers.len() {
        let name = format!("liar-{n}");
        let status = daemon.wait_status(&name, |s| s["state"] == "attached" || s["reason"].is_string());
        if status["state"] == "attached" {
            for pipe in status["pipes"].as_array().unwrap() {
                // Whatever it claims, opening its outlets harms nobody.
                let outlet = pipe["outlet"].as_str().unwrap();
                drop(fs::File::open(daemon.path(&format!("{name}/{outlet}"))).unwrap());
            }
        } else {
            assert!(status["reason"].as_str().unwrap().contains("descriptor"), "{n}: {status}");
        }
    }
    assert!(daemon.end().success(), "{:?}", daemon.said());
}

#[test]
fn a_device_that_answers_nothing_holds_up_no_end() {
    let mut fake = Fake::with_strings(["", "", ""]);
    fake.answer = None;
    let peers = [Peer::new(Behaviour::Serve(fake)), Peer::new(Behaviour::SilentAfterImport)];
    let config = format!("{}{}", peers[0].device("mute", ""), peers[1].device("silent", ""));
    let mut daemon = Daemon::run_unattached(&config);
    daemon.wait_status("mute", |s| s["state"] == "attached");
    let _reader = daemon.reader("mute/ep_81");
    daemon.wait_status("mute", |s| s["pipes"][0]["open"] == true);
    let started = Instant::now();
    assert!(daemon.end().success());
    assert!(started.elapsed() < Duration::from_secs(2), "took {:?}", started.elapsed());
}
