//! What stands outside Wine for the stories inside it: simulated devices behind USB/IP, and the far ends of COM ports.
//!
//! It listens on a loopback port, which it prints. A connection is one thing, named by its first line, and ends it by
//! closing; every line is answered by `ok …` or `error …`.
//!
//! | first line | answer | the lines that follow |
//! |---|---|---|
//! | `mock PORT KIND…` | `ok PORT NAME=BUSID…` | fault commands, as `firmware-mock` takes them |
//! | `port NAME` | `ok` | `baud`, `unplug`, `plug`: a board with a serial line at `$WINEPREFIX/dosdevices/NAME` |
//!
//! It refuses to be a test: it holds nothing against anything.

#![allow(
    missing_docs,
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a part of the tests"
)]

#[path = "../common/bus_unix.rs"]
mod bus;
mod com_port;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::spawn;

use bus::Bus;
use com_port::ComPort;
use firmware_mock::DeviceKind;

fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    for stream in listener.incoming() {
        spawn(move || drop(serve(&stream.unwrap())));
    }
}

/// Serves one connection to its end.
fn serve(stream: &TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let Some(first) = lines.next() else { return Ok(()) };
    let mut thing = Thing::named(&first?);
    say(stream, &thing.as_ref().map_or_else(|e| format!("error {e}"), Thing::introduction))?;
    for line in lines {
        let Ok(thing) = &mut thing else { return Ok(()) };
        let answer = thing.ask(&line?);
        say(stream, &answer)?;
    }
    Ok(())
}

fn say(mut stream: &TcpStream, line: &str) -> std::io::Result<()> {
    stream.write_all(format!("{}\n", line.trim_end()).as_bytes())
}

enum Thing {
    Mock(Bus),
    Port(ComPort),
}

impl Thing {
    fn named(line: &str) -> Result<Self, String> {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["mock", port, ref kinds @ ..] => {
                let kinds: Result<Vec<DeviceKind>, _> = kinds.iter().map(|kind| kind.parse()).collect();
                let port = port.parse().map_err(|_| format!("no port: {port}"))?;
                Ok(Self::Mock(Bus::on_port(&kinds.map_err(|e| e.to_string())?, port)))
            }
            ["port", name] => Ok(Self::Port(ComPort::new(name))),
            _ => Err(format!("unknown: {line}")),
        }
    }

    fn introduction(&self) -> String {
        match self {
            Self::Mock(bus) => {
                let ids: Vec<String> = bus.busids.iter().map(|(name, busid)| format!("{name}={busid}")).collect();
                format!("ok {} {}", bus.port, ids.join(" "))
            }
            Self::Port(_) => "ok".to_owned(),
        }
    }

    fn ask(&mut self, line: &str) -> String {
        match self {
            Self::Mock(bus) => bus.answer(line),
            Self::Port(port) => port.ask(line),
        }
    }
}
