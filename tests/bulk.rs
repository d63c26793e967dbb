//! What a FIFO keeps for its next reader. What is the same on every system is in `both/bulk.rs`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::thread;
use std::time::Instant;

use common::bytes::{assert_same, random, write_in_chunks};
use common::zero::{loopback, zero};
use common::{Daemon, read_exactly};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

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

#[test]
fn a_round_trip_reads_the_fifo_once_and_looks_again_only_now_and_then() {
    let (_bus, daemon) = zero("");
    let (mut out, mut back) = (daemon.writer("zero/ep_02"), daemon.reader("zero/ep_82"));
    converse(&mut out, &mut back);
    let (before, start) = (reads(&daemon), Instant::now());
    for _ in 0..ROUNDS {
        converse(&mut out, &mut back);
    }
    let more = reads(&daemon) - before - ROUNDS;
    // It may look again every 20 ms, when that time is over and when a timer says so.
    let may = 2 * (start.elapsed().as_millis() as u64 / 20 + 1);
    assert!(more <= may, "{more} reads in vain in {ROUNDS} rounds, {may} are allowed");
}

#[test]
fn packets_behind_a_packet_arrive_although_a_stream_expects_none() {
    let (_bus, daemon) = zero("");
    let (mut out, mut back) = (daemon.writer("zero/ep_02"), daemon.reader("zero/ep_82"));
    let flags = OFlag::from_bits_retain(fcntl(&out, FcntlArg::F_GETFL).unwrap());
    fcntl(&out, FcntlArg::F_SETFL(flags | OFlag::O_DIRECT)).unwrap();
    let pid = Pid::from_raw(daemon.child.id().cast_signed());
    for packets in [1, 2, 3, 5, 8, 12].repeat(5) {
        converse(&mut out, &mut back);
        kill(pid, Signal::SIGSTOP).unwrap();
        let sent: Vec<u8> = (0..packets).collect();
        sent.iter().for_each(|packet| out.write_all(&[*packet]).unwrap());
        kill(pid, Signal::SIGCONT).unwrap();
        let (again, got) = read_exactly(back, sent.len());
        assert_eq!(got, sent);
        back = again;
    }
}

/// A question and its answer, which is the same.
fn converse(out: &mut File, back: &mut File) {
    let mut answer = [0; 64];
    out.write_all(&[7; 64]).unwrap();
    back.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [7; 64]);
}

/// Reads from pipes and files that the daemon has made: proc_pid_io(5).
fn reads(daemon: &Daemon) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{}/io", daemon.child.id())).unwrap();
    io.lines().find_map(|line| line.strip_prefix("syscr: ")).unwrap().parse().unwrap()
}

const ROUNDS: u64 = 2000;
