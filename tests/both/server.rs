//! USB/IP servers as they are found: slow imports, twins, and servers that do not survive
//! many cancellations at once or a client that leaves in the middle of one.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::spawn;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::common::events::Events;
use crate::common::{Daemon, output, read_exactly, run_dir, usbpipe, wait_for};
use crate::peer::{Behaviour, Fake, Peer, Seen};

fn server(fake: Fake) -> (Peer, Arc<Seen>) {
    let seen = fake.seen.clone();
    (Peer::new(Behaviour::Serve(fake)), seen)
}

/// A program reads for a moment, and gets nothing.
fn open_and_close(daemon: &Daemon) {
    let reader = daemon.reader("d/ep_81");
    daemon.wait_pipe("d", "ep_81", |pipe| pipe["open"] == true);
    drop(reader);
    daemon.wait_pipe("d", "ep_81", |pipe| pipe["open"] == false);
}

/// The descriptors of an interface whose endpoint is in its second setting alone.
fn camera() -> Vec<u8> {
    let mut raw = vec![9, 2, 34, 0, 1, 1, 0, 0x80, 50];
    raw.extend([9, 4, 0, 0, 0, 0xff, 0, 0, 0]);
    raw.extend([9, 4, 0, 1, 1, 0xff, 0, 0, 0]);
    raw.extend([7, 5, 0x83, 2, 0, 2, 0]);
    raw
}

/// Standard requests: USB 2.0, table 9-4.
const CLEAR_FEATURE: u8 = 1;
const SET_INTERFACE: u8 = 11;
#[test]
fn transfers_are_cancelled_one_at_a_time_and_none_is_left_to_a_server_whose_client_goes() {
    let (peer, seen) = server(Fake::silent());
    let mut daemon = Daemon::run(&peer.device("d", ""));
    open_and_close(&daemon);
    assert_eq!((seen.unlinks.load(SeqCst), seen.unlinks_together.load(SeqCst)), (8, 1));
    let _reader = daemon.reader("d/ep_81");
    daemon.wait_pipe("d", "ep_81", |pipe| pipe["open"] == true);
    assert!(daemon.end().success());
    wait_for(|| (seen.ended.load(SeqCst) == 1).then_some(()), || "the client has gone, unseen".into());
    assert_eq!((seen.unlinks.load(SeqCst), seen.unlinks_together.load(SeqCst)), (16, 1));
    assert_eq!(seen.left.load(SeqCst), 0);
}

#[test]
fn a_device_that_is_named_on_the_command_line_is_imported_once() {
    let (peer, _) = server(Fake::with_strings(["", "", ""]));
    let temp = TempDir::new().unwrap();
    let selector = format!("usbip://127.0.0.1:{}/1-1", peer.port);
    let dir = run_dir(&temp, "run");
    let mut command = usbpipe();
    command.arg("--dir").arg(&dir).args(["bridge", &selector]);
    let mut daemon = Daemon::start(command, &dir);
    daemon.wait_said("ready");
    daemon.wait_status("1209-0077", |status| status["state"] == "attached");
    assert_eq!(read_exactly(daemon.reader("1209-0077/ep_81"), 4).1, b"data");
    assert_eq!(peer.connections.load(SeqCst), 1);
}

#[test]
fn twins_are_named_in_the_order_of_the_command_line_whichever_answers_first() {
    let twin = |import| server(Fake { import, ..Fake::with_strings(["", "", ""]) }).0;
    let slow = twin(Duration::from_millis(300));
    let fast = twin(Duration::ZERO);
    for _ in 0..2 {
        let temp = TempDir::new().unwrap();
        let dir = run_dir(&temp, "run");
        let mut command = usbpipe();
        let selectors = [&slow, &fast].map(|peer| format!("usbip://127.0.0.1:{}/1-1", peer.port));
        command.arg("--dir").arg(&dir).arg("bridge").args(&selectors);
        let mut daemon = Daemon::start(command, &dir);
        daemon.wait_said("ready");
        for (name, place) in ["1209-0077", "1209-0077-2"].into_iter().zip(&selectors) {
            let status = daemon.wait_status(name, |status| status["state"] == "attached");
            assert_eq!(status["place"], place.as_str(), "{name}");
        }
        assert!(daemon.end().success());
    }
}

#[test]
fn a_device_that_answers_with_empty_transfers_alone_is_asked_at_rest_and_its_data_arrives() {
    const EMPTY: usize = 100;
    let script = |n: usize| Some(if n < EMPTY { Vec::new() } else { b"data".to_vec() });
    let (peer, _) = server(Fake { script: Some(script), ..Fake::with_strings(["", "", ""]) });
    let daemon = Daemon::run(&peer.device("d", "[[device.pipe]]\nendpoint = 0x81\nframing = \"length\""));
    let started = Instant::now();
    let (_reader, bytes) = read_exactly(daemon.reader("d/ep_81"), 4 * EMPTY + 8);
    let time = started.elapsed();
    assert_eq!(bytes, [&[0; 4 * EMPTY][..], &[4, 0, 0, 0], b"data"].concat(), "each ZLP is a record");
    // Some dozens are nothing unusual; the others are at last 16 ms apart.
    assert!(time > Duration::from_millis(16) * 50, "{EMPTY} empty transfers in {time:?}");
    assert_eq!(daemon.count("d", "ep_81", "empty_transfers"), EMPTY as u64);
}

#[test]
fn a_device_that_stalls_all_the_time_is_reported_once_a_second_with_the_number() {
    let script = |n: usize| n.is_multiple_of(2).then(|| b"data".to_vec());
    let (peer, _) = server(Fake { script: Some(script), ..Fake::with_strings(["", "", ""]) });
    let mut daemon = Daemon::run(&peer.device("d", ""));
    let mut events = Events::of(&daemon);
    let started = Instant::now();
    let mut reader = daemon.reader("d/ep_81");
    spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    let next = |events: &mut Events| events.wait("stall", "d")["text"].as_str().unwrap().to_owned();
    let plain = next(&mut events);
    assert!(plain.starts_with("endpoint 0x81 of 1209:0077 is halted") && !plain.contains("more within"), "{plain}");
    // On a machine that is kept busy there may be a second without one.
    let (mut reported, mut number) = (1, 0);
    while number < 2 {
        let text = next(&mut events);
        let again = text.strip_prefix(&plain).unwrap_or_else(|| panic!("{text:?} after {plain:?}"));
        reported += 1;
        number = again.strip_prefix(" (").map_or(0, |again| again.split(' ').next().unwrap().parse().unwrap_or(1));
        assert!(again.is_empty() || again.ends_with("more within a second)"), "{text}");
    }
    assert!(daemon.count("d", "ep_81", "stalls") > reported, "each was reported by itself");
    let seconds = started.elapsed().as_secs_f64();
    let lines = daemon.said().iter().filter(|line| line.contains("is halted")).count();
    assert!(lines as f64 <= 2.0 + seconds, "{lines} lines in {seconds} s");
}

#[test]
fn what_is_wrong_with_a_devices_descriptors_is_reported_at_its_attach() {
    let mut fake = Fake::with_strings(["", "", ""]);
    // A printer of which the first setting only listens, and an endpoint that is described twice.
    fake.configuration.truncate(9);
    for (setting, protocol, endpoints) in [(0, 1, &[0x01][..]), (1, 2, &[0x01, 0x82, 0x82])] {
        fake.configuration.extend([9, 4, 0, setting, endpoints.len() as u8, 7, 1, protocol, 0]);
        endpoints.iter().for_each(|&address| fake.configuration.extend([7, 5, address, 2, 0, 2, 0]));
    }
    fake.configuration[2] = fake.configuration.len() as u8 + 7;
    let (peer, _) = server(fake);
    let mut daemon = Daemon::run(&peer.device("printer", ""));
    for text in [
        "the descriptors end after 55 of 62 bytes",
        "endpoint 0x82 is described twice in interface 0, alternate setting 1",
        "its setting 1 (a printer that answers, too) has 0x01, 0x82, 0x82: choose it by [[device.pipe]]",
    ] {
        let line = daemon.wait_said(text);
        assert!(line.contains("printer: warning: "), "{line}");
    }
}

#[test]
fn requests_about_what_the_device_does_not_have_are_answered_with_what_it_has() {
    let (peer, _) = server(Fake {
        configuration: camera(),
        refused: &[CLEAR_FEATURE, SET_INTERFACE],
        ..Fake::with_strings(["", "", ""])
    });
    let daemon = Daemon::run(&peer.device("d", ""));
    let answer = |request: &str| daemon.answer(&["control", "d", request]);
    assert!(
        answer("alt 0 7").ends_with("interface 0 has no alternate setting 7; it has 0, 1"),
        "{}",
        answer("alt 0 7")
    );
    assert!(answer("alt 9 0").ends_with("the device has no interface 9; it has 0"), "{}", answer("alt 9 0"));
    let halt = answer("clear-halt 0x83");
    assert!(halt.contains("endpoint 0x83 is only there in alternate setting 1 of interface 0"), "{halt}");
    assert!(halt.contains("`alt 0 1`"), "{halt}");
}

#[test]
fn a_server_is_listed_by_its_address_in_each_form() {
    let (peer, _) = server(Fake::with_strings(["", "", ""]));
    let temp = TempDir::new().unwrap();
    let list = |server: String| {
        output(usbpipe().arg("--dir").arg(run_dir(&temp, "run")).args(["list", "--remote"]).arg(server))
    };
    let place = format!("127.0.0.1:{}", peer.port);
    for server in [place.clone(), format!("usbip://{place}"), format!("usbip://{place}/1-1")] {
        let output = list(server.clone());
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(&format!("usbip://{place}/1-1  1209:0077")), "{server}: {text:?}");
    }
    let absent = list(format!("usbip://{place}/1-9"));
    let text = String::from_utf8(absent.stderr).unwrap();
    assert_eq!(absent.status.code(), Some(1));
    assert!(text.contains("is not exported; the server has 1-1"), "{text}");
}

#[test]
fn an_endpoint_with_several_packets_a_microframe_is_listed_with_their_number() {
    let mut fake = Fake::with_strings(["", "", ""]);
    // Interrupt IN, wMaxPacketSize 0x1400: three packets of 1024 bytes.
    fake.configuration.truncate(18);
    fake.configuration.extend([7, 5, 0x83, 3, 0x00, 0x14, 1]);
    let (peer, _) = server(fake);
    let daemon = Daemon::run(&peer.device("d", ""));
    let text = String::from_utf8(daemon.ask(&["list"]).stdout).unwrap();
    let line = text.lines().find(|line| line.contains("0x83")).unwrap();
    assert!(line.contains(" 1024 x3 bytes a packet "), "{line}");
    assert_eq!(daemon.pipe("d", "ep_83")["packets_per_microframe"], 3);
}
