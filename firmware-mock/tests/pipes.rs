//! `zero`, `tone`, `knob` and `regs` over the wire.

#![cfg(unix)]

mod common;

use std::time::{Duration, Instant};

use common::{Client, Data, Lab, NOTHING, pattern};
use firmware_mock::DeviceKind;
use usbip_wire::status;

#[test]
fn the_source_counts_from_the_start_of_each_packet() {
    let lab = Lab::new(&[DeviceKind::Zero]);
    let mut client = lab.import("1-3");
    for length in [0, 1, 63, 512, 513, 65536, 200_000] {
        let reply = client.read(0x81, length);
        assert_eq!((reply.status, reply.actual), (0, length));
        assert!(reply.data.iter().enumerate().all(|(n, &byte)| byte == pattern(n)));
    }
}

#[test]
fn loopback_keeps_transfers_apart_also_empty_ones() {
    let lab = Lab::new(&[DeviceKind::Zero]);
    let mut client = lab.import("1-3");
    let messages: Vec<Vec<u8>> = [5, 0, 512, 0, 1024, 3000].map(|length| (0..length).map(|n| n as u8).collect()).into();
    for message in &messages {
        let reply = client.write(0x02, message);
        assert_eq!((reply.status, reply.actual), (0, message.len()));
    }
    for message in &messages {
        assert_eq!(&client.read(0x82, 4096).data, message);
    }
    client.write(0x02, &messages[5]);
    assert_eq!(client.read(0x82, 2048).data, messages[5][..2048]);
    assert_eq!(client.read(0x82, 2048).data, messages[5][2048..]);
}

#[test]
fn loopback_waits_in_both_directions() {
    let lab = Lab::new(&[DeviceKind::Zero]);
    let mut client = lab.import("1-3");
    let reads: Vec<u32> = (0..4).map(|_| client.submit_in(0x82, 512)).collect();
    for (n, &read) in (0u8..).zip(&reads) {
        client.submit_out(0x02, &[n; 64]);
        assert_eq!(client.reply_to(read).data, [n; 64]);
    }
    let block = vec![9; 300_000];
    let writes: Vec<u32> = (0..5).map(|_| client.submit_out(0x02, &block)).collect();
    for _ in 0..3 {
        let reply = client.next_reply();
        assert!(writes.contains(&reply.seqnum), "three blocks fit into the loopback");
    }
    for _ in 0..5 {
        assert_eq!(client.read(0x82, 300_000).data.len(), 300_000);
    }
    assert_eq!(client.reply_to(writes[4]).actual, 300_000);
}

#[test]
fn the_sink_halts_at_a_wrong_byte_until_it_is_cleared() {
    let lab = Lab::new(&[DeviceKind::Zero]);
    let mut client = lab.import("1-3");
    let mut data: Vec<u8> = (0..100_000).map(pattern).collect();
    assert_eq!(client.write(0x01, &data).actual, 100_000);
    data[70_000] ^= 1;
    let reply = client.write(0x01, &data);
    assert_eq!((reply.status, reply.actual), (status::EPIPE, 70_000));
    let reply = client.write(0x01, &[0, 1, 2]);
    assert_eq!((reply.status, reply.actual), (status::EPIPE, 0));
    assert_eq!(client.control(0x02, 1, 0, 0x01, NOTHING).status, 0);
    assert_eq!(client.write(0x01, &[0, 1, 2]).status, 0);
}

#[test]
fn knob_reports_are_consecutive_and_come_every_ten_milliseconds() {
    let lab = Lab::new(&[DeviceKind::Knob]);
    let mut client = lab.import("1-4");
    let start = Instant::now();
    let reads: Vec<u32> = (0..20).map(|_| client.submit_in(0x81, 8)).collect();
    let reports: Vec<Vec<u8>> = reads.into_iter().map(|read| client.reply_to(read).data).collect();
    let elapsed = start.elapsed();
    assert!(elapsed >= Duration::from_millis(180), "{elapsed:?}");
    for (n, report) in (0u32..).zip(&reports) {
        assert_eq!((report.len(), &report[..4]), (8, &n.to_le_bytes()[..]));
    }
}

#[test]
fn no_knob_report_is_lost_by_an_unlink() {
    let lab = Lab::new(&[DeviceKind::Knob]);
    let mut client = lab.import("1-4");
    let mut counters = Vec::new();
    for _ in 0..8 {
        let reads: Vec<u32> = (0..3).map(|_| client.submit_in(0x81, 8)).collect();
        counters.push(client.reply_to(reads[0]).data[0]);
        for &read in &reads[1..] {
            let unlink = client.unlink(read);
            if client.reply_to(unlink).status == 0 {
                counters.push(client.reply_to(read).data[0]);
            }
        }
    }
    let expected: Vec<u8> = (0..counters.len() as u8).collect();
    assert_eq!(counters, expected);
}

#[test]
fn the_host_sets_the_buttons_of_the_knob() {
    let lab = Lab::new(&[DeviceKind::Knob]);
    let mut client = lab.import("1-4");
    assert_eq!(client.write(0x01, &[0x5a]).actual, 1);
    assert_eq!(client.read(0x81, 8).data[6..], [0x5a, 0]);
}

#[test]
fn registers_keep_what_is_written_and_know_their_ends() {
    let lab = Lab::new(&[DeviceKind::Regs]);
    let mut client = lab.import("1-7");
    let data: Vec<u8> = (1..=64).collect();
    assert_eq!(client.control(0x40, 1, 0, 16, Data::Out(&data)).actual, 64);
    assert_eq!(client.control(0xc0, 2, 0, 16, Data::In(64)).data, data);
    assert_eq!(client.control(0xc0, 2, 0, 0, Data::In(256)).data.len(), 256);
    assert_eq!(client.control(0x40, 1, 0, 0, Data::Out(&[0; 65])).status, status::EPIPE);
    assert_eq!(client.control(0xc0, 2, 0, 255, Data::In(2)).status, status::EPIPE);
    assert_eq!(client.control(0xc0, 3, 0, 0, Data::In(1)).status, status::EPIPE);
    assert_eq!(client.control(0x40, 3, 0, 0, NOTHING).status, status::EPIPE);
}

#[test]
fn a_slow_request_can_be_cancelled_and_holds_the_next_one_up() {
    let lab = Lab::new(&[DeviceKind::Regs]);
    let mut client = lab.import("1-7");
    let start = Instant::now();
    let slow = client.submit_control([0xc0, 4, 50, 0, 0, 0, 1, 0], &[]);
    let next = client.submit_control([0xc0, 2, 0, 0, 0, 0, 4, 0], &[]);
    assert_eq!(client.next_reply().seqnum, slow);
    assert!(start.elapsed() >= Duration::from_millis(50));
    assert_eq!(client.reply_to(next).data, [0; 4]);
    let endless = client.submit_control([0x40, 4, 0xff, 0xff, 0, 0, 0, 0], &[]);
    let unlink = client.unlink(endless);
    assert_eq!(client.reply_to(unlink).status, status::ECONNRESET);
    assert_eq!(client.control(0xc0, 2, 0, 0, Data::In(1)).actual, 1);
}

fn tone(lab: &Lab) -> Client {
    let mut client = lab.import("1-5");
    assert_eq!(client.control(0x01, 11, 1, 1, NOTHING).status, 0);
    assert_eq!(client.control(0x81, 10, 0, 1, Data::In(1)).data, [1]);
    client
}

#[test]
fn the_tone_streams_consecutive_samples_in_real_time() {
    let lab = Lab::new(&[DeviceKind::Tone]);
    let mut client = tone(&lab);
    // All that is compared is asked for at the start, so that a moment in which this test does not run loses nothing.
    let mut queue: std::collections::VecDeque<u32> = (0..40).map(|_| client.submit_iso(0x83, 192, 8, &[])).collect();
    let start = Instant::now();
    let mut samples = Vec::new();
    for _ in 0..40 {
        let reply = client.reply_to(queue.pop_front().unwrap());
        queue.push_back(client.submit_iso(0x83, 192, 8, &[]));
        assert_eq!((reply.status, reply.actual, reply.packets.len()), (0, 8 * 192, 8));
        assert!(reply.packets.iter().all(|packet| (packet.status, packet.actual_length) == (0, 192)));
        samples.extend(reply.data.chunks(4).map(|frame| u16::from_le_bytes([frame[0], frame[1]])));
    }
    let elapsed = start.elapsed();
    assert!(elapsed >= Duration::from_millis(318), "faster than the bus: {elapsed:?}");
    assert!(samples.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)), "a sample is missing");
}

#[test]
fn a_packet_too_short_for_the_tone_is_babble() {
    let lab = Lab::new(&[DeviceKind::Tone]);
    let mut client = tone(&lab);
    let read = client.submit_iso(0x83, 100, 2, &[]);
    let reply = client.reply_to(read);
    assert_eq!((reply.status, reply.actual), (0, 0));
    assert!(reply.packets.iter().all(|packet| packet.status == status::EOVERFLOW));
}

#[test]
fn the_tone_remembers_what_it_was_sent() {
    let lab = Lab::new(&[DeviceKind::Tone]);
    let mut client = tone(&lab);
    let sound: Vec<u8> = (0..20 * 8 * 192u32).map(|n| (n * 7 % 251) as u8).collect();
    client.cork();
    let writes: Vec<u32> = sound.chunks(8 * 192).map(|part| client.submit_iso(0x03, 192, 8, part)).collect();
    client.uncork();
    for write in writes {
        let reply = client.reply_to(write);
        assert_eq!((reply.status, reply.actual, reply.data.len()), (0, 8 * 192, 0));
        assert!(reply.packets.iter().all(|packet| packet.actual_length == 192));
    }
    let report = |client: &mut Client| -> Vec<u32> {
        let reply = client.control(0xc0, 1, 0, 0, Data::In(16));
        reply.data.chunks(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect()
    };
    assert_eq!(report(&mut client), [160, 160 * 192, 0, crc32fast::hash(&sound)]);
    assert_eq!(client.control(0x40, 2, 0, 0, NOTHING).status, 0);
    assert_eq!(report(&mut client), [0; 4]);
}

#[test]
fn an_iso_transfer_can_be_unlinked() {
    let lab = Lab::new(&[DeviceKind::Tone]);
    let mut client = tone(&lab);
    let long = client.submit_iso(0x83, 192, 1000, &[]);
    let unlink = client.unlink(long);
    assert_eq!(client.reply_to(unlink).status, status::ECONNRESET);
    let short = client.submit_iso(0x83, 192, 1, &[]);
    assert_eq!(client.reply_to(short).actual, 192);
}
