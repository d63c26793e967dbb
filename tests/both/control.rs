//! The control pipe: by lines of text, by binary messages, and by a command.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use crate::common::{Bus, Daemon, Messages, read_line};
use firmware_mock::DeviceKind;

/// A daemon with the device of registers, and a device to be asked for its endpoints; the bus must stay.
fn regs() -> (Bus, Daemon) {
    let bus = Bus::with(&[DeviceKind::Regs, DeviceKind::Zero]);
    let daemon = Daemon::run(&[bus.device("regs", "timeout = 1\n"), bus.device("zero", "")].concat());
    (bus, daemon)
}

/// `usbpipe control regs REQUEST`: what it says and its exit status.
fn ask(daemon: &Daemon, request: &str) -> (String, i32) {
    let output = daemon.ask(&["control", "regs", request]);
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{text:?}");
    (text.trim_end().to_owned(), output.status.code().unwrap())
}

/// The control pipe of text.
struct Text {
    requests: File,
    answers: File,
}

impl Text {
    fn of(daemon: &Daemon, device: &str) -> Self {
        let (requests, answers) = daemon.control(device);
        Self { requests, answers }
    }

    fn ask(&mut self, line: &str) -> String {
        self.requests.write_all(format!("{line}\n").as_bytes()).unwrap();
        self.next()
    }

    fn next(&self) -> String {
        read_line(&self.answers)
    }
}

/// The control pipe of binary messages.
fn messages(daemon: &Daemon, device: &str) -> Messages {
    Messages::connect(&daemon.path(&format!("{device}/ep_00.sock")))
}

/// The answer to a binary request.
fn answer(messages: &Messages, request: &[u8]) -> Vec<u8> {
    messages.send(request);
    messages.receive()
}

/// A string descriptor in hex, USB 2.0 section 9.6.7.
fn string_descriptor(text: &str) -> String {
    let units: String = text.encode_utf16().map(|unit| format!("{:04x}", unit.swap_bytes())).collect();
    format!("{:02x}03{units}", units.len() / 2 + 2)
}

#[test]
fn descriptors_and_strings_are_read() {
    let (_bus, daemon) = regs();
    let (device, status) = ask(&daemon, "descriptor device");
    assert_eq!(status, 0);
    assert!(device.starts_with("ok 12010002ff"), "{device}");
    assert_eq!(&device[3 + 16..3 + 24], "09120400", "idVendor and idProduct");
    assert_eq!(device.len(), 3 + 36);
    // One interface without endpoints.
    assert_eq!(ask(&daemon, "descriptor config").0, "ok 0902120001010080320904000000ff000000");
    assert_eq!(ask(&daemon, "descriptor config 0").0, ask(&daemon, "descriptor config").0);
    assert_eq!(ask(&daemon, "descriptor string 0").0, "ok 04030904");
    assert_eq!(ask(&daemon, "descriptor string 2").0, format!("ok {}", string_descriptor("regs")));
    let (missing, status) = ask(&daemon, "descriptor string 9");
    assert!(missing.starts_with("error stall "), "{missing}");
    assert_eq!(status, 1);
}

#[test]
fn registers_are_written_and_read_back() {
    let (_bus, daemon) = regs();
    assert_eq!(ask(&daemon, "in 0xc0 2 0 0 4"), ("ok 00000000".into(), 0));
    assert_eq!(ask(&daemon, "out 0x40 1 0 0x10 de ad BE ef"), ("ok".into(), 0));
    assert_eq!(ask(&daemon, "in 0xc0 2 0 15 6"), ("ok 00deadbeef00".into(), 0));
    assert_eq!(ask(&daemon, "setup c0 02 00 00 10 00 04 00"), ("ok deadbeef".into(), 0));
    assert_eq!(ask(&daemon, "setup 4001000011000200 0102"), ("ok".into(), 0));
    assert_eq!(ask(&daemon, "in 192 2 0 0x10 4"), ("ok de0102ef".into(), 0));
    assert_eq!(ask(&daemon, "in 0xc0 2 0 0 0"), ("ok".into(), 0));
    let words = daemon.ask(&["control", "regs", "in", "0xc0", "2", "0", "16", "1"]);
    assert_eq!(words.stdout, b"ok de\n", "a request may be one argument or many");
}

#[test]
fn what_the_device_refuses_is_a_stall_and_the_next_request_works() {
    let (_bus, daemon) = regs();
    let sixty_five = format!("out 0x40 1 0 0 {}", "55".repeat(65));
    for request in ["out 0x40 3 0 0", "in 0xc0 3 0 0 1", "in 0xc0 2 0 255 2", &sixty_five] {
        let (answer, status) = ask(&daemon, request);
        assert!(answer.starts_with("error stall "), "{answer}");
        assert_eq!(status, 1);
        assert_eq!(ask(&daemon, "in 0xc0 2 0 0 1"), ("ok 00".into(), 0));
    }
}

#[test]
fn a_request_that_takes_too_long_times_out_and_the_next_one_works() {
    let (_bus, daemon) = regs();
    let mut text = Text::of(&daemon, "regs");
    assert_eq!(text.ask("out 0x40 4 100 0"), "ok", "in time");
    let start = Instant::now();
    let answer = text.ask("out 0x40 4 3000 0");
    let took = start.elapsed();
    assert!(answer.starts_with("error timeout "), "{answer}");
    assert!((Duration::from_secs(1)..Duration::from_millis(2500)).contains(&took), "{took:?}");
    assert_eq!(text.ask("out 0x40 1 0 0 77"), "ok");
    assert_eq!(text.ask("in 0xc0 2 0 0 1"), "ok 77");
    assert!(start.elapsed() < Duration::from_millis(2900), "the next one does not wait for the late one");
}

#[test]
fn some_requests_are_refused_before_they_reach_the_device() {
    let (_bus, daemon) = regs();
    let refused = [
        ("in 0x40 2 0 0 4", "error invalid "),
        ("out 0xc0 1 0 0 00", "error invalid "),
        ("out 0 5 7 0", "error denied "),
        ("out 0 9 0 0", "error denied "),
        ("setup 0009010000000000", "error denied "),
        ("setup 0005", "error invalid "),
        ("in 0xc0 2 0 0 65536", "error invalid "),
        ("in 0xc0 2 0 0", "error invalid "),
        ("in 0xc0 2 0 0 4 5", "error invalid "),
        ("out 0x40 1 0 0 abc", "error invalid "),
        ("out 0x40 1 0 0 xy", "error invalid "),
        ("coffee", "error invalid "),
        ("descriptor everything", "error invalid "),
    ];
    for (request, begin) in refused {
        let (answer, status) = ask(&daemon, request);
        assert!(answer.starts_with(begin), "to {request:?}: {answer}");
        assert_eq!(status, 1, "to {request:?}");
    }
    assert!(ask(&daemon, "status").0.starts_with("ok state=attached vid=1209 pid=0004 speed=full configuration=1"));
}

#[test]
fn text_is_answered_by_one_line_a_request_in_order() {
    let (_bus, daemon) = regs();
    let mut text = Text::of(&daemon, "regs");
    let far_too_long = "7".repeat(300_000);
    let longest: String = "0 ".repeat(1000);
    let requests = [
        ("out 0x40 1 0 0 0102", "ok"),
        ("in 0xc0 2 0 0 2", "ok 0102"),
        ("out 0x40 3 0 0", "error stall "),
        ("\u{1b}[31m garbage \u{0} \u{fffd}", "error invalid "),
        ("", "error invalid "),
        (&far_too_long, "error invalid "),
        (&longest, "error invalid "),
        ("out 0x40 4 3000 0", "error timeout "),
        ("out 0 9 1 0", "error denied "),
        ("in 0xc0 2 0 1 1\r", "ok 02"),
        ("descriptor string 2", "ok 0a03"),
    ];
    // All at once: what is asked early is answered early, whatever it takes.
    let mut all: Vec<u8> = requests.iter().flat_map(|(line, _)| [line.as_bytes(), b"\n"].concat()).collect();
    all.extend_from_slice(b"\xff\xfe\x80\n");
    text.requests.write_all(&all).unwrap();
    for (request, begin) in requests {
        let answer = text.next();
        assert!(answer.starts_with(begin), "to {:?}: {answer}", &request[..request.len().min(40)]);
        assert!(answer.len() < 300, "{answer}");
    }
    assert!(text.next().starts_with("error invalid "));
    assert_eq!(text.ask("in 0xc0 2 0 0 2"), "ok 0102");
}

#[test]
fn messages_are_a_setup_packet_and_data_and_the_answers_a_status_byte_and_data() {
    let (_bus, daemon) = regs();
    let pipe = messages(&daemon, "regs");
    let write = [&[0x40, 1, 0, 0, 8, 0, 3, 0][..], b"abc"].concat();
    let read = [0xc0, 2, 0, 0, 8, 0, 3, 0];
    let slow = [0x40, 4, 0xb8, 0x0b, 0, 0, 0, 0];
    let requests: [(&[u8], &[u8]); 9] = [
        (&write, b"\0"),
        (&read, b"\0abc"),
        (&[0xc0, 3, 0, 0, 0, 0, 1, 0], &[3]),
        (&[0, 5, 7, 0, 0, 0, 0, 0], &[2]),
        (&[0, 9, 1, 0, 0, 0, 0, 0], &[2]),
        (b"short", &[1]),
        (&write[..10], &[1]),
        (&slow, &[4]),
        (&[0x80, 6, 0, 1, 0, 0, 8, 0], &[0, 18, 1, 0, 2, 0xff, 0, 0, 64]),
    ];
    requests.iter().for_each(|(request, _)| pipe.send(request));
    for (request, wanted) in requests {
        assert_eq!(pipe.receive(), wanted, "to {request:02x?}");
    }
    assert_eq!(answer(&pipe, &vec![0x40; 100_000]), [1], "a message that is far too long");
    assert_eq!(answer(&pipe, &read), b"\0abc");
}

#[test]
fn clients_of_the_binary_pipe_each_get_their_own_answers() {
    let (_bus, daemon) = regs();
    let clients: Vec<Messages> = (0..16).map(|_| messages(&daemon, "regs")).collect();
    for (n, client) in clients.iter().enumerate() {
        client.send(&[0x40, 1, 0, 0, n as u8, 0, 1, 0, n as u8 + 100]);
        client.send(&[0xc0, 2, 0, 0, n as u8, 0, 1, 0]);
    }
    for (n, client) in clients.iter().enumerate().rev() {
        assert_eq!(client.receive(), [0]);
        assert_eq!(client.receive(), [0, n as u8 + 100]);
    }
}

#[test]
fn a_halt_and_an_alternate_setting_are_asked_for_by_name() {
    let (bus, daemon) = regs();
    let mut text = Text::of(&daemon, "zero");
    // GET_STATUS of an endpoint: bit 0 is its halt.
    let is_halted = "in 0x82 0 0 0x82 2";
    assert_eq!(text.ask(is_halted), "ok 0000");
    bus.command("stall zero 0x82");
    assert_eq!(text.ask(is_halted), "ok 0100");
    assert_eq!(text.ask("clear-halt 0x82"), "ok");
    assert_eq!(text.ask(is_halted), "ok 0000");
    assert!(text.ask("clear-halt 0x8a").starts_with("error invalid "));
    assert_eq!(text.ask("alt 0 0"), "ok");
    assert!(text.ask("alt 0 7").starts_with("error stall "));
    assert!(text.ask("alt 9 0").starts_with("error "));
}

#[test]
fn a_device_nobody_has_configured_is_named_in_the_error() {
    let (_bus, daemon) = regs();
    let output = daemon.ask(&["control", "toaster", "status"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("toaster") && error.contains("regs"), "it says what there is: {error}");
}
