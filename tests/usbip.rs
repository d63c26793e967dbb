//! USB/IP servers that lie, fall silent or are far away: what a lie costs is its own session, transfers always come back, and
//! a distance costs time alone.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/urbs.rs"]
mod urbs;
#[path = "common/vitals.rs"]
mod vitals;

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{sleep, spawn};
use std::time::Duration;

use common::events::Events;
use common::witness::Witness;
use common::{Bus, Daemon, read_exactly, wait_for, within};
use firmware_mock::DeviceKind::{Regs, Tone, Zero};
use peer::Peer;
use socket2::SockRef;
use urbs::{Descriptors, Request, Urbs, record, replied};
use usbip_wire::{Header, IsoPacket, status};

/// `flush` and 2 s: how long a daemon may take to end, whatever servers do.
const END: Duration = Duration::from_secs(3);

#[test]
fn a_packet_that_claims_more_than_it_can_hold_costs_one_session_and_the_pipe_goes_on() {
    let lies = Arc::new(AtomicUsize::new(1));
    let peer = Peer::run(move |stream| isochronous(stream, &lies));
    let pipe = "[[device.pipe]]\nendpoint = 0x85\ninterface = 1\nalt = 1\nqueue = 4\n";
    let mut daemon = Daemon::run(&peer.device("liar", pipe));
    let mut events = Events::of(&daemon);
    let reader = daemon.reader("liar/ep_85");
    let text = events.wait("detach", "liar")["text"].as_str().unwrap().to_owned();
    assert!(text.contains("a packet claims"), "{text}");
    events.wait("attach", "liar");
    let (_reader, bytes) = read_exactly(reader, 192 * 100);
    assert!(bytes.iter().all(|&byte| byte == 7));
    let witness = Witness::start();
    assert!(daemon.end().success());
    witness.assert_within(END);
}

/// Sends packets as fast as they are asked for; in the first sessions one of the first is a lie.
fn isochronous(stream: TcpStream, lies: &AtomicUsize) -> std::io::Result<()> {
    let device = Descriptors::with(&[]);
    let mut urbs = Urbs::import(stream, &record(1))?;
    loop {
        let submit = match urbs.next()? {
            Request::Submit(submit) => submit,
            Request::Unlink { seqnum, .. } => {
                urbs.send(Header::RetUnlink { seqnum, status: status::ECONNRESET })?;
                continue;
            }
        };
        if submit.endpoint == 0 {
            urbs.stream.write_all(&device.answer(&submit))?;
            continue;
        }
        let mut reply = replied(&submit, status::OK, &[]);
        if lies.load(SeqCst) > 0 {
            lies.fetch_sub(1, SeqCst);
            let at = reply.len() - 16 * submit.packets.unwrap() as usize;
            let packet = IsoPacket { offset: 0, length: 192, actual_length: 193, status: 0 };
            reply[at..at + 16].copy_from_slice(&packet.encode());
        }
        // As a bus has a frame a millisecond.
        sleep(Duration::from_millis(submit.packets.unwrap().into()));
        urbs.stream.write_all(&reply)?;
    }
}

#[test]
fn an_answer_to_what_was_not_sent_ends_the_session_and_nothing_spins() {
    let reads_on = Arc::new(AtomicBool::new(false));
    let seen = reads_on.clone();
    let peer = Peer::run(move |stream| guesses(stream, &seen));
    let bus = Bus::with(&[Regs]);
    let pipe = format!("[[device.pipe]]\nendpoint = 0x02\nframing = \"length\"\ntransfer = {SIZE}\nqueue = {COUNT}\n");
    let config = peer.device("liar", &format!("timeout = \"500ms\"\n{pipe}"));
    let mut daemon = Daemon::run(&format!("{config}{}", bus.device("regs", "")));
    let mut events = Events::of(&daemon);
    let mut writer = daemon.writer("liar/ep_02");
    let record = [&(SIZE as u32).to_le_bytes()[..], &vec![1; SIZE]].concat();
    let writing = spawn(move || (0..COUNT).try_for_each(|_| writer.write_all(&record)).map(|()| writer));
    wait_for(|| reads_on.load(SeqCst).then_some(()), || "no OUT transfer came".into());
    daemon.wait_pipe("liar", "ep_02", |pipe| pipe["open"] == true);
    let _writer = within(common::PATIENCE, move || writing.join().unwrap().unwrap());
    // Behind all that is not taken; its time is up soon.
    let asked = daemon.answer(&["control", "liar", "in", "0x80", "0", "0", "0", "2"]);
    assert!(asked.starts_with("error"), "{asked}");
    events.wait("detach", "liar");
    let witness = Witness::start();
    assert!(daemon.answer(&["control", "regs", "status"]).starts_with("ok"));
    witness.assert_within(Duration::from_secs(1));
    events.wait("attach", "liar");
    let witness = Witness::start();
    assert!(daemon.end().success());
    witness.assert_within(END);
}

/// More than the buffers of a connection hold.
const COUNT: usize = 8;
const SIZE: usize = 2_000_001;

/// Takes no more once the first OUT transfer has begun to come, answers the cancellation that will come, and takes the rest.
fn guesses(stream: TcpStream, seen: &AtomicBool) -> std::io::Result<()> {
    SockRef::from(&stream).set_recv_buffer_size(65536)?;
    let device = Descriptors::with(&[(0x02, 2)]);
    let mut urbs = Urbs::import(stream, &record(1))?;
    let last = urbs.until_transfer(&device)?.seqnum - 1;
    seen.store(true, SeqCst);
    // The time of the control request is up meanwhile, so that a cancellation of it waits behind the data, or none does.
    sleep(Duration::from_secs(3));
    let cancellation = last + COUNT as u32 + 2;
    urbs.send(Header::RetUnlink { seqnum: cancellation, status: status::ECONNRESET })?;
    while urbs.next().is_ok() {}
    Ok(())
}

#[test]
fn readers_that_come_and_go_on_six_pipes_cost_a_link_with_a_long_round_trip_nothing() {
    let unlinks = Arc::new(AtomicUsize::new(0));
    let counted = unlinks.clone();
    let peer = Peer::run(move |stream| distant(stream, &counted));
    let names = ["81", "82", "83", "84", "87", "88"];
    let pipes = names.map(|name| format!("[[device.pipe]]\nendpoint = 0x{name}\nqueue = 6\n")).concat();
    let mut daemon = Daemon::run(&peer.device("far", &pipes));
    for round in 1..=2 {
        let readers = names.map(|name| daemon.reader(&format!("far/ep_{name}")));
        for name in names {
            daemon.wait_pipe("far", &format!("ep_{name}"), |pipe| pipe["open"] == true);
        }
        drop(readers);
        let all = || (unlinks.load(SeqCst) >= round * 6 * 6).then_some(());
        wait_for(all, || format!("{} cancellations, {}", unlinks.load(SeqCst), daemon.status("far")));
    }
    assert_eq!(daemon.status("far")["sessions"], 1);
    let witness = Witness::start();
    assert!(daemon.end().success());
    witness.assert_within(END);
}

/// Sends nothing, and answers each cancellation 300 ms after it came.
fn distant(stream: TcpStream, unlinks: &AtomicUsize) -> std::io::Result<()> {
    let device = Descriptors::with(&[0x81, 0x82, 0x83, 0x84, 0x87, 0x88].map(|address| (address, 2)));
    let mut urbs = Urbs::import(stream, &record(1))?;
    loop {
        match urbs.next()? {
            Request::Submit(submit) if submit.endpoint == 0 => urbs.stream.write_all(&device.answer(&submit))?,
            Request::Submit(_) => {}
            Request::Unlink { seqnum, .. } => {
                sleep(Duration::from_millis(300));
                unlinks.fetch_add(1, SeqCst);
                urbs.send(Header::RetUnlink { seqnum, status: status::ECONNRESET })?;
            }
        }
    }
}

#[test]
fn over_a_delayed_link_all_pipes_work_and_no_session_ends() {
    let bus = Bus::with(&[Zero, Tone]);
    let tone = "[[device.pipe]]\nendpoint = 0x83\n";
    let daemon = Daemon::run(&format!("{}{}", bus.device("zero", ""), bus.device("tone", tone)));
    bus.command("delay link 150");
    let source = daemon.reader("zero/ep_81");
    let witness = Witness::start();
    let (_, bytes) = read_exactly(source, 8 * 512 * 1024);
    // Half a megabyte is in flight. One transfer after the other would take 64 round trips.
    witness.assert_within(ROUND_TRIP * 30);
    assert!(bytes.iter().enumerate().all(|(n, &byte)| usize::from(byte) == n % 512 % 63));
    let (mut there, mut back) = (daemon.writer("zero/ep_02"), daemon.reader("zero/ep_82"));
    for round in 0..3 {
        there.write_all(&[round; 1000]).unwrap();
        let bytes;
        (back, bytes) = read_exactly(back, 1000);
        assert_eq!(bytes, [round; 1000]);
        drop(back);
        daemon.wait_pipe("zero", "ep_82", |pipe| pipe["open"] == false);
        back = daemon.reader("zero/ep_82");
        daemon.wait_pipe("zero", "ep_82", |pipe| pipe["open"] == true);
    }
    let (_, sound) = read_exactly(daemon.reader("tone/ep_83"), 192 * 500);
    assert_eq!(sound.len(), 192 * 500);
    for device in ["zero", "tone"] {
        assert_eq!(daemon.status(device)["sessions"], 1, "{device}");
    }
}

/// With `delay link 150`.
const ROUND_TRIP: Duration = Duration::from_millis(300);

#[test]
fn over_a_delayed_link_a_request_whose_time_is_up_is_cancelled_and_the_next_one_works() {
    let bus = Bus::with(&[Regs]);
    let daemon = Daemon::run(&bus.device("regs", "timeout = \"100ms\"\n"));
    let ask = |request: &str, value: &str| daemon.answer(&["control", "regs", "in", "0xc0", request, value, "0", "1"]);
    bus.command("delay link 150");
    for _ in 0..3 {
        // It would be answered after ten seconds.
        let answer = ask("4", "10000");
        assert!(answer.starts_with("error timeout"), "{answer}");
        // What comes in the time that a cancellation takes counts.
        assert_eq!(ask("2", "0"), "ok 00");
    }
    assert_eq!(daemon.status("regs")["sessions"], 1);
}

#[test]
fn a_control_request_whose_time_is_up_is_answered_although_the_server_takes_nothing() {
    let is_over = Arc::<AtomicBool>::default();
    let over = is_over.clone();
    let peer = Peer::run(move |stream| {
        SockRef::from(&stream).set_recv_buffer_size(65536)?;
        let mut urbs = Urbs::import(stream, &record(1))?;
        urbs.until_transfer(&Descriptors::with(&[(0x02, 2)]))?;
        while !over.load(SeqCst) {
            sleep(Duration::from_millis(20));
        }
        Ok(())
    });
    let pipe = format!("[[device.pipe]]\nendpoint = 0x02\nframing = \"length\"\ntransfer = {SIZE}\nqueue = {COUNT}\n");
    let mut daemon = Daemon::run(&peer.device("full", &format!("timeout = \"500ms\"\n{pipe}")));
    let mut writer = daemon.writer("full/ep_02");
    let (written, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = written.clone();
    spawn(move || {
        let record = [&(SIZE as u32).to_le_bytes()[..], &vec![1; SIZE]].concat();
        while record.chunks(65536).all(|part| writer.write_all(part).is_ok()) {
            counted.fetch_add(record.len(), SeqCst);
        }
    });
    // Writing stands still when everything is full.
    let is_full = || {
        let now = written.load(SeqCst);
        let before = seen.swap(now, SeqCst);
        sleep(Duration::from_millis(300));
        (now == before && now == written.load(SeqCst) && now >= COUNT * SIZE).then_some(())
    };
    wait_for(is_full, || format!("{} bytes", written.load(SeqCst)));
    for _ in 0..3 {
        let witness = Witness::start();
        let answer = daemon.answer(&["control", "full", "in", "0x80", "0", "0", "0", "2"]);
        assert!(answer.starts_with("error timeout"), "{answer}");
        witness.assert_within(Duration::from_secs(3));
    }
    assert_eq!(daemon.status("full")["sessions"], 1);
    let witness = Witness::start();
    assert!(daemon.end().success());
    witness.assert_within(END);
    is_over.store(true, SeqCst);
}

#[test]
fn a_server_that_claims_255_configurations_and_falls_silent_is_left_at_the_first_that_does_not_come() {
    let peer = Peer::run(|stream| {
        let device = Descriptors::with(&[]);
        let mut record = record(255);
        record.configuration_value = 77;
        let mut urbs = Urbs::import(stream, &record)?;
        loop {
            match urbs.next()? {
                Request::Submit(submit) if submit.setup[1] == 6 && submit.setup[3] == 2 => {}
                Request::Submit(submit) => urbs.stream.write_all(&device.answer(&submit))?,
                Request::Unlink { seqnum, .. } => {
                    urbs.send(Header::RetUnlink { seqnum, status: status::ECONNRESET })?;
                }
            }
        }
    });
    let mut daemon = Daemon::run_unattached(&peer.device("many", ""));
    let status = daemon.wait_status("many", |status| status["reason"].is_string());
    let reason = status["reason"].as_str().unwrap();
    assert!(reason.contains("configuration 0") && reason.contains("did not answer in time"), "{reason}");
    let witness = Witness::start();
    assert!(daemon.end().success());
    witness.assert_within(END);
}

#[test]
fn a_server_that_is_silent_with_everything_in_flight_holds_up_no_end() {
    let bus = Bus::with(&[Zero, Tone]);
    let tone = "[[device.pipe]]\nendpoint = 0x83\n[[device.pipe]]\nendpoint = 0x03\n";
    let mut daemon = Daemon::run(&format!("{}{}", bus.device("zero", ""), bus.device("tone", tone)));
    let _readers = ["zero/ep_81", "zero/ep_82", "tone/ep_83"].map(|name| daemon.reader(name));
    let mut writers = ["zero/ep_02", "tone/ep_03"].map(|name| daemon.writer(name));
    for (device, outlet) in [("zero", "ep_81"), ("zero", "ep_82"), ("tone", "ep_83")] {
        daemon.wait_pipe(device, outlet, |pipe| pipe["open"] == true);
    }
    ["lie zero silence", "lie tone silence"].iter().for_each(|lie| bus.command(lie));
    for writer in &mut writers {
        writer.write_all(&[5; 4096]).unwrap();
    }
    let witness = Witness::start();
    assert!(daemon.end().success());
    witness.assert_within(END);
}
