//! Several writers of one pipe: they share it message by message, and nobody's bytes are torn by another's.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
#[path = "common/sockets.rs"]
mod sockets;
#[path = "common/vitals.rs"]
mod vitals;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::thread;

use common::bytes::assert_same;
use common::{Bus, Daemon, PATIENCE, read_exactly, wait_child, within};
use firmware_mock::DeviceKind::Zero;
use sockets::{Packets, connect_stream, is_closed};
use vitals::Events;

/// The loopback with these settings of its OUT end, read as a FIFO; the bus must stay.
fn loopback(out: &str, back: &str) -> (Bus, Daemon) {
    let bus = Bus::with(&[Zero]);
    let pipes = format!("[[device.pipe]]\nendpoint = 0x02\n{out}\n[[device.pipe]]\nendpoint = 0x82\n{back}\n");
    let daemon = Daemon::run(&bus.device("zero", &pipes));
    (bus, daemon)
}

const BOTH: &str = "outlets = [\"fifo\", \"socket\"]";

#[test]
fn eight_clients_send_messages_of_4000_bytes_and_every_one_arrives_whole() {
    const ROUNDS: usize = 200;
    let packets = "outlets = [\"socket\"]\nframing = \"packet\"";
    let (_bus, daemon) = loopback(packets, packets);
    let back = Packets::connect_to(&daemon, "zero/ep_82.sock");
    let path = daemon.path("zero/ep_02.sock");
    let message = |who: u8, round: usize| {
        let mut message = vec![who; 4000];
        message[1..9].copy_from_slice(&(round as u64).to_le_bytes());
        message
    };
    let mut rounds = [0; 8];
    thread::scope(|scope| {
        for who in 0..8 {
            let writer = Packets::connect(&path);
            scope.spawn(move || (0..ROUNDS).for_each(|round| writer.send(&message(who, round))));
        }
        for _ in 0..8 * ROUNDS {
            let got = back.receive();
            let who = got[0];
            assert_same(&message(who, rounds[usize::from(who)]), &got, 0);
            rounds[usize::from(who)] += 1;
        }
    });
    assert_eq!(rounds, [ROUNDS; 8]);
}

/// A shell that writes lines of `c`, of each length up to 4096 bytes with the newline, into what is its stdout.
fn shell(c: char, lines: usize, output: Stdio) -> Child {
    let script = format!(
        "l={c}; while [ ${{#l}} -lt 4095 ]; do l=$l$l; done; n=0; \
         while [ $n -lt {lines} ]; do n=$((n+1)); printf '%.*s\\n' $((4096 - 1 - (n * 37) % 900)) \"$l\"; done"
    );
    Command::new("sh").arg("-c").arg(script).stdout(output).spawn().unwrap()
}

/// Reads so many lines and checks that each is of one letter; gives how many there were of each.
fn count_lines(source: File, lines: usize) -> Vec<(u8, usize)> {
    within(3 * PATIENCE, move || {
        let mut counts = std::collections::BTreeMap::new();
        for line in BufReader::new(source).split(b'\n').take(lines) {
            let line = line.unwrap();
            assert!(line.iter().all(|b| *b == line[0]), "a line was torn: {}", String::from_utf8_lossy(&line));
            assert!((3196..=4095).contains(&line.len()), "a line of {} bytes", line.len());
            *counts.entry(line[0]).or_default() += 1;
        }
        counts.into_iter().collect()
    })
}

#[test]
fn eight_shells_write_lines_into_the_fifo_and_every_one_arrives_whole() {
    const LINES: usize = 150;
    // Transfers of a size that fits no line, so that reads cut lines wherever they can.
    let (_bus, daemon) = loopback("transfer = 5000", "");
    let back = daemon.reader("zero/ep_82");
    let held = daemon.writer("zero/ep_02");
    let shells: Vec<Child> = ('a'..='h').map(|c| shell(c, LINES, daemon.writer("zero/ep_02").into())).collect();
    let counts = count_lines(back, 8 * LINES);
    assert_eq!(counts, (b'a'..=b'h').map(|c| (c, LINES)).collect::<Vec<_>>());
    shells.into_iter().for_each(|mut shell| assert!(wait_child(&mut shell).success()));
    drop(held);
}

#[test]
fn lines_in_the_fifo_and_from_clients_of_the_socket_tear_nobody() {
    const LINES: usize = 150;
    let (_bus, daemon) = loopback(&format!("{BOTH}\ntransfer = 5000"), "");
    let back = daemon.reader("zero/ep_82");
    let held = daemon.writer("zero/ep_02");
    let connect = || UnixStream::connect(daemon.path("zero/ep_02.sock")).unwrap();
    let mut shells: Vec<Child> = ('a'..='d').map(|c| shell(c, LINES, daemon.writer("zero/ep_02").into())).collect();
    shells.extend(('e'..='h').map(|c| shell(c, LINES, std::os::fd::OwnedFd::from(connect()).into())));
    let counts = count_lines(back, 8 * LINES);
    assert_eq!(counts, (b'a'..=b'h').map(|c| (c, LINES)).collect::<Vec<_>>());
    shells.into_iter().for_each(|mut shell| assert!(wait_child(&mut shell).success()));
    drop(held);
}

#[test]
fn a_writer_that_never_stops_leaves_turns_to_the_others() {
    let (_bus, daemon) = loopback(BOTH, "");
    let mut back = daemon.reader("zero/ep_82");
    let mut flood = daemon.writer("zero/ep_02");
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flooding = thread::spawn({
        let stop = stop.clone();
        move || {
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                flood.write_all(&[0; 4096]).unwrap();
            }
        }
    });
    daemon.wait_count("zero", "ep_02", "bytes", 1_000_000);
    let mut other = connect_stream_out(&daemon);
    other.write_all(&[1; 100]).unwrap();
    let heard = within(PATIENCE, move || {
        let (mut passed, mut buffer) = (0, vec![0; 65536]);
        loop {
            let n = back.read(&mut buffer).unwrap();
            passed += n;
            if buffer[..n].contains(&1) {
                break (passed, back);
            }
        }
    });
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    let mut back = heard.1;
    thread::spawn(move || while back.read(&mut [0; 65536]).is_ok_and(|n| n > 0) {});
    flooding.join().unwrap();
}

fn connect_stream_out(daemon: &Daemon) -> UnixStream {
    connect_stream(daemon, "zero/ep_02.sock")
}

#[test]
fn where_one_writer_is_allowed_a_second_is_refused_and_told_so() {
    let (_bus, daemon) = loopback(&format!("{BOTH}\nwriters = \"one\""), "");
    let mut events = Events::of(&daemon);
    let back = daemon.reader("zero/ep_82");
    let mut first = connect_stream_out(&daemon);
    let second = UnixStream::connect(daemon.path("zero/ep_02.sock")).unwrap();
    let refused = events.wait("refuse", "zero");
    assert_eq!(refused["outlet"], "ep_02.sock");
    let text = refused["text"].as_str().unwrap();
    assert!(text.contains(&format!("process {}", std::process::id())) && text.contains("writers = \"one\""), "{text}");
    assert!(is_closed(&second));
    // What is written into the FIFO waits until the first is gone.
    let mut fifo = daemon.writer("zero/ep_02");
    fifo.write_all(b"later").unwrap();
    first.write_all(b"first").unwrap();
    let (back, got) = read_exactly(back, 5);
    assert_eq!(got, b"first");
    drop(first);
    assert_eq!(read_exactly(back, 5).1, b"later");
    // Now the FIFO has its writer, and the socket refuses.
    assert!(is_closed(&UnixStream::connect(daemon.path("zero/ep_02.sock")).unwrap()));
    drop(fifo);
    daemon.wait_pipe("zero", "ep_02", |pipe| pipe["open"] == false);
    connect_stream_out(&daemon).write_all(b"again").unwrap();
    assert_eq!(daemon.wait_count("zero", "ep_02", "bytes", 15), 15);
}

#[test]
fn half_a_message_and_garbage_of_one_client_spoil_nobody_elses() {
    let (_bus, daemon) = loopback(&format!("{BOTH}\nframing = \"length\"\ntransfer = 1000"), "framing = \"length\"");
    let mut back = daemon.reader("zero/ep_82");
    let mut half = connect_stream_out(&daemon);
    half.write_all(b"\x09\0\0\0half").unwrap();
    let mut garbage = connect_stream_out(&daemon);
    garbage.write_all(&[0xff; 100_000]).unwrap();
    let mut good = connect_stream_out(&daemon);
    for _ in 0..3 {
        good.write_all(b"\x02\0\0\0ok").unwrap();
        let (same, got) = read_exactly(back, 6);
        assert_eq!(got, b"\x02\0\0\0ok");
        back = same;
    }
    half.write_all(b"-done").unwrap();
    let (same, got) = read_exactly(back, 13);
    assert_eq!(got, b"\x09\0\0\0half-done");
    back = same;
    half.write_all(b"\x09\0\0\0ha").unwrap();
    drop((half, garbage));
    daemon.wait_count("zero", "ep_02", "bad_messages", 2);
    good.write_all(b"\x03\0\0\0end").unwrap();
    assert_eq!(read_exactly(back, 7).1, b"\x03\0\0\0end");
}

#[test]
fn a_message_that_is_too_long_is_counted_and_the_connection_goes_on() {
    let packets = "outlets = [\"socket\"]\nframing = \"packet\"\ntransfer = 1000";
    let (_bus, daemon) = loopback(packets, "");
    let out = Packets::connect_to(&daemon, "zero/ep_02.sock");
    out.send(&[1; 1001]);
    out.send(&[2; 1000]);
    assert_eq!(read_exactly(daemon.reader("zero/ep_82"), 1000).1, [2; 1000]);
    assert_eq!(daemon.count("zero", "ep_02", "bad_messages"), 1);
}

#[test]
fn what_a_client_wrote_before_a_quick_close_reaches_the_device() {
    let (_bus, daemon) = loopback(BOTH, "");
    let sent = common::bytes::random(150_000, 9);
    let back = daemon.reader("zero/ep_82");
    for part in sent.chunks(50_000) {
        let mut client = connect_stream_out(&daemon);
        client.write_all(part).unwrap();
        drop(client);
        daemon.wait_pipe("zero", "ep_02", |pipe| pipe["clients"].as_array().unwrap().is_empty());
    }
    assert_same(&sent, &read_exactly(back, sent.len()).1, 0);
}
