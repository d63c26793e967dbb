//! How fast the mock is, seen by a client that does almost nothing: `cargo bench -p firmware-mock`.

#![cfg(unix)]
#![allow(clippy::print_stdout, reason = "figures are what it prints")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use common::{Client, Lab, pattern};
use firmware_mock::DeviceKind;
use usbip_wire::{Direction, HEADER_LEN, Header, Submit};

fn main() {
    // `cargo test --benches` runs this too, and means it as a check that it builds.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let lab = Lab::new(&[DeviceKind::Zero, DeviceKind::Echo]);
    for length in [512, 4096, 65536, 1 << 20] {
        let rate = source(&mut lab.import("1-3"), length, 16);
        println!("source, transfers of {length}: {:.0} MB/s", rate / 1e6);
    }
    for length in [4096, 65536] {
        let rate = sink(&mut lab.import("1-3"), length, 16);
        println!("sink, transfers of {length}: {:.0} MB/s", rate / 1e6);
    }
    println!("echo, transfers of 4096: {:.0} MB/s", echo(&mut lab.import("1-6")) / 1e6);
    for (name, busid, out) in [("zero loopback", "1-3", 0x02), ("echo", "1-6", 0x01)] {
        let (mean, worst) = round_trips(&mut lab.import(busid), out, 0x82);
        println!("{name} of 63 bytes: {mean:?} a round trip, worst {worst:?}");
    }
}

fn submit(client: &Client, seqnum: u32, direction: Direction, endpoint: u8, length: usize) -> [u8; HEADER_LEN] {
    Header::Submit(Submit {
        seqnum,
        devid: client.record.devid(),
        direction,
        endpoint,
        flags: 0,
        length: length as u32,
        start_frame: 0,
        packets: None,
        interval: 0,
        setup: [0; 8],
    })
    .encode()
}

/// Bytes a second with `queue` transfers in flight; each reply is replaced by the next request.
fn source(client: &mut Client, length: usize, queue: u32) -> f64 {
    let mut requests: Vec<u8> = (1..=queue).flat_map(|n| submit(client, n, Direction::In, 1, length)).collect();
    client.stream.write_all(&requests).expect("written");
    let one = HEADER_LEN + length;
    let mut buffer = vec![0; (one * 4).max(1 << 20)];
    let (mut filled, mut total, mut seqnum) = (0, 0usize, queue);
    let start = Instant::now();
    while start.elapsed() < SPAN {
        let count = client.stream.read(&mut buffer[filled..]).expect("data in time");
        filled += count;
        total += count;
        let whole = filled / one;
        buffer.copy_within(whole * one..filled, 0);
        filled -= whole * one;
        requests.clear();
        for _ in 0..whole {
            seqnum += 1;
            requests.extend(submit(client, seqnum, Direction::In, 1, length));
        }
        client.stream.write_all(&requests).expect("written");
    }
    total as f64 / start.elapsed().as_secs_f64()
}

/// Bytes a second with `queue` transfers in flight.
fn sink(client: &mut Client, length: usize, queue: u32) -> f64 {
    let payload: Vec<u8> = (0..length).map(pattern).collect();
    let mut seqnum = 0;
    let mut flight = 0;
    let mut replies = vec![0; HEADER_LEN * queue as usize];
    let mut filled = 0;
    let start = Instant::now();
    let mut total = 0;
    while start.elapsed() < SPAN {
        while flight < queue {
            seqnum += 1;
            let header = submit(client, seqnum, Direction::Out, 1, length);
            client.stream.write_all(&[&header[..], &payload].concat()).expect("written");
            flight += 1;
            total += length;
        }
        filled += client.stream.read(&mut replies[filled..]).expect("replies in time");
        flight -= (filled / HEADER_LEN) as u32;
        filled %= HEADER_LEN;
    }
    total as f64 / start.elapsed().as_secs_f64()
}

/// Bytes a second through the firmware and back.
fn echo(client: &mut Client) -> f64 {
    static BLOCK: [u8; 32 * 1024] = [1; 32 * 1024];
    let start = Instant::now();
    let mut total = 0;
    while start.elapsed() < SPAN {
        client.submit_out(0x01, &BLOCK);
        let mut back = 0;
        while back < BLOCK.len() {
            back += client.read(0x82, 4096).actual;
        }
        total += back;
    }
    total as f64 / start.elapsed().as_secs_f64()
}

fn round_trips(client: &mut Client, out: u8, into: u8) -> (Duration, Duration) {
    const ROUNDS: u32 = 20_000;
    let mut worst = Duration::ZERO;
    let start = Instant::now();
    for _ in 0..ROUNDS {
        let before = Instant::now();
        let read = client.submit_in(into, 512);
        client.submit_out(out, &[0x55; 63]);
        client.reply_to(read);
        worst = worst.max(before.elapsed());
    }
    (start.elapsed() / ROUNDS, worst)
}

const SPAN: Duration = Duration::from_secs(2);
