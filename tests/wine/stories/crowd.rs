//! Many programs at one pipe, and programs that vanish.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::process::{Child, Stdio};
use std::thread;

use firmware_mock::DeviceKind::Zero;

use crate::common::bytes::{assert_same, pattern};
use crate::common::zero::zero;
use crate::common::{Bus, Daemon, read_exactly, start_child, wait_named_pipe};
use crate::plain::client;

#[test]
fn sixteen_clients_of_one_pipe_get_every_byte_each() {
    const EACH: usize = 4 << 20;
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", "[[device.pipe]]\nendpoint = 0x81\npatience = \"forever\"\n"));
    let clients: Vec<File> = (0..16).map(|_| daemon.reader("zero/ep_81")).collect();
    daemon.wait_pipe("zero", "ep_81", |pipe| pipe["clients"].as_array().unwrap().len() == 16);
    let expected = pattern(EACH);
    thread::scope(|scope| {
        let readers: Vec<_> = clients.into_iter().map(|client| scope.spawn(|| follow(client, &expected))).collect();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
    assert_eq!(daemon.count("zero", "ep_81", "lost_bytes"), 0);
}

/// Reads as much as is expected. The first byte of a client is the first of a packet.
fn follow(mut client: File, expected: &[u8]) {
    let mut bytes = vec![0; 65536];
    let mut at = 0;
    while at < expected.len() {
        let n = client.read(&mut bytes).unwrap().min(expected.len() - at);
        assert!(n > 0, "the end after {at} bytes");
        assert_same(&expected[at..at + n], &bytes[..n], at);
        at += n;
    }
}

#[test]
fn clients_that_vanish_harm_nobody() {
    let (_bus, daemon) = zero("");
    let steady = daemon.reader("zero/ep_81");
    for round in 0..50 {
        let client = daemon.reader("zero/ep_81");
        if round % 2 == 0 {
            drop(read_exactly(client, 1000));
        }
    }
    let (_steady, bytes) = read_exactly(steady, 1 << 20);
    assert_same(&pattern(1 << 20), &bytes, 0);
    daemon.wait_pipe("zero", "ep_81", |pipe| pipe["clients"].as_array().unwrap().len() == 1);
}

#[test]
fn a_program_that_opens_first_to_probe_and_then_to_use_is_served() {
    let (_bus, daemon) = zero("");
    let path = daemon.path("zero/ep_81");
    for _ in 0..20 {
        drop(File::open(&path).unwrap());
        read_exactly(File::open(&path).unwrap(), 512);
    }
}

#[test]
fn a_hundred_openings_in_turn_never_see_a_busy_pipe() {
    let (_bus, daemon) = zero("");
    let path = daemon.path("zero/ep_81");
    for round in 0..100 {
        wait_named_pipe(&path, 20_000).unwrap();
        let client = OpenOptions::new().read(true).open(&path).unwrap_or_else(|e| panic!("in round {round}: {e}"));
        read_exactly(client, 512);
    }
}

/// Each begins when the one before has its bytes, and not when that has ended: two or three are there at any time.
#[test]
fn a_hundred_programs_in_turn_never_see_a_busy_pipe() {
    let (_bus, daemon) = zero("");
    let path = daemon.path("zero/ep_81");
    let expected = pattern(4096);
    let mut leaving: VecDeque<Child> = VecDeque::new();
    for round in 0..100 {
        let mut program = client();
        program.arg("read").arg(&path).arg("4096").stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = start_child(&mut program);
        let mut bytes = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut bytes).unwrap();
        assert!(bytes == expected, "in round {round}: {} bytes, and {}", bytes.len(), said_by(child));
        leaving.push_back(child);
        if leaving.len() > 2 {
            let child = leaving.pop_front().unwrap();
            assert_eq!(said_by(child), "exit code: 0, saying nothing");
        }
    }
}

fn said_by(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    match output.stderr.is_empty() {
        true => format!("{}, saying nothing", output.status),
        false => format!("{}, saying {}", output.status, String::from_utf8_lossy(&output.stderr)),
    }
}

/// Both ends of a crowd: programs that are killed in the middle of their reading, and those that go on.
#[test]
fn programs_that_are_killed_while_they_read_harm_nobody() {
    let (_bus, daemon) = zero("");
    let path = daemon.path("zero/ep_81");
    let steady = daemon.reader("zero/ep_81");
    for _ in 0..20 {
        let mut program = client();
        program.arg("read").arg(&path).arg("1000000000").stdout(Stdio::piped());
        let mut child = start_child(&mut program);
        child.stdout.take().unwrap().read_exact(&mut [0; 4096]).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let (_steady, bytes) = read_exactly(steady, 4 << 20);
    assert_same(&pattern(4 << 20), &bytes, 0);
    daemon.wait_pipe("zero", "ep_81", |pipe| pipe["clients"].as_array().unwrap().len() == 1);
}
