//! Simulated devices outside Wine, which `tests/wine/outside.rs` plugs in: the connection to it is the bus.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use firmware_mock::DeviceKind;

/// Simulated devices behind a USB/IP server on a loopback port, in a process of the system around this one.
pub struct Bus {
    pub port: u16,
    pub busids: Vec<(String, String)>,
    outside: Outside,
}

impl Bus {
    /// Plugs in these devices.
    pub fn with(kinds: &[DeviceKind]) -> Self {
        Self::on_port(kinds, 0)
    }

    /// The same on a given port, as a server that was restarted.
    pub fn on_port(kinds: &[DeviceKind], port: u16) -> Self {
        let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
        let (outside, answer) = Outside::named(&format!("mock {port} {}", kinds.join(" ")));
        let mut words = answer.split(' ');
        let port = words.next().unwrap().parse().unwrap();
        let id = |word: &str| word.split_once('=').map(|(name, busid)| (name.to_owned(), busid.to_owned())).unwrap();
        Self { port, busids: words.map(id).collect(), outside }
    }

    /// Sends a fault command, such as `unplug zero 100`, and expects `ok`.
    pub fn command(&self, line: &str) {
        assert_eq!(self.outside.ask(line), "ok", "to {line:?}");
    }
}

/// A thing outside, for as long as this lives.
pub struct Outside(TcpStream);

impl Outside {
    /// The thing of this name, and what follows its `ok`.
    pub fn named(line: &str) -> (Self, String) {
        let address = std::env::var("USBPIPE_OUTSIDE").expect("tests/wine/run says where the outside is");
        let outside = Self(TcpStream::connect(address).unwrap());
        let answer = outside.ask(line);
        let rest = answer.strip_prefix("ok").unwrap_or_else(|| panic!("to {line:?}: {answer}"));
        (outside, rest.trim_start().to_owned())
    }

    /// The answer to a line.
    pub fn ask(&self, line: &str) -> String {
        (&self.0).write_all(format!("{line}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        BufReader::new(&self.0).read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }
}
