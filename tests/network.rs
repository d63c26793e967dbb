//! A serial line over TCP and RFC 2217, with clients that send what real ones send, and what none should.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::thread;

use common::bytes::{assert_same, random};
use common::{Bus, Daemon, PATIENCE, wait_for, while_progressing};
use firmware_mock::DeviceKind;
use rfc2217_wire::{Decoder, Item, Message, Sender, Verb, control, escape, option, put_negotiation};

const SERVERS: &str = "[device.serial]\nrfc2217 = \"127.0.0.1:0\"\ntcp = \"127.0.0.1:0\"\n";

/// A daemon with one device behind a network line; the bus must stay.
fn line(kind: DeviceKind, name: &str, settings: &str) -> (Bus, Daemon) {
    let bus = Bus::with(&[kind]);
    let daemon = Daemon::run(&bus.device(name, &format!("{SERVERS}{settings}")));
    (bus, daemon)
}

fn address(daemon: &Daemon, device: &str, server: &str) -> SocketAddr {
    daemon.pipe(device, "serial.rx")[server].as_str().unwrap().parse().unwrap()
}

fn connect(daemon: &Daemon, device: &str, server: &str) -> TcpStream {
    let stream = TcpStream::connect(address(daemon, device, server)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// An RFC 2217 client.
struct Client {
    stream: TcpStream,
    decoder: Decoder,
    /// Received, not yet decoded.
    input: Vec<u8>,
    data: Vec<u8>,
    answers: Vec<Vec<u8>>,
}

impl Client {
    /// Connects and has the COM-PORT option in use.
    fn connect(daemon: &Daemon, device: &str) -> Self {
        let stream = connect(daemon, device, "rfc2217");
        let mut client =
            Self { stream, decoder: Decoder::default(), input: Vec::new(), data: Vec::new(), answers: Vec::new() };
        let mut out = Vec::new();
        put_negotiation(Verb::Will, option::COM_PORT, &mut out);
        put_negotiation(Verb::Will, option::BINARY, &mut out);
        client.stream.write_all(&out).unwrap();
        client.answer(107);
        client
    }

    fn receive(&mut self) {
        let mut bytes = [0; 4096];
        let n = self.stream.read(&mut bytes).unwrap();
        assert!(n > 0, "the server has closed the connection");
        self.input.extend(&bytes[..n]);
        let mut rest = &self.input[..];
        while let Some(item) = self.decoder.next(&mut rest) {
            match item {
                Item::Data(data) => self.data.extend(data),
                Item::Subnegotiation { option: option::COM_PORT, payload } => self.answers.push(payload.to_vec()),
                _ => {}
            }
        }
        self.input.clear();
    }

    /// The value of the next answer with this code; others are passed over.
    fn answer(&mut self, code: u8) -> Vec<u8> {
        loop {
            if let Some(at) = self.answers.iter().position(|answer| answer[0] == code) {
                return self.answers.remove(at).split_off(1);
            }
            self.receive();
        }
    }

    fn ask(&mut self, message: Message<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        message.encode(Sender::Client, &mut out);
        self.stream.write_all(&out).unwrap();
        self.answer(out[3] + 100)
    }

    fn say(&mut self, data: &[u8]) {
        let mut out = Vec::new();
        escape(data, &mut out);
        self.stream.write_all(&out).unwrap();
    }

    fn hear(&mut self, n: usize) -> Vec<u8> {
        while self.data.len() < n {
            self.receive();
        }
        self.data.drain(..n).collect()
    }

    /// What the board answers to STATUS.
    fn status(&mut self) -> String {
        self.say(b"STATUS\n");
        loop {
            let line = self.hear_line();
            if line.starts_with("STATUS") {
                return line;
            }
        }
    }

    fn hear_line(&mut self) -> String {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            line.extend(self.hear(1));
        }
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }
}

#[test]
fn every_byte_goes_both_ways_and_each_client_has_a_copy() {
    let (_bus, daemon) = line(DeviceKind::Echo, "echo", "");
    let mut telnet = Client::connect(&daemon, "echo");
    let mut raw = connect(&daemon, "echo", "tcp");
    daemon.wait_pipe("echo", "serial.rx", |pipe| pipe["clients"].as_array().unwrap().len() == 2);
    let every: Vec<u8> = (0..=255).chain([255, 255, 0, 13, 10, 255]).collect();
    telnet.say(&every);
    assert_eq!(telnet.hear(every.len()), every);
    let mut copy = vec![0; every.len()];
    raw.read_exact(&mut copy).unwrap();
    assert_eq!(copy, every);
    raw.write_all(b"raw\xff").unwrap();
    assert_eq!(telnet.hear(4), b"raw\xff");
    let clients = daemon.pipe("echo", "serial.tx")["clients"].clone();
    let kinds: Vec<&str> = clients.as_array().unwrap().iter().map(|c| c["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["rfc2217", "tcp"]);
    assert_eq!(clients[1]["address"], raw.local_addr().unwrap().to_string());
}

#[test]
fn eight_mebibytes_with_many_255s_come_back_in_order() {
    let (_bus, daemon) = line(DeviceKind::Echo, "echo", "");
    let mut client = Client::connect(&daemon, "echo");
    let mut sent = random(8 << 20, 11);
    sent.chunks_exact_mut(100).for_each(|chunk| chunk[..50].fill(255));
    let mut writer = client.stream.try_clone().unwrap();
    let escaped = {
        let mut out = Vec::new();
        escape(&sent, &mut out);
        out
    };
    let writing = thread::spawn(move || writer.write_all(&escaped).unwrap());
    while_progressing(move |progress| {
        let mut at = 0;
        while at < sent.len() {
            let n = (sent.len() - at).min(65_536);
            let got = client.hear(n);
            progress.made();
            assert_same(&sent[at..at + n], &got, at);
            at += n;
        }
    });
    writing.join().unwrap();
}

#[test]
fn a_setting_reaches_the_board_before_the_bytes_behind_it_and_goes_with_its_client() {
    let (_bus, daemon) = line(DeviceKind::Uno, "uno", "baud = 9600\n");
    let mut client = Client::connect(&daemon, "uno");
    assert_eq!(client.ask(Message::BaudRate(0)), 9600u32.to_be_bytes());
    assert_eq!(client.ask(Message::BaudRate(57_600)), 57_600u32.to_be_bytes());
    assert_eq!(client.ask(Message::DataSize(7)), [7]);
    assert_eq!(client.ask(Message::Parity(3)), [3]);
    assert_eq!(client.ask(Message::StopSize(2)), [2]);
    assert_eq!(client.ask(Message::Parity(9)), [3], "no such parity: what is in force is answered");
    assert!(client.status().contains("baud=57600"));
    assert!(daemon.answer(&["serial", "uno", "lines"]).ends_with("baud=57600 mode=7E2"));
    assert_eq!(client.ask(Message::Control(control::FLOW_RTS_CTS)), [control::FLOW_NONE], "CDC ACM has none");
    drop(client);
    wait_for(
        || daemon.answer(&["serial", "uno", "lines"]).contains("baud=9600").then_some(()),
        || daemon.answer(&["serial", "uno", "lines"]),
    );
}

#[test]
fn opening_resets_nothing_and_a_pulse_of_dtr_resets_the_board() {
    let (_bus, daemon) = line(DeviceKind::Uno, "uno", "");
    let resets = |client: &mut Client| -> u32 { resets_of(&client.status()).parse().unwrap() };
    let before = resets(&mut Client::connect(&daemon, "uno"));
    for _ in 0..3 {
        let mut client = Client::connect(&daemon, "uno");
        for value in [control::FLOW_NONE, control::RTS_ON, control::DTR_ON] {
            assert_eq!(client.ask(Message::Control(value)), [value]);
        }
        assert_eq!(resets(&mut client), before);
    }
    let mut client = Client::connect(&daemon, "uno");
    for value in [control::DTR_ON, control::DTR_OFF, control::DTR_ON] {
        assert_eq!(client.ask(Message::Control(value)), [value]);
    }
    assert_eq!(client.ask(Message::Control(control::DTR_QUERY)), [control::DTR_ON]);
    assert_eq!(client.hear_line(), "READY");
    assert_eq!(resets(&mut client), before + 1);
}

#[test]
fn modem_lines_are_passed_on_or_ignored_where_the_configuration_says_so() {
    for (policy, is_passed) in [("pass", true), ("ignore", false)] {
        let (_bus, daemon) = line(DeviceKind::Uno, "uno", &format!("modem_lines = \"{policy}\"\n"));
        let mut client = Client::connect(&daemon, "uno");
        for value in [control::DTR_OFF, control::DTR_ON] {
            assert_eq!(client.ask(Message::Control(value)), [value]);
        }
        let status = client.status();
        assert_eq!(status.contains("dtr=1"), is_passed, "{policy}: {status}");
    }
}

#[test]
fn a_client_stays_over_an_unplug_and_a_suspended_one_gets_its_bytes_later() {
    let (bus, daemon) = line(DeviceKind::Echo, "echo", "");
    let mut client = Client::connect(&daemon, "echo");
    let mut out = Vec::new();
    Message::FlowSuspend.encode(Sender::Client, &mut out);
    client.stream.write_all(&out).unwrap();
    client.say(b"held");
    daemon.wait_count("echo", "serial.rx", "bytes", 4);
    // An answer overtakes what is held back.
    client.ask(Message::BaudRate(0));
    assert_eq!(client.data, b"");
    let mut out = Vec::new();
    Message::FlowResume.encode(Sender::Client, &mut out);
    client.stream.write_all(&out).unwrap();
    assert_eq!(client.hear(4), b"held");
    bus.command("unplug echo 200");
    daemon.wait_status("echo", |status| status["sessions"] == 2 && status["state"] == "attached");
    client.say(b"again");
    assert_eq!(client.hear(5), b"again");
}

#[test]
fn hostile_clients_are_bounded_and_named_and_others_go_on() {
    let (_bus, mut daemon) = line(DeviceKind::Echo, "echo", "");
    let mut honest = Client::connect(&daemon, "echo");
    // Parameters without end, a 255 at the end, and a client that closes in the middle of a request.
    let mut garbage = vec![255, 250, 44];
    garbage.extend(vec![1; 1 << 20]);
    for tail in [&[255u8, 240][..], &[255], &[255, 250, 44, 1, 0]] {
        let mut client = connect(&daemon, "echo", "rfc2217");
        client.write_all(&garbage).unwrap();
        client.write_all(tail).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        while_progressing(move |_| drop(client.read_to_end(&mut rest)));
    }
    daemon.wait_said("parameters of telnet option 44 that are too long were dropped");
    // One that asks and never reads its answers is not read any more.
    let mut deaf = connect(&daemon, "echo", "rfc2217");
    let mut ask = Vec::new();
    Message::BaudRate(0).encode(Sender::Client, &mut ask);
    deaf.set_nonblocking(true).unwrap();
    let flood = ask.repeat(1000);
    let mut sent = 0;
    // The connection is full when its buffers have been so for a while in which the honest client was served.
    let mut full = 0;
    while full < 3 {
        match deaf.write(&flood) {
            Ok(n) => (sent, full) = (sent + n, 0),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                honest.say(b"ping");
                assert_eq!(honest.hear(4), b"ping");
                full += 1;
            }
            Err(e) => panic!("{e}"),
        }
        assert!(sent < 256 << 20, "the daemon takes requests without end");
    }
    // More connections than there may be: those beyond the limit are closed and named.
    let crowd: Vec<TcpStream> = (0..200).map(|_| connect(&daemon, "echo", "tcp")).collect();
    daemon.wait_said("was refused");
    honest.say(b"still here");
    assert_eq!(honest.hear(10), b"still here");
    drop((crowd, deaf));
    daemon.wait_pipe("echo", "serial.rx", |pipe| pipe["clients"].as_array().unwrap().len() == 1);
}

#[test]
fn an_address_that_others_reach_needs_allow_and_the_same_one_twice_is_refused() {
    let check = |serial: &str| {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("usbpipe.toml");
        let text = format!("[[device]]\nname = \"d\"\nmatch = {{ vid = 1 }}\n[device.serial]\n{serial}\n");
        std::fs::write(&file, text).unwrap();
        let checked = common::usbpipe().arg("-c").arg(file).args(["config", "check"]).output().unwrap();
        (checked.status.code(), String::from_utf8(checked.stderr).unwrap())
    };
    let (code, text) = check("rfc2217 = \"0.0.0.0:4000\"");
    assert_eq!(code, Some(2));
    assert!(text.contains("5:11") && text.contains("allow = [\"192.168.7.0/24\"]"), "{text}");
    assert_eq!(check("rfc2217 = \"0.0.0.0:4000\"\nallow = [\"10.0.0.0/8\"]").0, Some(0));
    let (code, text) = check("rfc2217 = \"127.0.0.1:4000\"\ntcp = \"127.0.0.1:4000\"");
    assert!(code == Some(2) && text.contains("the same address"), "{text}");
}

#[test]
fn a_server_whose_port_is_taken_says_so() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let bus = Bus::with(&[DeviceKind::Echo]);
    let config = bus.device("echo", &format!("[device.serial]\ntcp = \"{address}\"\n"));
    let mut daemon = Daemon::run_unattached(&config);
    daemon.wait_said(&format!("cannot listen for network clients: {address}"));
}

/// pyserial opens the line, sets it, pulses DTR and reads CTS, all through `rfc2217://`.
#[test]
fn pyserial_opens_sets_and_reads_a_line() {
    let (_bus, daemon) = line(DeviceKind::Uno, "uno", "");
    let script = "import sys, serial\n\
        for _ in range(5):\n\
        \x20   port = serial.serial_for_url(sys.argv[1], baudrate=57600, timeout=30)\n\
        \x20   port.write(b'STATUS\\n')\n\
        \x20   line = port.readline().decode().strip()\n\
        \x20   print(line, port.cts)\n\
        \x20   port.close()\n\
        port = serial.serial_for_url(sys.argv[1], timeout=30)\n\
        port.dtr = False\n\
        port.dtr = True\n\
        print(port.readline().decode().strip())\n";
    let has_pyserial = Command::new("python3").args(["-c", "import serial"]).output().is_ok_and(|o| o.status.success());
    if !has_pyserial {
        return println!("skipped: pyserial_opens_sets_and_reads_a_line: there is no pyserial (python3-serial)");
    }
    let url = format!("rfc2217://{}", address(&daemon, "uno", "rfc2217"));
    let output = Command::new("python3").args(["-c", script, &url]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 6, "{text}{}", String::from_utf8_lossy(&output.stderr));
    for line in &lines[..5] {
        assert!(line.contains("baud=57600") && line.ends_with("True"), "{text}");
        assert_eq!(resets_of(line), resets_of(lines[0]), "{text}");
    }
    assert_eq!(lines[5], "READY");
}

fn resets_of(line: &str) -> &str {
    line.split("resets=").nth(1).unwrap().split(' ').next().unwrap()
}

#[test]
fn an_answer_comes_also_to_a_program_that_has_written_its_last() {
    let (_bus, daemon) = line(DeviceKind::Echo, "echo", "");
    let mut client = connect(&daemon, "echo", "tcp");
    client.write_all(b"last words").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    // The daemon closes the connection after it.
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"last words");
}
