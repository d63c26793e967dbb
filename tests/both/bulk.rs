//! Bulk endpoints as files: everything arrives, once and in order.

use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use crate::common::bytes::{assert_same, pattern, random, read_in_chunks, write_in_chunks};
use crate::common::events::Events;
use crate::common::witness::Witness;
use crate::common::zero::{loopback, zero};
use crate::common::{PATIENCE, open_reader, open_writer, read_exactly, within};

/// Sends 64 MiB through the loopback by writes of these sizes, reads them by reads of those, and compares.
fn loop_back(writes: &'static [usize], reads: &'static [usize]) {
    let (_bus, daemon) = zero("");
    let sent = random(SIZE, 3);
    let (back, out) = (daemon.reader("zero/ep_82"), daemon.writer("zero/ep_02"));
    thread::scope(|scope| {
        scope.spawn(|| write_in_chunks(&out, &sent, writes));
        read_in_chunks(&back, SIZE, reads, |offset, got| assert_same(&sent[offset..offset + got.len()], got, offset));
    });
    for outlet in ["ep_02", "ep_82"] {
        assert_eq!(daemon.count("zero", outlet, "bytes"), SIZE as u64);
        assert_eq!(daemon.count("zero", outlet, "lost_bytes"), 0);
    }
}

#[test]
fn sixty_four_mebibytes_of_the_source_follow_its_pattern() {
    let (_bus, daemon) = zero("");
    let source = daemon.reader("zero/ep_81");
    let two_rounds = pattern(512 + 65536);
    read_in_chunks(&source, SIZE, &[65536], |offset, got| {
        assert_same(&two_rounds[offset % 512..offset % 512 + got.len()], got, offset);
    });
}

#[test]
fn sixty_four_mebibytes_come_back_from_the_loopback_equal() {
    loop_back(&[1 << 20], &[1 << 16]);
}

#[test]
fn sixty_four_mebibytes_come_back_equal_in_odd_chunks_too() {
    loop_back(&[1, 511, 513, 65_537, 100_003, 4095, 7, 300_000], &[65_521, 1, 4097, 513, 99_991]);
}

#[test]
fn a_wrong_byte_is_a_stall_that_is_counted_cleared_and_told() {
    let (_bus, daemon) = zero("");
    let mut events = Events::of(&daemon);
    let mut sink = daemon.writer("zero/ep_01");
    sink.write_all(&[0, 1, 2, 99]).unwrap();
    daemon.wait_count("zero", "ep_01", "stalls", 1);
    let told = events.wait("stall", "zero");
    assert_eq!(told["outlet"], "ep_01");
    let shown = String::from_utf8(daemon.ask(&["status"]).stdout).unwrap();
    let line = shown.lines().find(|l| l.trim_start().starts_with("ep_01")).unwrap();
    assert!(line.contains("stalls=1"), "{line}");
    assert_eq!(daemon.count("zero", "ep_01", "lost_bytes"), 1);

    let before = daemon.count("zero", "ep_01", "bytes");
    sink.write_all(&pattern(2048)).unwrap();
    assert_eq!(daemon.wait_count("zero", "ep_01", "bytes", before + 2048), before + 2048);
    assert_eq!(daemon.count("zero", "ep_01", "stalls"), 1, "correct bytes are accepted again");
}

#[test]
fn a_halted_source_goes_on_by_itself() {
    let (bus, daemon) = zero("");
    let source = daemon.reader("zero/ep_81");
    bus.command("stall zero 0x81");
    let two_rounds = pattern(512 + 65536);
    read_in_chunks(&source, 4 << 20, &[65536], |offset, got| {
        assert_same(&two_rounds[offset % 512..offset % 512 + got.len()], got, offset);
    });
    assert_eq!(daemon.count("zero", "ep_81", "stalls"), 1);
}

#[test]
fn three_bytes_come_back_at_once() {
    let (_bus, daemon) = zero("");
    let (mut back, mut out) = (daemon.reader("zero/ep_82"), daemon.writer("zero/ep_02"));
    for n in 0..20u8 {
        let sent = [n, 0xaa, 0x55];
        let witness = Witness::start();
        out.write_all(&sent).unwrap();
        let (reader, got) = read_exactly(back, 3);
        back = reader;
        assert_eq!(got, sent);
        witness.assert_within(AT_ONCE);
    }
}

#[test]
fn nothing_is_asked_of_the_device_while_nobody_reads() {
    let (_bus, daemon) = zero("");
    drop(read_exactly(daemon.reader("zero/ep_81"), 100_000));
    daemon.wait_pipe("zero", "ep_81", |pipe| pipe["open"] == false);
    let transfers = daemon.count("zero", "ep_81", "transfers");
    // Another pipe of the same device moves meanwhile, so time has passed for this one as well.
    let (back, mut out) = (daemon.reader("zero/ep_82"), daemon.writer("zero/ep_02"));
    out.write_all(&[7; 50_000]).unwrap();
    read_exactly(back, 50_000);
    assert_eq!(daemon.count("zero", "ep_81", "transfers"), transfers);
}

#[test]
fn what_was_written_before_a_quick_close_reaches_the_device() {
    let (_bus, daemon) = zero("");
    let sent = random(150_000, 9);
    let back = daemon.reader("zero/ep_82");
    for part in sent.chunks(50_000) {
        daemon.writer("zero/ep_02").write_all(part).unwrap();
    }
    assert_same(&sent, &read_exactly(back, sent.len()).1, 0);
}

#[test]
fn several_writers_never_split_each_others_writes() {
    const ROUNDS: usize = 200;
    let (_bus, daemon) = zero("");
    let back = daemon.reader("zero/ep_82");
    let message = |who: u8| vec![who; 4096];
    let writers: Vec<_> = (1..=4)
        .map(|who| {
            let mut out = daemon.writer("zero/ep_02");
            thread::spawn(move || (0..ROUNDS).for_each(|_| out.write_all(&message(who)).unwrap()))
        })
        .collect();
    let got = within(PATIENCE, move || {
        let mut got = vec![0; 4 * ROUNDS * 4096];
        (&back).read_exact(&mut got).unwrap();
        got
    });
    writers.into_iter().for_each(|w| w.join().unwrap());
    let mut heard = [0; 5];
    for chunk in got.chunks(4096) {
        assert!(chunk.iter().all(|b| b == &chunk[0]), "a message was split");
        heard[usize::from(chunk[0])] += 1;
    }
    assert_eq!(heard, [0, ROUNDS, ROUNDS, ROUNDS, ROUNDS]);
}

#[test]
fn a_reader_of_a_pipe_that_stops_at_a_stall_sees_the_end_and_the_next_one_goes_on() {
    let (bus, daemon) = loopback("", "stall = \"stop\"\n");
    let (mut back, mut out) = (daemon.reader("zero/ep_82"), daemon.writer("zero/ep_02"));
    out.write_all(b"before").unwrap();
    let (same, got) = read_exactly(back, 6);
    assert_eq!(got, b"before");
    back = same;
    bus.command("stall zero 0x82");
    let rest = within(PATIENCE, move || {
        let mut rest = Vec::new();
        back.read_to_end(&mut rest).map(|_| rest).unwrap()
    });
    assert_eq!(rest, b"");
    let opened = daemon.path("zero/ep_82");
    let back = within(PATIENCE, move || open_reader(&opened).unwrap());
    out.write_all(b"after").unwrap();
    assert_eq!(read_exactly(back, 5).1, b"after");
    assert_eq!(daemon.count("zero", "ep_82", "stalls"), 1);
}

#[test]
fn a_writer_to_a_pipe_that_stops_at_a_stall_gets_epipe_and_the_next_one_goes_on() {
    let (bus, daemon) = loopback("stall = \"stop\"\n", "");
    let back = daemon.reader("zero/ep_82");
    bus.command("stall zero 0x02");
    let mut out = daemon.writer("zero/ep_02");
    let refused = within(PATIENCE, move || {
        loop {
            if let Err(e) = out.write_all(b"refused") {
                return e.kind();
            }
            thread::yield_now();
        }
    });
    assert_eq!(refused, std::io::ErrorKind::BrokenPipe);
    let opened = daemon.path("zero/ep_02");
    let mut out = within(PATIENCE, move || open_writer(&opened).unwrap());
    out.write_all(b"accepted").unwrap();
    assert_eq!(read_exactly(back, 8).1, b"accepted");
}

#[test]
fn in_idle_draining_the_device_is_read_and_the_next_reader_gets_what_comes_then() {
    let (_bus, daemon) = loopback("", "idle = \"drain\"\n");
    let mut out = daemon.writer("zero/ep_02");
    out.write_all(&[1; 100_000]).unwrap();
    daemon.wait_count("zero", "ep_82", "discarded_bytes", 100_000);
    let back = daemon.reader("zero/ep_82");
    daemon.wait_pipe("zero", "ep_82", |pipe| pipe["open"] == true);
    out.write_all(b"fresh").unwrap();
    assert_eq!(read_exactly(back, 5).1, b"fresh");
}

#[test]
fn transfers_that_come_back_in_pieces_are_one_stream() {
    let (bus, daemon) = zero("");
    bus.command("short zero 0x82 100");
    bus.command("delay zero 0x02 5");
    let sent = random(200_000, 8);
    let (back, out) = (daemon.reader("zero/ep_82"), daemon.writer("zero/ep_02"));
    let writer = thread::spawn({
        let sent = sent.clone();
        move || write_in_chunks(&out, &sent, &[10_000, 1])
    });
    assert_same(&sent, &read_exactly(back, sent.len()).1, 0);
    writer.join().unwrap();
}

#[test]
fn a_stall_under_load_costs_the_transfer_that_met_it_and_no_other() {
    let (bus, daemon) = zero("");
    let sent = random(4 << 20, 10);
    let out = daemon.writer("zero/ep_02");
    let writer = thread::spawn({
        let sent = sent.clone();
        move || write_in_chunks(&out, &sent, &[60_000])
    });
    // The loopback is full and says NAK, so the queue is full of transfers that wait.
    daemon.wait_count("zero", "ep_02", "bytes", 900_000);
    bus.command("stall zero 0x02");
    let lost = daemon.wait_count("zero", "ep_02", "lost_bytes", 1) as usize;
    let got = read_exactly(daemon.reader("zero/ep_82"), sent.len() - lost).1;
    writer.join().unwrap();
    let hole = sent.iter().zip(&got).position(|(a, b)| a != b).unwrap();
    assert_same(&sent[hole + lost..], &got[hole..], hole);
    assert_eq!(daemon.count("zero", "ep_02", "stalls"), 1);
}

const SIZE: usize = 64 << 20;
/// Far longer than a round trip takes, far shorter than any wait for a buffer to fill.
const AT_ONCE: Duration = Duration::from_secs(1);
