//! A device is pulled out and plugged in again while programs have its pipes open.

use std::io::{BufRead, BufReader, Read, Write};

use firmware_mock::DeviceKind::{Echo, Knob, Zero};

use crate::common::bytes::records;
use crate::common::events::Events;
use crate::common::{Bus, Daemon, PATIENCE, read_exactly, wait_for, within};

#[test]
fn what_had_arrived_before_an_unplug_is_read_before_the_end_of_file() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", "unplug = \"eof\"\n"));
    let reader = daemon.reader("zero/ep_82");
    daemon.writer("zero/ep_02").write_all(&records(0, 2000)).unwrap();
    daemon.wait_status("zero", |s| {
        s["pipes"].as_array().unwrap().iter().any(|p| p["outlet"] == "ep_82" && p["bytes"] == 16_000)
    });
    bus.command("unplug zero 50");
    let all = within(PATIENCE, move || {
        let mut bytes = Vec::new();
        (&reader).read_to_end(&mut bytes).unwrap();
        bytes
    });
    assert_eq!(all, records(0, 2000));
}

#[test]
fn over_a_lost_link_no_report_comes_twice_and_none_comes_out_of_order() {
    let bus = Bus::with(&[Knob]);
    let daemon = Daemon::run(&bus.device("knob", ""));
    let mut reader = daemon.reader("knob/ep_81");
    let mut events = Events::of(&daemon);
    let mut last = None;
    for _ in 0..20 {
        bus.command("cut knob 50");
        events.wait("attach", "knob");
        for _ in 0..10 {
            let report;
            (reader, report) = read_exactly(reader, 8);
            let counter = u32::from_le_bytes(report[..4].try_into().unwrap());
            assert!(last.is_none_or(|last| counter > last), "{counter} after {last:?}");
            assert_eq!(report[7], 0, "reports stay whole");
            last = Some(counter);
        }
    }
}

#[test]
fn over_a_lost_link_a_loopback_loses_at_most_what_was_under_way() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", ""));
    let mut events = Events::of(&daemon);
    let mut reader = daemon.reader("zero/ep_82");
    let mut writer = daemon.writer("zero/ep_02");
    for round in 0..20u64 {
        bus.command("cut zero 50");
        events.wait("attach", "zero");
        writer.write_all(&records(round * 100, 100)).unwrap();
        let bytes;
        (reader, bytes) = read_exactly(reader, 800);
        assert_eq!(bytes, records(round * 100, 100), "in round {round}");
    }
}

#[test]
fn a_writer_goes_on_over_an_unplug_and_what_it_wrote_meanwhile_arrives_afterwards() {
    let bus = Bus::with(&[Zero]);
    let port = bus.port;
    let daemon = Daemon::run(&bus.device("zero", ""));
    let mut writer = daemon.writer("zero/ep_02");
    let reader = daemon.reader("zero/ep_82");
    drop(bus);
    daemon.wait_status("zero", |s| s["state"] == "searching");
    writer.write_all(&records(0, 500)).unwrap();
    let _bus = Bus::on_port(&[Zero], port);
    assert_eq!(read_exactly(reader, 4000).1, records(0, 500));
}

#[test]
fn a_pulse_of_a_minute_does_not_hold_up_the_next_session_nor_the_end() {
    let bus = Bus::with(&[Echo]);
    let mut daemon = Daemon::run(&bus.device("echo", ""));
    let mut events = Events::of(&daemon);
    let pulse = |daemon: &Daemon| {
        let mut client = daemon.both("echo/serial.ctl");
        client.write_all(b"dtr pulse 60000\n").unwrap();
        let on = || daemon.answer(&["control", "echo", "status"]).starts_with("ok").then_some(());
        wait_for(on, || "the device does not answer".into());
        client
    };
    let client = pulse(&daemon);
    bus.command("unplug echo 50");
    events.wait("attach", "echo");
    let mut answer = String::new();
    within(PATIENCE, move || BufReader::new(client).read_line(&mut answer).map(|_| answer))
        .unwrap()
        .starts_with("error disconnected")
        .then_some(())
        .unwrap();
    let _client = pulse(&daemon);
    assert!(daemon.end().success());
}
