//! What a FIFO keeps for its next reader. What is the same on every system is in `both/bulk.rs`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::io::Write;
use std::thread;

use common::bytes::{assert_same, random, write_in_chunks};
use common::read_exactly;
use common::zero::{loopback, zero};

#[test]
fn what_one_reader_leaves_the_next_one_gets() {
    let (_bus, daemon) = zero("");
    let sent = random(2_000_000, 5);
    let out = daemon.writer("zero/ep_02");
    let writer = thread::spawn({
        let sent = sent.clone();
        move || write_in_chunks(&out, &sent, &[70_000])
    });
    let mut got = Vec::new();
    while got.len() < sent.len() {
        let reader = daemon.reader("zero/ep_82");
        let part = (sent.len() - got.len()).min(300_001);
        got.extend(read_exactly(reader, part).1);
    }
    writer.join().unwrap();
    assert_same(&sent, &got, 0);
}

#[test]
fn what_a_reader_left_goes_if_the_next_one_wants_only_what_is_new() {
    let (_bus, daemon) = loopback("", "on_open = \"discard\"\n");
    let mut out = daemon.writer("zero/ep_02");
    let back = daemon.reader("zero/ep_82");
    out.write_all(&[1; 50_000]).unwrap();
    drop(read_exactly(back, 10).0);
    daemon.wait_count("zero", "ep_82", "discarded_bytes", 1);
    let discarded = daemon.count("zero", "ep_82", "discarded_bytes");
    let left_in_the_device = 50_000 - 10 - discarded as usize;
    let back = daemon.reader("zero/ep_82");
    out.write_all(b"new").unwrap();
    let (_back, got) = read_exactly(back, left_in_the_device + 3);
    assert_eq!(&got[left_in_the_device..], b"new");
}
