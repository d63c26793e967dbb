//! Programs that use an outlet's Unix socket.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "each test binary uses its own part of it"
)]

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// A SEQPACKET connection.
pub use crate::common::Messages as Packets;
use crate::common::{Daemon, PATIENCE};

/// Connects to a stream socket and waits until the daemon has taken the connection.
pub fn connect_stream(daemon: &Daemon, name: &str) -> UnixStream {
    let before = clients(daemon, name);
    let stream = UnixStream::connect(daemon.path(name)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (device, outlet) = outlet(name);
    daemon.wait_pipe(device, outlet, |pipe| pipe["clients"].as_array().unwrap().len() > before);
    stream
}

/// How many programs are at the outlet of this socket.
pub fn clients(daemon: &Daemon, name: &str) -> usize {
    let (device, outlet) = outlet(name);
    daemon.pipe(device, outlet)["clients"].as_array().unwrap().len()
}

/// Device and line of a socket such as `zero/ep_81.sock`.
fn outlet(name: &str) -> (&str, &str) {
    let (device, outlet) = name.split_once('/').unwrap();
    match outlet.trim_end_matches(".sock") {
        "serial" => (device, "serial.rx"),
        line => (device, line),
    }
}

impl Packets {
    /// As [`Packets::connect`], once the daemon has taken the connection.
    pub fn connect_to(daemon: &Daemon, name: &str) -> Self {
        let before = clients(daemon, name);
        let connection = Self::connect(&daemon.path(name));
        let (device, outlet) = outlet(name);
        daemon.wait_pipe(device, outlet, |pipe| pipe["clients"].as_array().unwrap().len() > before);
        connection
    }
}

/// The same end of a stream as a file, for helpers that take one.
pub fn file(stream: &UnixStream) -> std::fs::File {
    std::fs::File::from(OwnedFd::from(stream.try_clone().unwrap()))
}

/// Whether the daemon has closed the connection: reading ends, or fails because it was reset.
pub fn is_closed(stream: &UnixStream) -> bool {
    use std::io::Read;
    match (&*stream).read(&mut [0; 1]) {
        Ok(n) => n == 0,
        Err(e) => e.kind() == ErrorKind::ConnectionReset,
    }
}
