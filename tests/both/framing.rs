//! Framings: message boundaries on one outlet, shown on a loopback that keeps them.

use std::fs::File;
use std::io::{Read, Write};
use std::thread;

use crate::common::bytes::{assert_same, random};
use crate::common::zero::loopback;
use crate::common::{read_exactly, read_line};
use serde_json::Value;

fn record(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u32).to_le_bytes(), message].concat()
}

/// The next message of the `length` framing.
fn next_record(back: File) -> (File, Vec<u8>) {
    let (back, header) = read_exactly(back, 4);
    read_exactly(back, u32::from_le_bytes(header.try_into().unwrap()) as usize)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Lengths around every boundary that matters: packets of 512, PIPE_BUF, and transfers of 65536.
const LENGTHS: [usize; 12] = [1, 0, 511, 513, 3, 4095, 4097, 0, 0, 65_535, 1000, 700];

#[test]
fn records_keep_their_lengths_both_ways() {
    let (_bus, daemon) = loopback("framing = \"length\"", "framing = \"length\"");
    let (mut back, mut out) = (daemon.reader("zero/ep_82"), daemon.writer("zero/ep_02"));
    let messages = LENGTHS.map(|n| random(n, n as u64));
    let written = messages.each_ref().map(|m| record(m)).concat();
    // The writes have nothing to do with the records.
    let writer = thread::spawn(move || written.chunks(1777).for_each(|part| out.write_all(part).unwrap()));
    for message in &messages {
        let (same, got) = next_record(back);
        assert_same(message, &got, 0);
        back = same;
    }
    writer.join().unwrap();
    assert_eq!(daemon.count("zero", "ep_02", "bad_messages"), 0);
}

#[test]
fn a_message_that_fills_its_last_packet_is_closed_by_a_zero_length_packet() {
    let (_bus, daemon) = loopback("framing = \"length\"", "framing = \"length\"");
    let (mut back, mut out) = (daemon.reader("zero/ep_82"), daemon.writer("zero/ep_02"));
    for size in [512, 1024, 65_536] {
        let message = random(size, 1);
        out.write_all(&record(&message)).unwrap();
        out.write_all(&record(b"next")).unwrap();
        for expected in [&message[..], b"", b"next"] {
            let (same, got) = next_record(back);
            assert_same(expected, &got, 0);
            back = same;
        }
    }
}

#[test]
fn the_zero_length_packet_can_be_left_out() {
    let (_bus, daemon) = loopback("framing = \"length\"\nzlp = false", "framing = \"length\"");
    let (back, mut out) = (daemon.reader("zero/ep_82"), daemon.writer("zero/ep_02"));
    out.write_all(&[record(&[7; 512]), record(b""), record(b"next")].concat()).unwrap();
    let (back, first) = next_record(back);
    assert_eq!(first, [7; 512]);
    let (back, asked_for) = next_record(back);
    assert_eq!(asked_for, b"", "an empty message is still one");
    assert_eq!(next_record(back).1, b"next");
}

#[test]
fn a_stream_has_no_zero_length_packets_of_its_own() {
    let (_bus, daemon) = loopback("", "framing = \"length\"");
    let (back, mut out) = (daemon.reader("zero/ep_82"), daemon.writer("zero/ep_02"));
    out.write_all(&[9; 512]).unwrap();
    let (back, first) = next_record(back);
    assert_eq!(first, [9; 512]);
    out.write_all(b"next").unwrap();
    assert_eq!(next_record(back).1, b"next");
}

#[test]
fn lines_of_hex_keep_their_messages_both_ways() {
    let (_bus, daemon) = loopback("framing = \"hex\"", "framing = \"hex\"");
    let (back, mut out) = (daemon.reader("zero/ep_82"), daemon.writer("zero/ep_02"));
    out.write_all(b"00 01 0a FF\r\n\ncafe").unwrap();
    assert_eq!(read_line(&back), "00010aff");
    assert_eq!(read_line(&back), "", "an empty line is an empty message");
    out.write_all(b"\tbabe\n").unwrap();
    assert_eq!(read_line(&back), "cafebabe");
    let block = random(512, 2);
    out.write_all(format!("{}\n", hex(&block)).as_bytes()).unwrap();
    assert_eq!(read_line(&back), hex(&block));
    assert_eq!(read_line(&back), "", "its zero-length packet");
}

#[test]
fn json_lines_tell_what_a_transfer_was() {
    let (_bus, daemon) = loopback("framing = \"length\"", "framing = \"jsonl\"");
    let (back, mut out) = (daemon.reader("zero/ep_82"), daemon.writer("zero/ep_02"));
    out.write_all(&[record(b"abc"), record(&[0xee; 512])].concat()).unwrap();
    let expected = [("616263".to_owned(), 3), ("ee".repeat(512), 512), (String::new(), 0)];
    let mut last_time = 0.0;
    for (seq, (data, length)) in expected.into_iter().enumerate() {
        let line: Value = serde_json::from_str(&read_line(&back)).unwrap();
        assert_eq!(line["endpoint"], "0x82");
        assert_eq!(line["seq"], seq);
        assert_eq!(line["status"], "ok");
        assert_eq!(line["length"], length);
        assert_eq!(line["data"], data);
        assert_eq!(line["lost"], 0);
        let time = line["time"].as_f64().unwrap();
        assert!(time >= last_time && time > 1.7e9, "seconds since 1970: {time}");
        last_time = time;
    }
}

#[test]
fn a_stall_is_a_json_line_too() {
    let (bus, daemon) = loopback("", "framing = \"jsonl\"");
    let (back, mut out) = (daemon.reader("zero/ep_82"), daemon.writer("zero/ep_02"));
    bus.command("stall zero 0x82");
    out.write_all(b"after").unwrap();
    let mut seen = Vec::new();
    while seen.last() != Some(&("ok".to_owned(), "6166746572".to_owned())) {
        let line: Value = serde_json::from_str(&read_line(&back)).unwrap();
        seen.push((line["status"].as_str().unwrap().to_owned(), line["data"].as_str().unwrap().to_owned()));
    }
    assert_eq!(seen[0].0, "stall", "{seen:?}");
}

#[test]
fn in_packets_one_read_is_one_transfer_however_many_wait() {
    let (_bus, daemon) = loopback("framing = \"length\"", "framing = \"packet\"");
    let (mut back, mut out) = (daemon.packets("zero/ep_82"), daemon.writer("zero/ep_02"));
    let messages: Vec<Vec<u8>> = (0..40).map(|n| random(1 + n * 97 % 4000, n as u64)).collect();
    for message in &messages {
        out.write_all(&record(message)).unwrap();
    }
    // None is read before all of them are there.
    daemon.wait_count("zero", "ep_82", "transfers", 40);
    let mut buffer = vec![0; 65_536];
    for message in &messages {
        let n = back.read(&mut buffer).unwrap();
        assert_same(message, &buffer[..n], 0);
    }
}

#[test]
fn records_that_are_too_long_are_counted_and_skipped() {
    let (_bus, daemon) = loopback("framing = \"length\"\ntransfer = 1000", "framing = \"length\"");
    let (mut back, mut out) = (daemon.reader("zero/ep_82"), daemon.writer("zero/ep_02"));
    let records = [record(b"one"), record(&[1; 1001]), record(&[2; 1000]), record(&[3; 200_000]), record(b"two")];
    let writer = thread::spawn(move || {
        out.write_all(&records.concat()).unwrap();
        out
    });
    for expected in [b"one".to_vec(), vec![2; 1000], b"two".to_vec()] {
        let (same, got) = next_record(back);
        assert_same(&expected, &got, 0);
        back = same;
    }
    drop(writer.join().unwrap());
    assert_eq!(daemon.count("zero", "ep_02", "bad_messages"), 2);
}

#[test]
fn lines_that_are_no_hex_are_counted_and_skipped() {
    let (_bus, daemon) = loopback("framing = \"hex\"\ntransfer = 4", "framing = \"hex\"");
    let (back, mut out) = (daemon.reader("zero/ep_82"), daemon.writer("zero/ep_02"));
    out.write_all(b"01\nzz\n0\n0102030405\nhello world\n0x01\n\xff\n02030405\n").unwrap();
    assert_eq!(read_line(&back), "01");
    assert_eq!(read_line(&back), "02030405");
    assert_eq!(daemon.count("zero", "ep_02", "bad_messages"), 6);
}

#[test]
fn a_record_that_its_writer_never_finished_is_counted_and_spoils_no_other() {
    for (framing, unfinished, whole) in
        [("length", &b"\x09\0\0\0half"[..], &b"\x02\0\0\0ok"[..]), ("hex", b"0102", b"6f6b\n")]
    {
        let (_bus, daemon) = loopback(&format!("framing = \"{framing}\""), "");
        let back = daemon.reader("zero/ep_82");
        daemon.writer("zero/ep_02").write_all(unfinished).unwrap();
        daemon.wait_count("zero", "ep_02", "bad_messages", 1);
        daemon.writer("zero/ep_02").write_all(whole).unwrap();
        assert_eq!(read_exactly(back, 2).1, b"ok");
        assert_eq!(daemon.count("zero", "ep_02", "bad_messages"), 1);
    }
}
