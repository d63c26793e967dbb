//! Isochronous endpoints: sound both ways, in real time, with every loss accounted for.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::thread;

use crate::common::bytes::{crc32, random};
use crate::common::witness::Witness;
use crate::common::{Bus, Daemon, Progress, read_exactly, wait_for, while_progressing};
use firmware_mock::DeviceKind;

/// Bytes of a packet, which is a millisecond: 48 samples of two channels of two bytes.
const PACKET: usize = 192;
const SAMPLES: u16 = 48;

/// A daemon with the sound device; the bus must stay.
fn tone(sound_in: &str, sound_out: &str) -> (Bus, Daemon) {
    let bus = Bus::with(&[DeviceKind::Tone]);
    let pipes = format!("[[device.pipe]]\nendpoint = 0x83\n{sound_in}[[device.pipe]]\nendpoint = 0x03\n{sound_out}");
    let daemon = Daemon::run(&bus.device("tone", &pipes));
    (bus, daemon)
}

/// What the device says it received.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
struct Received {
    packets: u32,
    bytes: u32,
    gaps: u32,
    crc: u32,
}

impl Received {
    /// Without gaps, in full packets and a rest.
    fn just(bytes: &[u8]) -> Self {
        let packets = bytes.len().div_ceil(PACKET) as u32;
        Self { packets, bytes: bytes.len() as u32, gaps: 0, crc: crc32(bytes) }
    }

    fn by(daemon: &Daemon) -> Self {
        let answer = daemon.answer(&["control", "tone", "in", "0xc0", "1", "0", "0", "16"]);
        let hex = answer.strip_prefix("ok ").unwrap_or_else(|| panic!("{answer}"));
        let word = |n: usize| u32::from_str_radix(&hex[8 * n..8 * n + 8], 16).unwrap().swap_bytes();
        Self { packets: word(0), bytes: word(1), gaps: word(2), crc: word(3) }
    }

    /// Once the stream has ended: the last writer has gone and its bytes are sent.
    fn at_the_end(daemon: &Daemon) -> Self {
        daemon.wait_pipe("tone", "ep_03", |pipe| pipe["open"] == false && pipe["opens"] == 1);
        Self::by(daemon)
    }
}

fn clear(daemon: &Daemon) {
    assert_eq!(daemon.answer(&["control", "tone", "out", "0x40", "2", "0", "0"]), "ok");
}

/// The left channel, which is the running number of the sample.
fn left(sound: &[u8]) -> impl Iterator<Item = u16> + '_ {
    sound.chunks_exact(4).map(|sample| u16::from_le_bytes([sample[0], sample[1]]))
}

/// Fails unless the samples count on from `first`.
fn assert_counts_from(first: u16, sound: &[u8]) {
    for (n, sample) in left(sound).enumerate() {
        assert_eq!(sample, first.wrapping_add(n as u16), "sample {n}");
    }
}

fn first_sample(sound: &[u8]) -> u16 {
    left(sound).next().unwrap()
}

/// How many packets are missing where the samples jump by `jump`, up to 4095: 48 × packets modulo 2¹⁶.
fn packets_missing(jump: u16) -> u64 {
    (0..4096).find(|n: &u16| n.wrapping_mul(SAMPLES) == jump).expect("a jump by whole packets").into()
}

#[test]
fn thirty_seconds_of_sound_both_ways_lose_nothing() {
    const SECONDS: usize = 30;
    let (_bus, daemon) = tone("", "");
    clear(&daemon);
    let (sound, out) = (daemon.reader("tone/ep_83"), daemon.writer("tone/ep_03"));
    let played = random(SECONDS * 1000 * PACKET, 1);
    let witness = Witness::start();
    let (recorded, lost_by_then) = thread::scope(|scope| {
        scope.spawn(|| {
            (&out).write_all(&played).unwrap();
            drop(out);
        });
        let (_sound, recorded) = read_exactly(sound, SECONDS * 1000 * PACKET);
        (recorded, daemon.count("tone", "ep_83", "lost_packets"))
    });
    if witness.explains_loss(lost_by_then) {
        assert!(missing_in(&recorded) <= lost_by_then);
    } else {
        assert_counts_from(first_sample(&recorded), &recorded);
    }
    let received = Received::at_the_end(&daemon);
    let late = received.packets - Received::just(&played).packets;
    if witness.explains_loss(late.into()) {
        assert_eq!(received.bytes as usize, played.len() + late as usize * PACKET, "{received:?}");
        assert!(daemon.count("tone", "ep_03", "underruns") > 0);
    } else {
        assert_eq!(received, Received::just(&played));
        assert_eq!(daemon.count("tone", "ep_03", "underruns"), 0);
    }
}

/// How many packets are missing in sound that otherwise counts on.
fn missing_in(sound: &[u8]) -> u64 {
    let (mut expected, mut missing) = (first_sample(sound), 0);
    for packet in sound.chunks(PACKET) {
        missing += packets_missing(first_sample(packet).wrapping_sub(expected));
        assert_counts_from(first_sample(packet), packet);
        expected = first_sample(packet).wrapping_add(SAMPLES);
    }
    missing
}

#[test]
fn the_last_packet_may_be_short() {
    let (_bus, daemon) = tone("", "");
    clear(&daemon);
    let played = random(1000, 2);
    daemon.writer("tone/ep_03").write_all(&played).unwrap();
    let received = Received::at_the_end(&daemon);
    assert_eq!(received, Received::just(&played));
    assert_eq!(received.packets, 6);
}

#[test]
fn packets_may_be_made_smaller_than_the_endpoint_takes() {
    let (_bus, daemon) = tone("", "packet = 100\n");
    clear(&daemon);
    let played = random(12_345, 4);
    daemon.writer("tone/ep_03").write_all(&played).unwrap();
    let received = Received::at_the_end(&daemon);
    assert_eq!(received, Received { packets: 124, ..Received::just(&played) });
}

#[test]
fn a_reader_that_stops_loses_whole_packets_and_each_is_counted() {
    let (_bus, daemon) = tone("", "");
    let (mut sound, begin) = read_exactly(daemon.reader("tone/ep_83"), 100 * PACKET);
    let witness = Witness::start();
    // The reader stops for some five seconds, until this many packets found no room.
    daemon.wait_count("tone", "ep_83", "lost_packets", 3200);
    assert_counts_from(first_sample(&begin), &begin);
    let next = first_sample(&begin).wrapping_add(100 * SAMPLES);
    let missing = while_progressing(move |progress| missing_until_caught_up(&mut sound, next, progress));
    let pipe = daemon.pipe("tone", "ep_83");
    let lost = pipe["lost_packets"].as_u64().unwrap();
    // Catching up costs fewer packets than that, but for those of the time in which this machine stood still.
    let most = 4095 + witness.kept().as_millis() as u64;
    assert!((3200..=most).contains(&lost), "{lost} of at most {most}");
    // What the samples show is known up to a multiple of 4096, after which they are the same again.
    assert_eq!(missing % 4096, lost % 4096);
    assert_eq!(pipe["lost_bytes"], lost * PACKET as u64);
}

/// How many packets are missing until two seconds have come in one piece after a loss: the reader has caught up for long.
fn missing_until_caught_up(sound: &mut File, mut expected: u16, progress: &Progress) -> u64 {
    let (mut missing, mut since, mut packet) = (0, 0, [0; PACKET]);
    while since < 2000 {
        progress.read_exact(sound, &mut packet);
        let first = first_sample(&packet);
        if first != expected {
            missing += packets_missing(first.wrapping_sub(expected));
            since = 0;
        }
        assert_counts_from(first, &packet);
        expected = first.wrapping_add(SAMPLES);
        since += u32::from(missing > 0);
    }
    missing
}

#[test]
fn in_records_every_lost_packet_leaves_an_empty_one() {
    let (_bus, daemon) = tone("framing = \"length\"\nbuffer = \"100ms\"\n", "");
    let sound = daemon.reader("tone/ep_83");
    daemon.wait_count("tone", "ep_83", "lost_packets", 300);
    let empty = while_progressing(move |progress| empty_until_caught_up(&mut BufReader::new(sound), progress));
    assert_eq!(daemon.count("tone", "ep_83", "lost_packets"), empty);
}

/// How many records are empty until a second has come in one piece after three hundred of them; all others count on.
fn empty_until_caught_up(sound: &mut impl Read, progress: &Progress) -> u64 {
    let (mut first, mut empty, mut since) = (None, 0, 0);
    let (mut header, mut packet) = ([0; 4], [0; PACKET]);
    for n in 0u32.. {
        progress.read_exact(sound, &mut header);
        match u32::from_le_bytes(header) {
            0 => (empty, since) = (empty + 1, 0),
            length => {
                assert_eq!(length as usize, PACKET);
                sound.read_exact(&mut packet).unwrap();
                let first = *first.get_or_insert(first_sample(&packet));
                assert_counts_from(first.wrapping_add((n as u16).wrapping_mul(SAMPLES)), &packet);
                since += 1;
            }
        }
        if empty >= 300 && since > 1000 {
            break;
        }
    }
    empty
}

#[test]
fn in_json_the_lost_packets_are_told_with_the_next_one() {
    let (_bus, daemon) = tone("framing = \"jsonl\"\nbuffer = \"100ms\"\n", "");
    let sound = daemon.reader("tone/ep_83");
    daemon.wait_count("tone", "ep_83", "lost_packets", 300);
    let lines = std::io::BufRead::lines(BufReader::new(sound));
    let (mut first, mut lost, mut since) = (None, 0, 0);
    for (n, line) in lines.enumerate() {
        let record: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!((&record["endpoint"], &record["status"]), (&"0x83".into(), &"ok".into()));
        assert_eq!(record["seq"], n);
        let here = record["lost"].as_u64().unwrap();
        lost += here;
        since = if here > 0 { 0 } else { since + 1 };
        let sample = u32::from_str_radix(&record["data"].as_str().unwrap()[..4], 16).unwrap() as u16;
        let sample = sample.swap_bytes();
        let passed = (n as u64 + lost) as u16;
        assert_eq!(sample, first.get_or_insert(sample).wrapping_add(passed.wrapping_mul(SAMPLES)), "record {n}");
        if lost >= 300 && since > 1000 {
            break;
        }
    }
    assert_eq!(daemon.count("tone", "ep_83", "lost_packets"), lost);
}

#[test]
fn silence_fills_the_pause_of_a_slow_writer() {
    let (_bus, daemon) = tone("", "");
    clear(&daemon);
    let (before, after) = (random(100 * PACKET, 5), random(50 * PACKET + 7, 6));
    let mut out = daemon.writer("tone/ep_03");
    out.write_all(&before).unwrap();
    daemon.wait_count("tone", "ep_03", "underruns", 3);
    out.write_all(&after).unwrap();
    drop(out);
    let received = Received::at_the_end(&daemon);
    let silence = received.bytes as usize - before.len() - after.len();
    assert!(silence > 0 && silence.is_multiple_of(PACKET), "{silence}");
    assert_eq!(received, Received::just(&[before, vec![0; silence], after].concat()));
}

#[test]
fn a_stream_that_stops_on_underrun_sends_what_was_written_and_nothing_else() {
    let (_bus, daemon) = tone("", "underrun = \"stop\"\n");
    clear(&daemon);
    let played = random(200 * PACKET, 7);
    let (before, after) = played.split_at(100 * PACKET);
    let mut out = daemon.writer("tone/ep_03");
    out.write_all(before).unwrap();
    daemon.wait_count("tone", "ep_03", "underruns", 1);
    let received = wait_for(
        || Some(Received::by(&daemon)).filter(|r| r.packets == 100),
        || format!("{:?}", Received::by(&daemon)),
    );
    assert_eq!(received, Received::just(before));
    // Less than the prebuffer starts nothing; its end does.
    out.write_all(after).unwrap();
    drop(out);
    let received = Received::at_the_end(&daemon);
    assert_eq!(Received { gaps: 0, ..received }, Received::just(&played));
    assert_eq!(daemon.count("tone", "ep_03", "underruns"), 1);
}

#[test]
fn the_stream_starts_when_the_prebuffer_is_full() {
    let (_bus, daemon) = tone("", "prebuffer = \"200ms\"\n");
    clear(&daemon);
    let played = random(200 * PACKET, 8);
    let (most, last) = played.split_at(199 * PACKET);
    let mut out = daemon.writer("tone/ep_03");
    out.write_all(most).unwrap();
    // Half a second of the other direction passes, and nothing has gone out.
    read_exactly(daemon.reader("tone/ep_83"), 500 * PACKET);
    assert_eq!(Received::by(&daemon).packets, 0);
    out.write_all(last).unwrap();
    drop(out);
    assert_eq!(Received::at_the_end(&daemon), Received::just(&played));
}

#[test]
fn records_are_packets_on_the_way_out_as_well() {
    let (_bus, daemon) = tone("", "framing = \"length\"\n");
    clear(&daemon);
    let packets: Vec<Vec<u8>> = (0..150).map(|n| random(1 + n % PACKET, n as u64)).collect();
    let mut out = daemon.writer("tone/ep_03");
    for packet in &packets {
        let record = [&(packet.len() as u32).to_le_bytes()[..], packet].concat();
        out.write_all(&record).unwrap();
    }
    out.write_all(&[193, 0, 0, 0]).unwrap();
    out.write_all(&[1; 193]).unwrap();
    drop(out);
    let received = Received::at_the_end(&daemon);
    assert_eq!(received, Received { packets: 150, ..Received::just(&packets.concat()) });
    assert_eq!(daemon.count("tone", "ep_03", "bad_messages"), 1);
}
