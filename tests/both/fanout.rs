//! Several readers of one pipe: each gets its own copy, and one that does not keep up costs the others no more than
//! `patience` and itself no more than `status` says.

use std::io::{BufRead, BufReader, Write};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Instant;

use firmware_mock::DeviceKind::Tone;
use serde_json::Value;

use crate::common::bytes::{assert_same, pattern, random};
use crate::common::zero::{self, pipe};
use crate::common::{Bus, Daemon, MESSAGES, PATIENCE, SHARED, read_exactly, wait_for};

/// The loopback with these settings of its IN end.
fn loopback(back: &str) -> (Bus, Daemon) {
    zero::loopback("", &format!("{SHARED}\n{back}"))
}

/// The clients of an outlet, as `status` shows them.
fn clients(daemon: &Daemon, outlet: &str) -> Vec<Value> {
    daemon.pipe("zero", outlet)["clients"].as_array().unwrap().clone()
}

#[test]
fn with_endless_patience_everybody_waits_and_nothing_is_lost() {
    let (_bus, daemon) = loopback("patience = \"forever\"");
    let sent = random(8 << 20, 7);
    let (quick, slow) = (daemon.guest("zero/ep_82"), daemon.guest("zero/ep_82"));
    let mut out = daemon.writer("zero/ep_02");
    thread::scope(|scope| {
        scope.spawn(|| out.write_all(&sent).unwrap());
        let quick = scope.spawn(|| read_exactly(quick, sent.len()).1);
        // The slow one begins when everything has come to a halt for it.
        let mut before = 0;
        let halted = || {
            let now = daemon.count("zero", "ep_82", "bytes");
            (std::mem::replace(&mut before, now) == now && now > 0).then_some(())
        };
        wait_for(halted, || "it never came to a halt".into());
        assert!(!quick.is_finished());
        assert_same(&sent, &read_exactly(slow, sent.len()).1, 0);
        assert_same(&sent, &quick.join().unwrap(), 0);
    });
    assert_eq!(daemon.count("zero", "ep_82", "lost_bytes"), 0);
}

#[test]
fn without_patience_nobody_waits_but_who_is_alone_is_waited_for() {
    let (_bus, daemon) = loopback("patience = 0");
    let alone = daemon.guest("zero/ep_82");
    let sent = random(4 << 20, 3);
    let mut out = daemon.writer("zero/ep_02");
    thread::scope(|scope| {
        scope.spawn(|| out.write_all(&sent).unwrap());
        let mut before = 0;
        let halted = || {
            let now = daemon.count("zero", "ep_82", "bytes");
            (std::mem::replace(&mut before, now) == now && now > 0).then_some(())
        };
        wait_for(halted, || "it never came to a halt".into());
        assert_eq!(daemon.count("zero", "ep_82", "lost_bytes"), 0);
        assert_same(&sent, &read_exactly(alone.try_clone().unwrap(), sent.len()).1, 0);
    });
    let quick = daemon.guest("zero/ep_82");
    thread::scope(|scope| {
        scope.spawn(|| out.write_all(&sent).unwrap());
        assert_same(&sent, &read_exactly(quick.try_clone().unwrap(), sent.len()).1, 0);
    });
    assert!(clients(&daemon, "ep_82")[0]["lost_bytes"].as_u64().unwrap() > 0);
    assert_eq!(clients(&daemon, "ep_82")[1]["lost_bytes"], 0);
}

#[test]
fn messages_keep_their_boundaries_both_ways_empty_ones_too() {
    let (_bus, daemon) = zero::loopback(MESSAGES, MESSAGES);
    let back = daemon.messages("zero/ep_82");
    let out = daemon.messages("zero/ep_02");
    for (n, length) in [1, 0, 511, 513, 3, 4095, 4097, 0, 0, 65_535, 1000].into_iter().enumerate() {
        let message = random(length, n as u64);
        out.send(&message);
        assert_same(&message, &back.receive(), 0);
    }
    // One that fills its last packet is closed by a zero-length packet.
    out.send(&pattern(1024));
    assert_eq!(back.receive(), pattern(1024));
    assert_eq!(back.receive(), b"");
    out.send(b"end");
    assert_eq!(back.receive(), b"end");
    let clients = daemon.pipe("zero", "ep_82")["clients"].clone();
    assert_eq!(clients[0]["pid"], std::process::id(), "{clients}");
}

#[test]
fn a_client_that_comes_late_begins_with_the_next_whole_transfer() {
    let (_bus, daemon) = loopback("framing = \"length\"");
    let first = daemon.guest("zero/ep_82");
    let mut out = daemon.writer("zero/ep_02");
    out.write_all(b"early").unwrap();
    let (first, early) = read_exactly(first, 9);
    assert_eq!(early, b"\x05\0\0\0early");
    let second = daemon.guest("zero/ep_82");
    out.write_all(b"late").unwrap();
    assert_eq!(read_exactly(second, 8).1, b"\x04\0\0\0late");
    assert_eq!(read_exactly(first, 8).1, b"\x04\0\0\0late");
}

#[test]
fn each_client_of_a_sound_device_loses_its_own_packets() {
    let bus = Bus::with(&[Tone]);
    let settings = format!("{SHARED}\nframing = \"jsonl\"\nbuffer = \"250ms\"\ninterface = 1\nalt = 1");
    let daemon = Daemon::run(&bus.device("tone", &pipe("0x83", &settings)));
    let (quick, slow) = (daemon.guest("tone/ep_83"), daemon.guest("tone/ep_83"));
    // What was lost is told with the record behind it, a little later than it is counted.
    let told = AtomicU64::new(u64::MAX);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut lines = BufReader::new(&quick);
            let (mut lost, mut last) = (0, Instant::now());
            while lost < told.load(SeqCst) {
                let more = next_line(&mut lines)["lost"].as_u64().unwrap();
                // Packets come all the time; it is news of lost ones that must come.
                assert!(last.elapsed() < PATIENCE, "it heard of {lost} lost packets and of no more");
                if more > 0 {
                    last = Instant::now();
                }
                lost += more;
            }
        });
        let lost = |n: usize| daemon.pipe("tone", "ep_83")["clients"][n]["lost_packets"].as_u64().unwrap();
        wait_for(|| (lost(1) > 500).then_some(()), || daemon.pipe("tone", "ep_83").to_string());
        // The slow one sees its own gap, as long as it is told.
        let mut lines = BufReader::new(&slow);
        let (mut gap, mut packets) = (0, 0);
        while gap == 0 {
            gap = next_line(&mut lines)["lost"].as_u64().unwrap();
            packets += 1;
        }
        assert!(packets > 1 && gap > 100, "a gap of {gap} after {packets}");
        let (by_the_quick_one, by_the_slow_one) = (lost(0), lost(1));
        told.store(by_the_quick_one, SeqCst);
        reader.join().unwrap();
        assert!(by_the_quick_one < by_the_slow_one, "{by_the_quick_one} and {by_the_slow_one}");
    });
}

fn next_line(lines: &mut impl BufRead) -> Value {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}
