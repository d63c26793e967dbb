//! Thousands of sessions with USB/IP servers that lie, beside honest devices of the same daemon: nothing hangs, nothing spins,
//! nothing is left behind.
//!
//! `USBPIPE_SESSIONS` says how many, `USBPIPE_SEED` repeats a run with the seed that it printed, and `USBPIPE_SESSION` repeats
//! one session of it over and over.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;
#[path = "common/liar.rs"]
mod liar;
#[path = "common/urbs.rs"]
mod urbs;
#[path = "common/vitals.rs"]
mod vitals;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::witness::Witness;
use common::{Bus, Daemon, PATIENCE, progressed, read_exactly, read_line, wait_for};
use firmware_mock::DeviceKind::{Knob, Regs, Tone, Uno, Zero};
use liar::{Kind, Random, Session};
use nix::fcntl::OFlag;
use serde_json::Value;
use vitals::cpu_ticks;

/// Servers at once.
const SERVERS: usize = 24;
/// A pipe takes little memory then, even if its endpoint claims to be isochronous and to move much.
const BUFFER: &str = "buffer = \"50ms\"\n";
/// Sessions until memory and descriptors are what they will be.
const WARM: u64 = 400;
/// `flush` and 2 s.
const END: Duration = Duration::from_secs(3);

#[test]
fn servers_that_lie_cost_their_own_sessions_alone() {
    let sessions = number("USBPIPE_SESSIONS").unwrap_or(1000);
    let seed =
        number("USBPIPE_SEED").unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs());
    println!("seed {seed}, {sessions} sessions");
    let bus = Bus::with(&[Zero, Knob, Tone, Uno, Regs]);
    let mut servers = Servers::new(seed);
    let mut daemon = Daemon::run_unattached(&format!("{}{}", honest(&bus), servers.config()));
    for name in ["zero", "knob", "tone", "uno", "regs"] {
        daemon.wait_status(name, |status| status["state"] == "attached");
    }
    let echo = Echo::start(&daemon);
    let programs = Programs::start(&daemon);
    let users: [&AtomicBool; 2] = [&echo.paused, &programs.paused];
    let warm = WARM + sessions / 10;
    let before = servers.until(&daemon, users, warm);
    let after = servers.until(&daemon, users, warm + sessions);
    println!("{} sessions of {} kinds: before {before:?}, after {after:?}", servers.count(), servers.kinds());
    assert!(after.sockets <= before.sockets + FEW, "connections are left open");
    assert!(after.descriptors <= before.descriptors + 2 * SERVERS, "descriptors are left open");
    assert!(after.kib <= before.kib + 8192, "memory has grown");
    let panics: Vec<&String> = daemon.said().iter().filter(|line| line.contains("internal error")).collect();
    assert!(panics.is_empty(), "{panics:?}");
    programs.paused.store(false, SeqCst);
    servers.assert_all_pipes_go_on(&daemon);
    let echoes = echo.end();
    println!("{echoes} echoes of the honest device meanwhile");
    assert_all_outlets_work(&daemon);
    // In the middle of it.
    servers.start();
    servers.wait(&daemon, servers.count() + 50);
    let witness = Witness::start();
    assert!(daemon.end().success(), "{:?}", daemon.said());
    witness.assert_within(END);
}

/// A few connections come and go. A FIFO takes a descriptor more while something waits in it or for it.
const FEW: usize = 4;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|e| panic!("${name}: {e}")))
}

fn honest(bus: &Bus) -> String {
    let tone = "[[device.pipe]]\nendpoint = 0x83\n[[device.pipe]]\nendpoint = 0x03\n";
    let plain = ["zero", "knob", "regs"].map(|name| bus.device(name, "")).concat();
    format!("{plain}{}{}", bus.device("tone", tone), bus.device("uno", "[device.serial]\n"))
}

/// What a daemon takes when nothing happens.
#[derive(Debug)]
struct Size {
    sockets: usize,
    descriptors: usize,
    kib: u64,
}

impl Size {
    /// Waits until the daemon does little more than to look for the servers once a second.
    fn at_rest(daemon: &Daemon) -> Self {
        let pid = daemon.child.id();
        let rests = || {
            let before = cpu_ticks(pid);
            let samples = (0..100).map(|_| {
                sleep(Duration::from_millis(10));
                (sockets(pid), daemon.descriptors())
            });
            // A connection that is refused is a descriptor, too.
            let (sockets, descriptors) = samples.min().unwrap();
            let is_calm = cpu_ticks(pid) - before < 20;
            is_calm.then(|| Self { sockets, descriptors, kib: daemon.proc_status("VmRSS") })
        };
        wait_for(rests, || format!("the daemon does not come to rest: {} ticks so far", cpu_ticks(pid)))
    }
}

fn sockets(pid: u32) -> usize {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten().map(|entry| fs::read_link(entry.path()));
    links.flatten().filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

/// Servers on ports of their own, and the sessions that they have had.
struct Servers {
    ports: Vec<u16>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    seed: u64,
    /// Of every session, to repeat it.
    only: Option<u64>,
    number: AtomicU64,
    over: AtomicBool,
    honest: AtomicBool,
    /// The last session of each server: its number, its kind, and when it began.
    last: Mutex<Vec<(u64, Option<Kind>, Instant)>>,
    kinds: Mutex<Vec<Kind>>,
}

impl Servers {
    fn new(seed: u64) -> Self {
        let ports = (0..SERVERS).map(|_| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
        let shared = Shared {
            seed,
            only: number("USBPIPE_SESSION"),
            number: AtomicU64::new(0),
            over: AtomicBool::new(false),
            honest: AtomicBool::new(false),
            last: Mutex::new(vec![(0, None, Instant::now()); SERVERS]),
            kinds: Mutex::default(),
        };
        Self { ports: ports.collect(), shared: Arc::new(shared), threads: Vec::new() }
    }

    fn config(&self) -> String {
        let pipe = |address: u8, rest: &str| {
            let buffer = if address & 0x80 != 0 { BUFFER } else { "" };
            format!("[[device.pipe]]\nendpoint = {address:#04x}\nqueue = 4\n{buffer}{rest}")
        };
        let plain = [0x81, 0x02, 0x83, 0x04].map(|address| pipe(address, "transfer = 16384\n")).concat();
        let pipes = plain + &[0x85, 0x06].map(|address| pipe(address, "interface = 1\nalt = 1\n")).concat();
        let device = |(n, port): (usize, &u16)| {
            let remote = format!("remote = \"usbip://127.0.0.1:{port}/1-1\"");
            format!("[[device]]\nname = \"{}\"\n{remote}\ntimeout = \"300ms\"\n{pipes}", name(n))
        };
        self.ports.iter().enumerate().map(device).collect()
    }

    fn start(&mut self) {
        self.shared.over.store(false, SeqCst);
        for (n, &port) in self.ports.iter().enumerate() {
            let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
            listener.set_nonblocking(true).unwrap();
            self.shared.last.lock().unwrap()[n].2 = Instant::now();
            let shared = self.shared.clone();
            self.threads.push(spawn(move || shared.serve(n, &listener)));
        }
    }

    /// From now on connections are refused.
    fn stop(&mut self) {
        self.shared.over.store(true, SeqCst);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }

    /// Lies until so many sessions have been, and says what the daemon takes when all is quiet.
    fn until(&mut self, daemon: &Daemon, users: [&AtomicBool; 2], sessions: u64) -> Size {
        users.iter().for_each(|paused| paused.store(false, SeqCst));
        self.start();
        self.wait(daemon, sessions);
        self.stop();
        users.iter().for_each(|paused| paused.store(true, SeqCst));
        let is_away = |n| daemon.status(&name(n))["state"] != "attached";
        wait_for(|| (0..SERVERS).all(is_away).then_some(()), || "some servers' devices stay".into());
        Size::at_rest(daemon)
    }

    /// Has every server keep to the protocol, and waits until each of their pipes has moved something.
    fn assert_all_pipes_go_on(&mut self, daemon: &Daemon) {
        let before = transfers(daemon);
        self.shared.honest.store(true, SeqCst);
        self.start();
        let still = || {
            let now = transfers(daemon);
            before
                .iter()
                .filter(|(pipe, count)| now[*pipe] <= **count)
                .map(|(pipe, _)| pipe.clone())
                .collect::<Vec<_>>()
        };
        wait_for(
            || still().is_empty().then_some(()),
            || format!("pipes of servers that are honest now: {:?}", still()),
        );
        self.stop();
        self.shared.honest.store(false, SeqCst);
    }

    /// Waits until so many sessions have been, and fails when a server is not asked any more.
    fn wait(&self, daemon: &Daemon, sessions: u64) {
        while self.count() < sessions {
            sleep(Duration::from_millis(50));
            progressed();
            let last = self.shared.last.lock().unwrap().clone();
            for (n, (session, kind, began)) in last.into_iter().enumerate() {
                assert!(
                    began.elapsed() < PATIENCE,
                    "after session {session} of seed {} ({kind:?}) nothing comes: {}",
                    self.shared.seed,
                    daemon.status(&name(n))
                );
            }
        }
    }

    fn count(&self) -> u64 {
        self.shared.number.load(SeqCst)
    }

    fn kinds(&self) -> usize {
        self.shared.kinds.lock().unwrap().len()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn serve(&self, n: usize, listener: &TcpListener) {
        while !self.over.load(SeqCst) {
            let Ok((stream, _)) = listener.accept() else {
                sleep(Duration::from_millis(1));
                continue;
            };
            stream.set_nonblocking(false).unwrap();
            let number = self.number.fetch_add(1, SeqCst);
            let seed = Random(self.seed).nth(self.only.unwrap_or(number));
            let session = if self.honest.load(SeqCst) { Session::honest(seed) } else { Session::new(seed) };
            self.last.lock().unwrap()[n] = (self.only.unwrap_or(number), Some(session.kind), Instant::now());
            let mut kinds = self.kinds.lock().unwrap();
            if !kinds.contains(&session.kind) {
                kinds.push(session.kind);
            }
            drop(kinds);
            // Whoever is lied to may go.
            let _ = session.run(stream);
        }
    }
}

/// The transfers of each pipe of the servers' devices so far.
fn transfers(daemon: &Daemon) -> BTreeMap<String, u64> {
    let output = daemon.ask(&["status", "--json"]);
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    let devices = all.as_array().unwrap().iter().filter(|device| device["name"].as_str().unwrap().starts_with("liar"));
    let pipes = devices.flat_map(|device| {
        let name = |pipe: &Value| format!("{}/{}", device["name"].as_str().unwrap(), pipe["outlet"].as_str().unwrap());
        device["pipes"].as_array().unwrap().iter().map(move |pipe| (name(pipe), pipe["transfers"].as_u64().unwrap()))
    });
    pipes.collect()
}

fn name(n: usize) -> String {
    format!("liar-{n}")
}

/// Programs that have the outlets of lying devices open, read and write, and come and go.
struct Programs {
    paused: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Program {
    path: PathBuf,
    reads: bool,
    file: Option<File>,
}

impl Programs {
    fn start(daemon: &Daemon) -> Self {
        let mut programs = Vec::new();
        for n in 0..SERVERS {
            for outlet in ["ep_81", "ep_83", "ep_85", "ep_00.response"] {
                programs.push(Program { path: daemon.path(&format!("{}/{outlet}", name(n))), reads: true, file: None });
            }
            for outlet in ["ep_02", "ep_04", "ep_06", "ep_00.request"] {
                programs.push(Program {
                    path: daemon.path(&format!("{}/{outlet}", name(n))),
                    reads: false,
                    file: None,
                });
            }
        }
        let (paused, over) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (is_paused, is_over) = (paused.clone(), over.clone());
        let thread = spawn(move || {
            let mut random = Random(1);
            while !is_over.load(SeqCst) {
                sleep(Duration::from_millis(5));
                match is_paused.load(SeqCst) {
                    true => programs.iter_mut().for_each(|program| program.file = None),
                    false => programs.iter_mut().for_each(|program| program.act(&mut random)),
                }
            }
        });
        Self { paused, over, thread: Some(thread) }
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
        let _ = self.thread.take().unwrap().join();
    }
}

impl Program {
    fn act(&mut self, random: &mut Random) {
        if random.one_in(40) {
            self.file = None;
        }
        if self.file.is_none() && random.one_in(4) {
            let flags = OFlag::O_NONBLOCK.bits();
            let (reads, path) = (self.reads, &self.path);
            self.file = OpenOptions::new().read(reads).write(!reads).custom_flags(flags).open(path).ok();
        }
        let Some(file) = &mut self.file else { return };
        // What there is, or as much as there is room for.
        if self.reads {
            let _ = file.read(&mut [0; 65536]);
        } else if self.path.ends_with("ep_00.request") {
            let _ = random.one_in(10) && file.write(b"in 0x80 6 0x0100 0 18\n").is_ok();
        } else {
            let _ = file.write(&vec![7; random.below(65536)]);
        }
    }
}

/// Bytes that go to an honest device and come back, all the time.
struct Echo {
    paused: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Echo {
    fn start(daemon: &Daemon) -> Self {
        let (mut there, mut back) = (daemon.writer("zero/ep_02"), daemon.reader("zero/ep_82"));
        let (paused, over, count) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default(), Arc::default());
        let (is_paused, is_over) = (paused.clone(), over.clone());
        let counted: Arc<AtomicU64> = Arc::clone(&count);
        let thread = spawn(move || {
            while !is_over.load(SeqCst) {
                sleep(Duration::from_millis(5));
                if is_paused.load(SeqCst) {
                    continue;
                }
                there.write_all(&[3; 100]).unwrap();
                let bytes;
                (back, bytes) = read_exactly(back, 100);
                assert_eq!(bytes, [3; 100]);
                counted.fetch_add(1, SeqCst);
            }
        });
        Self { paused, over, count, thread }
    }

    fn end(self) -> u64 {
        self.over.store(true, SeqCst);
        self.thread.join().unwrap();
        self.count.load(SeqCst)
    }
}

/// Those of the honest devices, one after the other.
fn assert_all_outlets_work(daemon: &Daemon) {
    let (_, source) = read_exactly(daemon.reader("zero/ep_81"), 512 * 100);
    assert!(source.iter().enumerate().all(|(n, &byte)| usize::from(byte) == n % 512 % 63));
    daemon.writer("zero/ep_01").write_all(&source).unwrap();
    daemon.wait_count("zero", "ep_01", "bytes", source.len() as u64);
    daemon.writer("zero/ep_02").write_all(b"there and back").unwrap();
    assert_eq!(read_exactly(daemon.reader("zero/ep_82"), 14).1, b"there and back");
    daemon.writer("knob/ep_01").write_all(&[5]).unwrap();
    let report = || read_exactly(daemon.reader("knob/ep_81"), 8).1;
    wait_for(|| (report()[6] == 5).then_some(()), || "the buttons are not pressed".into());
    assert_eq!(read_exactly(daemon.reader("tone/ep_83"), 192 * 100).1.len(), 192 * 100);
    daemon.writer("tone/ep_03").write_all(&[0; 192 * 100]).unwrap();
    daemon.wait_pipe("tone", "ep_03", |pipe| pipe["bytes"] == 192 * 100);
    let (answers, mut lines) = (daemon.reader("uno/serial.rx"), daemon.writer("uno/serial.tx"));
    lines.write_all(b"PING all\n").unwrap();
    while read_line(&answers) != "PONG all" {}
    assert_eq!(daemon.answer(&["control", "regs", "out", "0x40", "1", "0", "0", "2a"]), "ok");
    assert_eq!(daemon.answer(&["control", "regs", "in", "0xc0", "2", "0", "0", "1"]), "ok 2a");
    for name in ["zero", "knob", "tone", "uno", "regs"] {
        assert_eq!(daemon.status(name)["sessions"], 1, "{name}");
    }
}
