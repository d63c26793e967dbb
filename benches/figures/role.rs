//! The plain programs at the far ends. This program plays them itself, in processes of its own: blocking reads and
//! writes, nothing clever, the same for usbpipe and for the reference.
//!
//! Each moves a number of bytes and prints how many nanoseconds passed from its first byte to its last.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::Process;

/// The first argument of a process that plays a role.
pub(crate) const MARK: &str = "--role";

/// Reads a FIFO as `cat >/dev/null` does.
pub(crate) fn reader(fifo: &Path, bytes: u64) -> Process {
    role("read", &fifo.display().to_string(), bytes, Stdio::null())
}

/// Writes the pattern into a FIFO.
pub(crate) fn writer(fifo: &Path, bytes: u64) -> Process {
    role("write", &fifo.display().to_string(), bytes, Stdio::null())
}

/// Sends the pattern to whoever connects.
pub(crate) fn sender(listener: TcpListener, bytes: u64) -> Process {
    role("send", "-", bytes, OwnedFd::from(listener).into())
}

/// Takes bytes from whoever connects, and checks the pattern as the simulated sink does.
pub(crate) fn receiver(listener: TcpListener, bytes: u64) -> Process {
    role("receive", "-", bytes, OwnedFd::from(listener).into())
}

/// Reads what a Unix socket has for whoever connects.
pub(crate) fn client(socket: &Path, bytes: u64) -> Process {
    role("connect", &socket.display().to_string(), bytes, Stdio::null())
}

/// Reads from a TCP address and writes it to so many Unix connections, given as `address/connections`.
pub(crate) fn sharer(connections: UnixListener, from: &str, bytes: u64) -> Process {
    role("share", from, bytes, OwnedFd::from(connections).into())
}

/// Writes the pattern into what it has as stdin, a terminal's end.
pub(crate) fn feeder(end: OwnedFd, bytes: u64) -> Process {
    role("feed", "-", bytes, end.into())
}

/// Reads what it has as stdin.
pub(crate) fn drainer(end: OwnedFd, bytes: u64) -> Process {
    role("drain", "-", bytes, end.into())
}

/// Sends back what comes from stdin, until it is killed.
pub(crate) fn echo(end: OwnedFd) -> Process {
    role("echo", "-", u64::MAX, end.into())
}

/// Waits for its end and gives the time it measured.
pub(crate) fn finish(mut process: Process) -> Duration {
    let mut printed = String::new();
    process.0.stdout.take().expect("it is a pipe").read_to_string(&mut printed).expect("text");
    process.finish();
    Duration::from_nanos(printed.trim().parse().expect("nanoseconds"))
}

fn role(name: &str, path: &str, bytes: u64, stdin: Stdio) -> Process {
    let program = std::env::current_exe().expect("known on Linux");
    let args = [MARK, name, path, &bytes.to_string()];
    Process::start(Command::new(program).args(args).stdin(stdin).stdout(Stdio::piped()))
}

/// The body of a process that plays a role.
pub(crate) fn play(args: &[String]) {
    let [name, path, bytes] = args else { panic!("a role, a path and a number of bytes") };
    let bytes: u64 = bytes.parse().expect("a number of bytes");
    let time = match name.as_str() {
        "read" => take(File::open(path).expect("opened"), bytes, |_, _| {}),
        "write" => give(OpenOptions::new().write(true).open(path).expect("opened"), FIFO_WRITE, bytes),
        "feed" => give(stdin(), FIFO_WRITE, bytes),
        "drain" => take(stdin(), bytes, |_, _| {}),
        "echo" => {
            let end = stdin();
            take(&end, bytes, |_, chunk| (&end).write_all(chunk).expect("written"))
        }
        "send" => give(accept(), TCP_WRITE, bytes),
        "receive" => {
            let pattern = pattern(PACKET + CHUNK);
            take(accept(), bytes, |at, chunk| {
                let from = (at % PACKET as u64) as usize;
                assert!(chunk == &pattern[from..from + chunk.len()], "wrong bytes within {} of {at}", chunk.len());
            })
        }
        "connect" => take(UnixStream::connect(path).expect("connected"), bytes, |_, _| {}),
        "share" => share(path, bytes),
        other => panic!("there is no role {other:?}"),
    };
    let _ = writeln!(std::io::stdout(), "{}", time.as_nanos());
}

fn take(mut source: impl Read, bytes: u64, look: impl Fn(u64, &[u8])) -> Duration {
    let mut buffer = vec![0; CHUNK];
    let (mut taken, mut start) = (0, None);
    while taken < bytes {
        let n = source.read(&mut buffer).expect("read");
        assert!(n > 0, "ended after {taken} bytes");
        look(taken, &buffer[..n]);
        start = start.or_else(|| Some(Instant::now()));
        taken += n as u64;
    }
    start.map_or(Duration::ZERO, |start| start.elapsed())
}

fn give(mut sink: impl Write, chunk: usize, bytes: u64) -> Duration {
    let pattern = pattern(chunk);
    let start = Instant::now();
    for _ in 0..bytes / chunk as u64 {
        sink.write_all(&pattern).expect("written");
    }
    start.elapsed()
}

/// Waits for all connections first, so that each gets all.
fn share(from: &str, bytes: u64) -> Duration {
    let (address, connections) = from.split_once('/').expect("an address and a number");
    // SAFETY: descriptor 0 is the listener that the parent gave, and nothing else here uses it.
    let listener = UnixListener::from(unsafe { OwnedFd::from_raw_fd(0) });
    let connections = (0..connections.parse().expect("a number")).map(|_| listener.accept().expect("a connection").0);
    let mut connections: Vec<UnixStream> = connections.collect();
    let mut source = TcpStream::connect(address).expect("connected");
    let (mut buffer, mut left, start) = (vec![0; FIFO_WRITE], bytes as usize, Instant::now());
    while left > 0 {
        let n = source.read(&mut buffer).expect("read");
        assert!(n > 0, "ended {left} bytes too early");
        for connection in &mut connections {
            connection.write_all(&buffer[..n]).expect("written");
        }
        left -= n.min(left);
    }
    start.elapsed()
}

/// What came as stdin, for both directions.
fn stdin() -> File {
    // SAFETY: descriptor 0 is what the parent gave, and nothing else here uses it.
    unsafe { OwnedFd::from_raw_fd(0) }.into()
}

/// One connection to the listener that came as stdin.
fn accept() -> TcpStream {
    // SAFETY: descriptor 0 is the listener that the parent gave, and nothing else here uses it.
    let listener = TcpListener::from(unsafe { OwnedFd::from_raw_fd(0) });
    listener.accept().expect("a connection").0
}

/// The bytes n mod 63, n counted from the start of each packet: what `zero` sends and expects.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n % PACKET % 63) as u8).collect()
}

const PACKET: usize = 512;
const CHUNK: usize = 128 * 1024;
const FIFO_WRITE: usize = 64 * 1024;
/// Long writes: the reference shall not wait for its sender.
const TCP_WRITE: usize = 256 * 1024;
