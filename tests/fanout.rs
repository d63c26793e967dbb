//! Several readers of one pipe: each gets its own copy, and one that does not keep up costs the others no more than
//! `patience` and itself no more than `status` says.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
#[path = "common/sockets.rs"]
mod sockets;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::bytes::{assert_same, pattern, random};
use common::witness::Witness;
use common::zero::{self, pipe};
use common::{Bus, Daemon, SHARED, kill, read_exactly, wait_for};
use nix::sys::signal::Signal::{SIGCONT, SIGSTOP};
use serde_json::Value;
use sockets::{connect_stream, file};

/// The loopback with these settings of its IN end.
fn loopback(back: &str) -> (Bus, Daemon) {
    zero::loopback("", &format!("{SHARED}\n{back}"))
}

/// The clients of an outlet, as `status` shows them.
fn clients(daemon: &Daemon, outlet: &str) -> Vec<Value> {
    daemon.pipe("zero", outlet)["clients"].as_array().unwrap().clone()
}

fn wait_clients(daemon: &Daemon, outlet: &str, n: usize) {
    daemon.wait_pipe("zero", outlet, |pipe| pipe["clients"].as_array().unwrap().len() == n);
}

#[test]
fn a_socket_and_the_fifo_get_the_same_bytes_each_its_own_copy() {
    let (_bus, daemon) = loopback("");
    let (fifo, client) = (daemon.reader("zero/ep_82"), connect_stream(&daemon, "zero/ep_82.sock"));
    wait_clients(&daemon, "ep_82", 2);
    let sent = random(3_000_000, 1);
    let mut out = daemon.writer("zero/ep_02");
    let (fifo, client) = thread::scope(|scope| {
        let fifo = scope.spawn(|| read_exactly(fifo, sent.len()).1);
        let client = scope.spawn(|| read_exactly(file(&client), sent.len()).1);
        scope.spawn(|| out.write_all(&sent).unwrap());
        (fifo.join().unwrap(), client.join().unwrap())
    });
    assert_same(&sent, &fifo, 0);
    assert_same(&sent, &client, 0);
}

#[test]
fn what_arrives_just_after_the_fifo_was_opened_is_for_its_reader_too() {
    let (bus, daemon) = loopback("");
    let client = connect_stream(&daemon, "zero/ep_82.sock");
    wait_clients(&daemon, "ep_82", 1);
    let mut out = daemon.writer("zero/ep_02");
    bus.command("delay zero ep_82 1000");
    // The daemon stands still between the opening and the event that says so; and then both events are there at once.
    let late = wait_for(
        || {
            out.write_all(b"ping").unwrap();
            daemon.wait_count("zero", "ep_02", "transfers", 1);
            daemon.signal(SIGSTOP);
            let arrived = bytes_from(bus.port) > 0;
            let fifo = daemon.reader("zero/ep_82");
            wait_for(|| (bytes_from(bus.port) > 0).then_some(()), || "nothing comes".to_owned());
            daemon.signal(SIGCONT);
            let (_, bytes) = read_exactly(file(&client), 4);
            assert_eq!(bytes, b"ping");
            // On a machine that is slow enough it had come before.
            (!arrived).then_some(fifo)
        },
        || "the answer always came first".to_owned(),
    );
    assert_eq!(read_exactly(late, 4).1, b"ping");
}

/// Bytes that this machine has received from a server on this port and no program has taken, as the kernel lists them.
fn bytes_from(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let connections = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let from = connections.filter(|fields| fields[2].ends_with(&format!(":{port:04X}")));
    from.map(|fields| usize::from_str_radix(fields[4].split_once(':').unwrap().1, 16).unwrap()).sum()
}

#[test]
fn thirty_two_clients_and_a_fifo_get_every_byte_and_one_that_stops_delays_them_no_longer_than_patience() {
    const EACH: usize = 4 << 20;
    let (_bus, daemon) = zero::zero(&pipe("0x81", &format!("{SHARED}\npatience = \"500ms\"")));
    let readers: Vec<File> = (0..31)
        .map(|_| file(&UnixStream::connect(daemon.path("zero/ep_81.sock")).unwrap()))
        .chain([daemon.reader("zero/ep_81")])
        .collect();
    let victim = Stopped::reading(&connect_stream(&daemon, "zero/ep_81.sock"));
    wait_clients(&daemon, "ep_81", 33);
    let witness = Witness::start();
    let longest = thread::scope(|scope| {
        let running: Vec<_> = readers.into_iter().map(|r| scope.spawn(|| follow_pattern(r, EACH))).collect();
        running.into_iter().map(|reader| reader.join().unwrap()).max().unwrap()
    });
    let kept = witness.kept();
    assert!(
        longest < Duration::from_millis(1500) + kept,
        "somebody waited for {longest:?}, {kept:?} of it for this machine"
    );
    let told = daemon.pipe("zero", "ep_81");
    let clients = told["clients"].as_array().unwrap();
    let lost: Vec<u64> = clients.iter().map(|c| c["lost_bytes"].as_u64().unwrap()).collect();
    // The others are gone by now, or about to go: nobody else has ever lost anything.
    assert!(lost.iter().filter(|&&n| n > 0).count() == 1, "{lost:?}");
    assert_eq!(told["lost_bytes"], *lost.iter().max().unwrap());
    drop(victim);
}

/// Reads `n` bytes of gadget zero's pattern, and tells the longest time between two reads.
fn follow_pattern(mut source: File, n: usize) -> Duration {
    let two_rounds = pattern(512 + 65536);
    let (mut at, mut buffer, mut longest) = (0, vec![0; 65536], Duration::ZERO);
    while at < n {
        let start = Instant::now();
        let got = source.read(&mut buffer).unwrap();
        longest = longest.max(start.elapsed());
        assert!(got > 0, "the end after {at} bytes");
        assert_same(&two_rounds[at % 512..at % 512 + got], &buffer[..got], at);
        at += got;
    }
    longest
}

/// `cat`, stopped before it read anything.
struct Stopped(Child);

impl Stopped {
    fn reading(stream: &UnixStream) -> Self {
        Self::with_output(stream, Stdio::null())
    }

    fn with_output(stream: &UnixStream, output: Stdio) -> Self {
        let child =
            Command::new("cat").stdin(OwnedFd::from(stream.try_clone().unwrap())).stdout(output).spawn().unwrap();
        kill(child.id(), SIGSTOP);
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        wait_for(|| state().contains(") T ").then_some(()), state);
        Self(child)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Numbers, four bytes each.
fn numbers(n: u32) -> Vec<u8> {
    (0..n).flat_map(u32::to_le_bytes).collect()
}

#[test]
fn a_reader_that_was_stopped_goes_on_and_has_lost_what_status_says_and_nothing_else() {
    let (_bus, daemon) = loopback("patience = \"100ms\"\ntransfer = 4096");
    let sent = numbers(1 << 20);
    let quick = connect_stream(&daemon, "zero/ep_82.sock");
    let slow = connect_stream(&daemon, "zero/ep_82.sock");
    let mut stopped = Stopped::with_output(&slow, Stdio::piped());
    drop(slow);
    let mut out = daemon.writer("zero/ep_02");
    let mut output = stopped.0.stdout.take().unwrap();
    let got = thread::scope(|scope| {
        let all = scope.spawn(|| read_exactly(file(&quick), sent.len()).1);
        scope.spawn(|| sent.chunks(4096).for_each(|part| out.write_all(part).unwrap()));
        assert_same(&sent, &all.join().unwrap(), 0);
        let slow_one = || clients(&daemon, "ep_82")[1].clone();
        assert!(slow_one()["lost_bytes"].as_u64().unwrap() > 0, "{}", slow_one());
        // It goes on, and gets what waits for it and whatever comes then.
        kill(stopped.0.id(), SIGCONT);
        let expected = sent.len() as u64 - slow_one()["lost_bytes"].as_u64().unwrap();
        let mut got = vec![0; expected as usize];
        output.read_exact(&mut got).unwrap();
        got
    });
    let slow_one = clients(&daemon, "ep_82")[1].clone();
    assert_eq!(got.len() as u64 + slow_one["lost_bytes"].as_u64().unwrap(), sent.len() as u64, "{slow_one}");
    assert_eq!(slow_one["lost_transfers"].as_u64().unwrap() * 4096, slow_one["lost_bytes"].as_u64().unwrap());
    // What it got is whole transfers, in order.
    let places: Vec<u32> = got.chunks(4096).map(|t| u32::from_le_bytes(t[..4].try_into().unwrap())).collect();
    assert!(places.is_sorted());
    for (transfer, place) in got.chunks(4096).zip(places) {
        assert_same(&sent[place as usize * 4..][..4096], transfer, place as usize * 4);
    }
    out.write_all(b"news").unwrap();
    let mut news = [0; 4];
    output.read_exact(&mut news).unwrap();
    assert_eq!(&news, b"news", "it has caught up");
}

#[test]
fn status_shows_who_reads_what_and_the_fifo_too() {
    let (_bus, daemon) = loopback("");
    let (client, fifo) = (connect_stream(&daemon, "zero/ep_82.sock"), daemon.reader("zero/ep_82"));
    wait_clients(&daemon, "ep_82", 2);
    daemon.writer("zero/ep_02").write_all(b"hello").unwrap();
    assert_eq!(read_exactly(file(&client), 5).1, b"hello");
    assert_eq!(read_exactly(fifo.try_clone().unwrap(), 5).1, b"hello");
    let shown = clients(&daemon, "ep_82");
    assert_eq!((&shown[0]["kind"], &shown[0]["bytes"]), (&"fifo".into(), &5.into()));
    let seen = |pid: u32| (clients(&daemon, "ep_82")[0]["pid"] == pid).then_some(());
    // This process opened the FIFO; then another does, while the client stays.
    wait_for(|| seen(std::process::id()), || daemon.pipe("zero", "ep_82").to_string());
    drop(fifo);
    wait_clients(&daemon, "ep_82", 1);
    let mut cat = Command::new("cat").arg(daemon.path("zero/ep_82")).stdout(Stdio::null()).spawn().unwrap();
    wait_for(|| seen(cat.id()), || daemon.pipe("zero", "ep_82").to_string());
    assert_eq!(clients(&daemon, "ep_82")[0]["command"], "cat");
    cat.kill().unwrap();
    cat.wait().unwrap();
    assert_eq!((&shown[1]["kind"], &shown[1]["pid"]), (&"socket".into(), &std::process::id().into()));
    assert_eq!((&shown[1]["bytes"], &shown[1]["lost_bytes"]), (&5.into(), &0.into()));
    assert_eq!(shown[1]["uid"], nix::unistd::getuid().as_raw());
    let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
    assert_eq!(shown[1]["command"], comm.trim_end());
    let text = String::from_utf8(daemon.ask(&["status"]).stdout).unwrap();
    let line = text.lines().find(|l| l.contains(&format!("pid={}", std::process::id()))).unwrap();
    assert!(line.contains("socket") && line.contains(comm.trim_end()) && line.contains("bytes=5"), "{line}");
    drop(client);
    wait_clients(&daemon, "ep_82", 0);
}

#[test]
fn what_the_last_client_leaves_waits_for_the_fifo_and_a_new_client_gets_only_what_is_new() {
    let (_bus, daemon) = loopback("transfer = 512");
    let mut out = daemon.writer("zero/ep_02");
    let mut fifo = daemon.reader("zero/ep_82");
    out.write_all(b"first ").unwrap();
    daemon.wait_count("zero", "ep_82", "bytes", 6);
    let got = read_exactly(fifo, 3);
    assert_eq!(got.1, b"fir");
    fifo = got.0;
    drop(fifo);
    daemon.wait_pipe("zero", "ep_82", |pipe| pipe["open"] == false);
    let client = connect_stream(&daemon, "zero/ep_82.sock");
    daemon.wait_pipe("zero", "ep_82", |pipe| pipe["open"] == true);
    out.write_all(b"second").unwrap();
    assert_eq!(read_exactly(file(&client), 6).1, b"second");
    assert_eq!(read_exactly(daemon.reader("zero/ep_82"), 3).1, b"st ");
}
