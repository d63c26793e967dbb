//! Several programs at one pipe: each reader gets its own copy, writers share, and nobody who misbehaves hurts the others.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
#[path = "common/sockets.rs"]
mod sockets;

use std::io::{Read, Write};
use std::thread;

use common::bytes::{assert_same, pattern, random};
use common::{Bus, Daemon, read_exactly};
use firmware_mock::DeviceKind::Zero;
use sockets::{Packets, connect_stream, file};

/// A daemon with these settings of gadget zero's pipes; the bus must stay.
fn zero(pipes: &str) -> (Bus, Daemon) {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", pipes));
    (bus, daemon)
}

fn pipe(endpoint: &str, rest: &str) -> String {
    format!("[[device.pipe]]\nendpoint = {endpoint}\n{rest}\n")
}

const BOTH: &str = "outlets = [\"fifo\", \"socket\"]";

#[test]
fn a_socket_and_the_fifo_get_the_same_bytes_each_its_own_copy() {
    let (_bus, daemon) = zero(&(pipe("0x82", BOTH) + &pipe("0x02", "")));
    let (fifo, client) = (daemon.reader("zero/ep_82"), connect_stream(&daemon, "zero/ep_82.sock"));
    daemon.wait_pipe("zero", "ep_82", |pipe| pipe["clients"].as_array().unwrap().len() == 2);
    let sent = random(3_000_000, 1);
    let mut out = daemon.writer("zero/ep_02");
    let (fifo, client, writer) = thread::scope(|scope| {
        let a = scope.spawn(|| read_exactly(fifo, sent.len()).1);
        let b = scope.spawn(|| read_exactly(file(&client), sent.len()).1);
        let writer = scope.spawn(|| out.write_all(&sent));
        (a.join().unwrap(), b.join().unwrap(), writer.join().unwrap())
    });
    writer.unwrap();
    assert_same(&sent, &fifo, 0);
    assert_same(&sent, &client, 0);
}

#[test]
fn messages_keep_their_boundaries_both_ways_empty_ones_too() {
    let packets = "outlets = [\"socket\"]\nframing = \"packet\"";
    let (_bus, daemon) = zero(&(pipe("0x82", packets) + &pipe("0x02", packets)));
    let back = Packets::connect_to(&daemon, "zero/ep_82.sock");
    let out = Packets::connect_to(&daemon, "zero/ep_02.sock");
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
    let (_bus, daemon) = zero(&(pipe("0x82", BOTH) + &pipe("0x02", "")));
    let mut first = connect_stream(&daemon, "zero/ep_82.sock");
    let mut out = daemon.writer("zero/ep_02");
    out.write_all(b"early").unwrap();
    let mut got = [0; 5];
    first.read_exact(&mut got).unwrap();
    let second = connect_stream(&daemon, "zero/ep_82.sock");
    out.write_all(b"late").unwrap();
    assert_eq!(read_exactly(file(&second), 4).1, b"late");
    assert_eq!(read_exactly(file(&first), 4).1, b"late");
}
