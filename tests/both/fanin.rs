//! Several writers of one pipe: they share it message by message, and nobody's bytes are torn by another's.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use crate::common::bytes::{assert_same, random};
use crate::common::zero::loopback;
use crate::common::{MESSAGES, Messages, PATIENCE, SHARED, read_exactly, within};

#[test]
fn eight_clients_send_messages_of_4000_bytes_and_every_one_arrives_whole() {
    const ROUNDS: usize = 200;
    let (_bus, daemon) = loopback(MESSAGES, MESSAGES);
    let back = daemon.messages("zero/ep_82");
    let message = |who: u8, round: usize| {
        let mut message = vec![who; 4000];
        message[1..9].copy_from_slice(&(round as u64).to_le_bytes());
        message
    };
    let writers: Vec<Messages> = (0..8).map(|_| daemon.messages("zero/ep_02")).collect();
    let mut rounds = [0; 8];
    thread::scope(|scope| {
        for (who, writer) in (0..8).zip(writers) {
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

#[test]
fn a_writer_that_never_stops_leaves_turns_to_the_others() {
    let (_bus, daemon) = loopback(SHARED, "");
    let mut back = daemon.reader("zero/ep_82");
    let mut flood = daemon.writer("zero/ep_02");
    let stop = Arc::new(AtomicBool::new(false));
    let flooding = thread::spawn({
        let stop = stop.clone();
        move || {
            while !stop.load(SeqCst) {
                flood.write_all(&[0; 4096]).unwrap();
            }
        }
    });
    daemon.wait_count("zero", "ep_02", "bytes", 1_000_000);
    let mut other = daemon.guest("zero/ep_02");
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
    stop.store(true, SeqCst);
    let mut back = heard.1;
    thread::spawn(move || while back.read(&mut [0; 65536]).is_ok_and(|n| n > 0) {});
    flooding.join().unwrap();
}

#[test]
fn half_a_message_and_garbage_of_one_client_spoil_nobody_elses() {
    let (_bus, daemon) = loopback(&format!("{SHARED}\nframing = \"length\"\ntransfer = 1000"), "framing = \"length\"");
    let mut back = daemon.reader("zero/ep_82");
    let mut half = daemon.guest("zero/ep_02");
    half.write_all(b"\x09\0\0\0half").unwrap();
    let mut garbage = daemon.guest("zero/ep_02");
    garbage.write_all(&[0xff; 100_000]).unwrap();
    let mut good = daemon.guest("zero/ep_02");
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
    let (_bus, daemon) = loopback(&format!("{MESSAGES}\ntransfer = 1000"), "");
    let out = daemon.messages("zero/ep_02");
    out.send(&[1; 1001]);
    out.send(&[2; 1000]);
    assert_eq!(read_exactly(daemon.reader("zero/ep_82"), 1000).1, [2; 1000]);
    assert_eq!(daemon.count("zero", "ep_02", "bad_messages"), 1);
}

#[test]
fn what_a_client_wrote_before_a_quick_close_reaches_the_device() {
    let (_bus, daemon) = loopback(SHARED, "");
    let sent = random(150_000, 9);
    let back = daemon.reader("zero/ep_82");
    for part in sent.chunks(50_000) {
        let mut client = daemon.guest("zero/ep_02");
        client.write_all(part).unwrap();
        drop(client);
        daemon.wait_pipe("zero", "ep_02", |pipe| pipe["clients"].as_array().unwrap().is_empty());
    }
    assert_same(&sent, &read_exactly(back, sent.len()).1, 0);
}
