//! Descriptors that the daemon passes over `admin.sock`, as a program meets them that opens no path.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
#[path = "common/sockets.rs"]
mod helpers;

use std::fs::File;
use std::io::{BufRead, BufReader, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use common::bytes::{assert_same, pattern, random};
use common::{Bus, Daemon, PATIENCE, read_exactly, read_line};
use firmware_mock::DeviceKind::{Regs, Uno, Zero};
use helpers::Packets;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::{Value, json};

/// A connection to `admin.sock`.
struct Admin(UnixStream);

impl Admin {
    fn of(daemon: &Daemon) -> Self {
        let stream = UnixStream::connect(daemon.path("admin.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    /// Asks, and takes the reply and what lies beside it.
    fn ask(&self, request: &Value) -> (Value, Vec<OwnedFd>) {
        writeln!(&self.0, "{request}").unwrap();
        let (mut buffer, mut beside) = ([0; 4096], nix::cmsg_space!([i32; 4]));
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(self.0.as_raw_fd(), &mut slices, Some(&mut beside), flags).unwrap();
        let fds = message.cmsgs().unwrap().flat_map(|control| match control {
            ControlMessageOwned::ScmRights(fds) => fds,
            _ => Vec::new(),
        });
        // SAFETY: the kernel has just made these descriptors for this process, and nobody else knows their numbers.
        let fds = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect();
        let n = message.bytes;
        (serde_json::from_slice(&buffer[..n]).unwrap(), fds)
    }

    fn pass(&self, device: &str, outlet: &str, kind: &str) -> OwnedFd {
        let (reply, mut fds) = self.ask(&open(device, outlet, kind));
        assert_eq!((&reply, fds.len()), (&json!({ "ok": [] }), 1));
        fds.remove(0)
    }

    fn refusal(&self, device: &str, outlet: &str, kind: &str) -> String {
        let (reply, fds) = self.ask(&open(device, outlet, kind));
        assert!(fds.is_empty());
        reply["error"].as_str().unwrap_or_else(|| panic!("{reply}")).to_owned()
    }
}

fn open(device: &str, outlet: &str, kind: &str) -> Value {
    json!({ "cmd": "open", "device": device, "outlet": outlet, "pass": kind })
}

#[test]
fn one_connection_gives_pipes_of_either_direction_and_goes_on_answering() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", ""));
    let admin = Admin::of(&daemon);
    let (source, sink) = (admin.pass("zero", "ep_82", "pipe"), admin.pass("zero", "ep_02", "pipe"));
    let sent = random(200_000, 82);
    let mut writer = File::from(sink);
    let copy = sent.clone();
    let writing = std::thread::spawn(move || writer.write_all(&copy).unwrap());
    let (_, got) = read_exactly(source.into(), sent.len());
    writing.join().unwrap();
    assert_same(&sent, &got, 0);
    assert_same(&pattern(100_000), &read_exactly(admin.pass("zero", "ep_81", "pipe").into(), 100_000).1, 0);
    assert_eq!(admin.ask(&json!({ "cmd": "status" })).0["ok"][0]["name"], "zero");
}

#[test]
fn a_stream_socket_and_a_packet_socket_of_a_serial_line_go_both_ways() {
    let bus = Bus::with(&[Uno]);
    let daemon = Daemon::run(&bus.device("uno", "[device.serial]\n"));
    let admin = Admin::of(&daemon);
    let stream = UnixStream::from(admin.pass("uno", "serial", "socket"));
    let packets = Packets::from(admin.pass("uno", "serial", "packet"));
    daemon.wait_pipe("uno", "serial.rx", |pipe| pipe["clients"].as_array().unwrap().len() == 2);
    packets.send(b"PING 1\n");
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    while line != "PONG 1\n" {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0);
    }
    (&stream).write_all(b"SUM 40 2\n").unwrap();
    let mut heard = Vec::new();
    while !heard.ends_with(b"SUM 42\n") {
        let message = packets.receive();
        assert!(!message.is_empty(), "{heard:?}");
        heard.extend(message);
    }
    assert_eq!(read_line(&File::from(OwnedFd::from(stream))), "SUM 42");
}

#[test]
fn messages_keep_the_boundaries_of_transfers_both_ways() {
    let bus = Bus::with(&[Zero]);
    let pipe = |endpoint| format!("[[device.pipe]]\nendpoint = {endpoint}\nframing = \"packet\"\n");
    let daemon = Daemon::run(&bus.device("zero", &[pipe("0x82"), pipe("0x02")].concat()));
    let admin = Admin::of(&daemon);
    let [from, to] = ["ep_82", "ep_02"].map(|outlet| Packets::from(admin.pass("zero", outlet, "packet")));
    for size in [1, 63, 513, 4000, 0, 700] {
        let message = random(size, size as u64);
        to.send(&message);
        assert_eq!(from.receive(), message);
    }
}

#[test]
fn status_names_who_asked_or_the_program_that_was_asked_for() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", ""));
    let admin = Admin::of(&daemon);
    let mut named = open("zero", "ep_81", "socket");
    named["program"] = "a\nlogger with a long name".into();
    let fds = [admin.ask(&named).1, vec![admin.pass("zero", "ep_81", "socket")]];
    let pipe = daemon.wait_pipe("zero", "ep_81", |pipe| pipe["clients"].as_array().unwrap().len() == 2);
    let clients = pipe["clients"].as_array().unwrap();
    assert_eq!(clients[0]["command"], "a?logger with a");
    assert!(clients.iter().all(|c| c["kind"] == "descriptor" && c["pid"] == std::process::id()), "{pipe}");
    drop(fds);
    daemon.wait_pipe("zero", "ep_81", |pipe| pipe["clients"].as_array().unwrap().is_empty());
}

#[test]
fn what_cannot_be_passed_is_refused_in_words() {
    let bus = Bus::with(&[Uno, Regs]);
    let large = "[[device.pipe]]\nendpoint = 0x81\ntransfer = 1048576\nqueue = 1\n";
    let zero = Bus::with(&[Zero]);
    let config = [bus.device("uno", "[device.serial]\n"), bus.device("regs", ""), zero.device("zero", large)].concat();
    let daemon = Daemon::run(&config);
    let admin = Admin::of(&daemon);
    assert!(admin.refusal("uno", "serial", "pipe").contains("serial.rx and serial.tx"));
    assert!(admin.refusal("uno", "ep_81", "pipe").contains("it has serial.rx, serial.tx"));
    assert!(admin.refusal("regs", "ep_81", "socket").contains("it has none"));
    assert!(admin.refusal("nobody", "ep_81", "socket").contains("it has regs, uno, zero"));
    assert!(admin.refusal("zero", "ep_81", "packet").contains("lower its `transfer`"));
    let (reply, _) = admin.ask(&open("uno", "serial", "fifo"));
    assert!(reply["error"].as_str().unwrap().contains("expected one of `pipe`, `socket`, `packet`"), "{reply}");
}

#[test]
fn a_descriptor_outlives_its_connection_and_ends_with_the_daemon() {
    let bus = Bus::with(&[Zero]);
    let mut daemon = Daemon::run(&bus.device("zero", ""));
    let source = Admin::of(&daemon).pass("zero", "ep_81", "socket");
    let (mut source, first) = read_exactly(source.into(), 100_000);
    assert_same(&pattern(100_000), &first, 0);
    assert!(daemon.end().success());
    common::within(PATIENCE, move || {
        let mut rest = Vec::new();
        let _ = source.read_to_end(&mut rest);
    });
}
