//! USB/IP servers that talk nonsense and devices whose strings would be paths: nothing grows, and nothing is written where
//! it should not be. What is the same on every system is in `both/peer.rs`.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/vitals.rs"]
mod vitals;

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

use common::{Bus, Daemon, read_exactly, usbpipe, wait_for};
use firmware_mock::DeviceKind::Zero;
use peer::{Behaviour, Fake, Peer};
use serde_json::Value;
use tempfile::TempDir;
use usbip_wire::{OpCode, OpHeader, status};
use vitals::cpu_ticks;

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
fn commands_without_a_daemon_import_a_device_once_and_give_it_back_before_they_end() {
    let fake = Fake {
        script: Some(|n| Some(if n < 3 { b"data".to_vec() } else { Vec::new() })),
        ..Fake::with_strings([""; 3])
    };
    let seen = fake.seen.clone();
    let peer = Peer::new(Behaviour::Serve(fake));
    let selector = format!("usbip://127.0.0.1:{}/1-1", peer.port);
    let temp = TempDir::new().unwrap();
    let commands = [
        (&["exec", &selector, "--in", "81", "--", "head", "-c", "8"][..], "datadata"),
        (&["control", &selector, "in", "0x80", "6", "0x0100", "0", "4"], "ok 12010002\n"),
    ];
    for (number, (words, expected)) in commands.into_iter().enumerate() {
        let mut command = usbpipe();
        command.arg("--dir").arg(temp.path().join("none")).args(words);
        let output = common::ended(&mut command);
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected, "{words:?}");
        assert!(output.status.success(), "{words:?}");
        assert_eq!(peer.connections.load(SeqCst), number + 1, "imports after {words:?}");
        // The server closes its side when it has seen the client's end, for which the client waits.
        assert_eq!(seen.ended.load(SeqCst), number + 1, "{words:?}");
        assert_eq!((seen.left.load(SeqCst), seen.unlinks_together.load(SeqCst) <= 1), (0, true), "{words:?}");
    }
}

#[test]
fn what_a_server_sends_after_a_cancellation_reaches_the_next_reader_and_ends_nothing() {
    for unlinked in [status::OK, status::ECONNRESET] {
        let fake = Fake { unlinked, late: Some(b"late".to_vec()), ..Fake::silent() };
        let (seen, peer) = (fake.seen.clone(), Peer::new(Behaviour::Serve(fake)));
        let daemon = Daemon::run(&peer.device("d", "[[device.pipe]]\nendpoint = 0x81\nqueue = 2"));
        for round in 1..4 {
            let reader = daemon.reader("d/ep_81");
            daemon.wait_pipe("d", "ep_81", |pipe| pipe["open"] == true);
            drop(reader);
            daemon.wait_pipe("d", "ep_81", |pipe| pipe["open"] == false);
            let (_, bytes) = read_exactly(daemon.reader("d/ep_81"), 8);
            assert_eq!(bytes, b"latelate", "round {round}, status {unlinked}");
            daemon.wait_pipe("d", "ep_81", |pipe| pipe["open"] == false);
        }
        assert_eq!(daemon.status("d")["sessions"], 1);
        assert!(seen.unlinks.load(SeqCst) >= 6);
    }
}
