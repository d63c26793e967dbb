//! Faults, ordered on the control socket while a client is served.

#![cfg(unix)]

mod common;

use std::io::Read;
use std::time::{Duration, Instant};

use common::{Data, Lab, NOTHING};
use firmware_mock::DeviceKind;
use usbip_wire::{HEADER_LEN, Header, status};

#[test]
fn an_unplugged_device_is_gone_and_comes_back_as_after_power_up() {
    let lab = Lab::new(&[DeviceKind::Regs]);
    let mut client = lab.import("1-7");
    client.control(0x40, 1, 0, 0, Data::Out(&[7]));
    let start = Instant::now();
    lab.fault("unplug regs 1000");
    client.wait_for_end();
    assert!(lab.devlist().is_empty());
    assert_eq!(lab.try_import("1-7").err(), Some(4));
    let mut client = lab.import_when_back("1-7");
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(client.control(0xc0, 2, 0, 0, Data::In(1)).data, [0]);
}

#[test]
fn a_cut_link_leaves_the_device_as_it_was() {
    let lab = Lab::new(&[DeviceKind::Regs]);
    let mut client = lab.import("1-7");
    client.control(0x40, 1, 0, 0, Data::Out(&[7]));
    lab.fault("cut regs 1000");
    client.wait_for_end();
    assert_eq!(lab.devlist().len(), 1);
    assert_eq!(lab.try_import("1-7").err(), Some(1));
    let mut client = lab.import_when_back("1-7");
    assert_eq!(client.control(0xc0, 2, 0, 0, Data::In(1)).data, [7]);
}

#[test]
fn a_stall_ends_waiting_transfers_until_it_is_cleared() {
    let lab = Lab::new(&[DeviceKind::Zero, DeviceKind::Echo]);
    for (busid, order) in [("1-3", "stall zero ep_82"), ("1-6", "stall echo 130")] {
        let mut client = lab.import(busid);
        let waiting = [client.submit_in(0x82, 512), client.submit_in(0x82, 512)];
        client.sync();
        lab.fault(order);
        for read in waiting {
            let reply = client.reply_to(read);
            assert_eq!((reply.status, reply.actual), (status::EPIPE, 0));
        }
        assert_eq!(client.read(0x82, 64).status, status::EPIPE);
        assert_eq!(client.control(0x02, 1, 0, 0x82, NOTHING).status, 0);
        let after = client.submit_in(0x82, 64);
        let unlink = client.unlink(after);
        assert_eq!(client.reply_to(unlink).status, status::ECONNRESET);
    }
}

#[test]
fn a_stall_ordered_before_the_import_waits_for_it() {
    let lab = Lab::new(&[DeviceKind::Zero]);
    lab.fault("stall zero 0x81");
    lab.fault("stall zero 0");
    let mut client = lab.import("1-3");
    assert_eq!(client.read(0x81, 64).status, status::EPIPE);
    assert_eq!(client.control(0x80, 8, 0, 0, Data::In(1)).status, status::EPIPE);
    assert_eq!(client.control(0x80, 8, 0, 0, Data::In(1)).status, 0);
}

#[test]
fn a_delay_postpones_every_completion_and_keeps_the_order() {
    let lab = Lab::new(&[DeviceKind::Zero]);
    let mut client = lab.import("1-3");
    lab.fault("delay zero 0x81 80");
    let start = Instant::now();
    let first: Vec<u32> = (0..3).map(|_| client.submit_in(0x81, 64)).collect();
    client.sync();
    lab.fault("delay zero 0x81 0");
    let last = client.submit_in(0x81, 64);
    let order: Vec<u32> = (0..4).map(|_| client.next_reply().seqnum).collect();
    assert_eq!(order, [&first[..], &[last]].concat());
    assert!(start.elapsed() >= Duration::from_millis(80));
    let start = Instant::now();
    lab.fault("delay zero 0 60");
    assert_eq!(client.control(0x80, 8, 0, 0, Data::In(1)).status, 0);
    assert!(start.elapsed() >= Duration::from_millis(60));
}

#[test]
fn delayed_data_survive_an_unlink() {
    let lab = Lab::new(&[DeviceKind::Zero]);
    let mut client = lab.import("1-3");
    client.write(0x02, b"kept");
    lab.fault("delay zero 0x82 1000");
    let read = client.submit_in(0x82, 64);
    let unlink = client.unlink(read);
    assert_eq!(client.reply_to(unlink).status, status::ECONNRESET);
    assert_eq!(client.read(0x82, 64).data, b"kept");
}

#[test]
fn transfers_that_babble_fail_as_often_as_ordered_and_lose_nothing() {
    let lab = Lab::new(&[DeviceKind::Zero]);
    let mut zero = lab.import("1-3");
    zero.write(0x02, b"kept");
    lab.fault("babble zero 0x82 2");
    for _ in 0..2 {
        let reply = zero.read(0x82, 512);
        assert_eq!((reply.status, reply.data.len()), (status::EOVERFLOW, 0));
    }
    assert_eq!(zero.read(0x82, 512).data, b"kept");
}

#[test]
fn short_transfers_lose_nothing() {
    let lab = Lab::new(&[DeviceKind::Zero, DeviceKind::Echo]);
    let mut zero = lab.import("1-3");
    zero.write(0x02, b"abcdefgh");
    lab.fault("short zero 0x82 3");
    let parts: Vec<Vec<u8>> = (0..3).map(|_| zero.read(0x82, 512).data).collect();
    assert_eq!(parts, [&b"abc"[..], b"def", b"gh"]);
    lab.fault("short zero 0x82 0");
    zero.write(0x02, b"abcdefgh");
    assert_eq!(zero.read(0x82, 512).data, b"abcdefgh");
    let mut echo = lab.import("1-6");
    lab.fault("short echo 0x82 10");
    echo.write(0x01, b"0123456789abcdefghij+");
    let parts: Vec<Vec<u8>> = (0..3).map(|_| echo.read(0x82, 512).data).collect();
    assert_eq!(parts.concat(), b"0123456789abcdefghij+");
    assert_eq!(parts[0].len(), 10);
}

#[test]
fn a_lie_about_the_length_claims_more_than_was_asked_for() {
    let lab = Lab::new(&[DeviceKind::Zero]);
    let mut client = lab.import("1-3");
    lab.fault("lie zero length");
    client.submit_in(0x81, 64);
    let header = Header::decode(&common::read::<HEADER_LEN>(&mut client.stream)).unwrap();
    let Header::RetSubmit(reply) = header else { panic!("{header:?}") };
    assert_eq!(reply.actual_length, 0x7fff_ffff);
}

#[test]
fn a_lie_about_the_sequence_number_precedes_the_real_reply() {
    let lab = Lab::new(&[DeviceKind::Zero]);
    let mut client = lab.import("1-3");
    lab.fault("lie zero seqnum");
    let read = client.submit_in(0x81, 64);
    let header = Header::decode(&common::read::<HEADER_LEN>(&mut client.stream)).unwrap();
    let Header::RetSubmit(reply) = header else { panic!("{header:?}") };
    assert_ne!(reply.seqnum, read);
    assert_eq!(client.next_reply().seqnum, read);
}

#[test]
fn garbage_takes_the_place_of_a_reply() {
    let lab = Lab::new(&[DeviceKind::Zero]);
    lab.fault("lie zero garbage");
    let mut client = lab.import("1-3");
    client.submit_in(0x81, 64);
    assert!(Header::decode(&common::read::<HEADER_LEN>(&mut client.stream)).is_err());
}

#[test]
fn silence_lasts_for_one_connection() {
    let lab = Lab::new(&[DeviceKind::Zero]);
    let mut client = lab.import("1-3");
    lab.fault("lie zero silence");
    client.submit_in(0x81, 64);
    client.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let error = client.stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    drop(client);
    assert_eq!(lab.import("1-3").read(0x81, 64).actual, 64);
}

#[test]
fn wrong_orders_are_answered_with_what_there_is() {
    let lab = Lab::new(&[DeviceKind::Zero, DeviceKind::Knob]);
    assert_eq!(lab.order("stall uno 0x81"), "error no device \"uno\"; there are zero, knob");
    assert_eq!(lab.order("stall zero 0x85"), "error no endpoint 0x85; there are 0x00, 0x81, 0x01, 0x82, 0x02");
    assert!(lab.order("lie zero often").starts_with("error unknown lie"));
    assert!(lab.order("short zero 0x01 5").starts_with("error"));
    assert!(lab.order("babble zero 0x01 5").starts_with("error"));
    assert!(lab.order("\u{1f600}").starts_with("error unknown command"));
    let _client = lab.import("1-3");
    assert!(lab.order("stall zero 0x85").starts_with("error no endpoint"), "also while it is imported");
}

#[test]
fn a_delayed_link_takes_its_round_trip_for_each_answer_and_carries_many_at_once() {
    let lab = Lab::new(&[DeviceKind::Zero]);
    lab.fault("delay link 50");
    let (start, mut round_trips) = (Instant::now(), 1);
    let mut client = lab.import("1-3");
    assert!(start.elapsed() >= ROUND_TRIP, "the import");
    let reads: Vec<u32> = (0..30).map(|_| client.submit_in(0x81, 64)).collect();
    for read in reads {
        assert_eq!(client.reply_to(read).actual, 64);
    }
    round_trips += 1;
    for _ in 0..3 {
        let waiting = client.submit_in(0x82, 64);
        let unlink = client.unlink(waiting);
        assert_eq!(client.reply_to(unlink).status, status::ECONNRESET);
        round_trips += 1;
    }
    let took = start.elapsed();
    assert!(took >= ROUND_TRIP * round_trips, "{took:?} for {round_trips} round trips");
    // One after the other they would have taken 33.
    assert!(took < ROUND_TRIP * 30, "{took:?} for {round_trips} round trips");
    lab.fault("delay link 0");
    let start = Instant::now();
    assert_eq!(client.read(0x81, 64).actual, 64);
    assert!(start.elapsed() < ROUND_TRIP * 30);
}

/// Of a link with a delay of 50 ms.
const ROUND_TRIP: Duration = Duration::from_millis(100);
