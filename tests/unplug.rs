//! A device is pulled out and plugged in again while programs have its FIFOs open. What is the same on every system is in
//! `both/unplug.rs`.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "common/crowd.rs"]
mod crowd;
#[path = "common/vitals.rs"]
mod vitals;

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use common::bytes::records;
use common::witness::Witness;
use common::{Bus, Daemon, read_exactly, wait_for, within};
use crowd::Crowd;
use firmware_mock::DeviceKind::Zero;
use nix::libc::{ENXIO, O_NONBLOCK};
use vitals::{Events, Size, inode};

/// Unplugs before anything is measured.
const WARM: usize = 20;

#[test]
fn programs_that_hold_their_pipes_go_on_after_each_unplug_and_nothing_grows() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", &pipes("hold")));
    let inodes = all_inodes(&daemon);
    let mut events = Events::of(&daemon);
    let traffic = Traffic::through(&daemon);
    let mut warm = None;
    for round in 0..WARM + common::rounds(50) {
        traffic.wait_progress();
        bus.command("unplug zero 50");
        events.wait("detach", "zero");
        events.wait("attach", "zero");
        if round + 1 == WARM {
            traffic.wait_progress();
            warm = Some(Size::of(&daemon));
        }
    }
    traffic.wait_progress();
    warm.unwrap().assert_still_holds(&daemon);
    assert_eq!(daemon.count("zero", "ep_81", "opens"), daemon.status("zero")["sessions"].as_u64().unwrap());
    assert_eq!(all_inodes(&daemon), inodes);
    traffic.end();
}

#[test]
fn with_eof_readers_end_and_come_back_after_each_unplug_and_nothing_grows() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", &pipes("eof")));
    let inodes = all_inodes(&daemon);
    let path = daemon.path("zero/ep_81");
    let mut warm = None;
    for round in 0..WARM + common::rounds(50) {
        let path = path.clone();
        // Opening waits for the device; it does not matter whether that is back already.
        let mut reader = within(common::PATIENCE, || File::open(path).unwrap());
        expect_pattern(&mut reader, 100_000);
        bus.command("unplug zero 50");
        within(common::PATIENCE, move || read_pattern_to_end(&mut reader));
        if round + 1 == WARM {
            daemon.wait_status("zero", |s| s["state"] == "attached");
            warm = Some(Size::of(&daemon));
        }
    }
    daemon.wait_status("zero", |s| s["state"] == "attached");
    warm.unwrap().assert_still_holds(&daemon);
    assert_eq!(all_inodes(&daemon), inodes);
}

#[test]
fn with_eof_who_opens_anew_has_its_first_byte_at_once_whoever_else_is_there() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", &pipes("eof")));
    let path = daemon.path("zero/ep_81");
    let _crowd = Crowd::start();
    for stays in [false, true] {
        let mut reader = within(common::PATIENCE, {
            let path = path.clone();
            move || File::open(path).unwrap()
        });
        reader.read_exact(&mut [0; 512]).unwrap();
        let mut events = Events::of(&daemon);
        bus.command("unplug zero 500");
        let reader = within(common::PATIENCE, move || {
            std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
            reader
        });
        // It may wait for bytes with others that have not closed it, and those that come now do not wait in open(2).
        let reader = stays.then_some(reader);
        let mut next = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(&path).unwrap();
        events.wait("attach", "zero");
        let witness = Witness::start();
        let mut byte = [0];
        while !matches!(next.read(&mut byte), Ok(1)) {
            witness.assert_within(AT_ONCE);
            sleep(Duration::from_millis(1));
        }
        witness.assert_within(AT_ONCE);
        drop(reader);
    }
}

#[test]
fn with_eof_writers_get_epipe_and_opening_waits_until_the_device_is_back() {
    let bus = Bus::with(&[Zero]);
    let port = bus.port;
    let daemon = Daemon::run(&bus.device("zero", &pipes("eof")));
    let mut writer = daemon.writer("zero/ep_02");
    writer.write_all(b"before").unwrap();
    drop(bus);
    let error = wait_for(|| writer.write(b"away").err(), || "writing goes on".into());
    wait_for(|| is_ended(&daemon.path("zero/ep_81")).then_some(()), || "ep_81 never ended".into());
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    drop(writer);
    assert_eq!(open_at_once(&daemon.path("zero/ep_02")).unwrap_err().raw_os_error(), Some(ENXIO));

    let opened: Vec<(JoinHandle<File>, Arc<AtomicBool>)> = [("ep_02", false), ("ep_81", true)]
        .map(|(name, read)| open_in_time(daemon.path(&format!("zero/{name}")), read))
        .into();
    // A server that closes every connection: several tries later nobody has been let in.
    refuse(port, 5);
    assert!(opened.iter().all(|(_, done)| !done.load(SeqCst)), "open() returned although the device is away");
    assert_eq!(open_at_once(&daemon.path("zero/ep_02")).unwrap_err().raw_os_error(), Some(ENXIO));

    let _bus = Bus::on_port(&[Zero], port);
    let mut files = opened.into_iter().map(|(thread, _)| within(common::PATIENCE, || thread.join().unwrap()));
    let mut writer = files.next().unwrap();
    let mut source = files.next().unwrap();
    expect_pattern(&mut source, 10_000);
    writer.write_all(b"after").unwrap();
    let (_, bytes) = read_exactly(daemon.reader("zero/ep_82"), 5);
    assert_eq!(bytes, b"after");
}

#[test]
fn a_daemon_that_was_started_first_attaches_when_the_server_comes_up_and_leaks_nothing_until_then() {
    let bus = Bus::with(&[Zero]);
    let (port, config) = (bus.port, bus.device("zero", &pipes("hold")));
    drop(bus);
    let mut daemon = Daemon::run_unattached(&config);
    daemon.wait_said("waiting for the device");
    let (descriptors, reader) = (daemon.descriptors(), spawn_reader(&daemon));
    refuse(port, 8);
    wait_for(|| (daemon.descriptors() <= descriptors).then_some(()), || format!("{}", daemon.descriptors()));
    let _bus = Bus::on_port(&[Zero], port);
    assert_eq!(reader.join().unwrap().len(), 1000);
}

/// Pipes with small transfers, so that little is under way.
fn pipes(unplug: &str) -> String {
    let mut text = format!("unplug = \"{unplug}\"\n");
    for endpoint in ["0x81", "0x02", "0x82"] {
        text.push_str(&format!("[[device.pipe]]\nendpoint = {endpoint}\ntransfer = 4096\nqueue = 2\n"));
    }
    text
}

fn all_inodes(daemon: &Daemon) -> Vec<(u64, u64)> {
    ["ep_81", "ep_02", "ep_82", "ep_00.request", "ep_00.response"]
        .map(|n| inode(&daemon.path(&format!("zero/{n}"))))
        .into()
}

/// Threads that read the source, write into the loopback and read from it, and check every byte.
struct Traffic {
    threads: Vec<JoinHandle<()>>,
    progress: Arc<[AtomicU64; 2]>,
    over: Arc<AtomicBool>,
}

impl Traffic {
    fn through(daemon: &Daemon) -> Self {
        let progress: Arc<[AtomicU64; 2]> = Arc::default();
        let over: Arc<AtomicBool> = Arc::default();
        let (mut source, mut back) = (daemon.reader("zero/ep_81"), daemon.reader("zero/ep_82"));
        let mut out = daemon.writer("zero/ep_02");
        let (p, o) = (progress.clone(), over.clone());
        let read_source = spawn(move || {
            while !o.load(SeqCst) {
                expect_pattern(&mut source, 512 * 64);
                p[0].fetch_add(512 * 64, SeqCst);
            }
        });
        let o = over.clone();
        let write = spawn(move || {
            let mut next = 0;
            while !o.load(SeqCst) {
                out.write_all(&records(next, 512)).unwrap();
                next += 512;
            }
        });
        let (p, o) = (progress.clone(), over.clone());
        let read_back = spawn(move || {
            let (mut last, mut bytes) = (None, [0; 4096]);
            while !o.load(SeqCst) {
                back.read_exact(&mut bytes).unwrap();
                for record in bytes.chunks_exact(8) {
                    let record = u64::from_le_bytes(record.try_into().unwrap());
                    assert!(last.is_none_or(|last| record > last), "{record} after {last:?}");
                    last = Some(record);
                }
                p[1].fetch_add(4096, SeqCst);
            }
        });
        Self { threads: vec![read_source, write, read_back], progress, over }
    }

    /// Waits until more has come through both ways than pipes can hold.
    fn wait_progress(&self) {
        let now = || [0, 1].map(|n: usize| self.progress[n].load(SeqCst));
        let before = now();
        let done = || now().iter().zip(before).all(|(now, before)| *now > before + IN_PIPES).then_some(());
        wait_for(done, || format!("from {before:?} to {:?}; failed: {:?}", now(), self.failed()));
    }

    fn failed(&self) -> Vec<bool> {
        self.threads.iter().map(JoinHandle::is_finished).collect()
    }

    /// Ends the threads while bytes still flow, so that none of them is left waiting.
    fn end(self) {
        let Self { threads, over, .. } = self;
        // Readers first: the writer ends as long as somebody reads, or with EPIPE when the daemon ends.
        over.store(true, SeqCst);
        let mut threads = threads.into_iter();
        let (source, write, back) = (threads.next().unwrap(), threads.next().unwrap(), threads.next().unwrap());
        source.join().unwrap();
        back.join().unwrap();
        drop(write);
    }
}

/// Checks the bytes of zero's source; transfers are whole packets, so the pattern never breaks.
fn expect_pattern(source: &mut File, n: usize) {
    let mut bytes = vec![0; n.next_multiple_of(512)];
    source.read_exact(&mut bytes).unwrap();
    assert_pattern(&bytes);
}

fn read_pattern_to_end(source: &mut File) {
    let mut bytes = Vec::new();
    source.read_to_end(&mut bytes).unwrap();
    assert_pattern(&bytes);
}

fn assert_pattern(bytes: &[u8]) {
    let wrong = bytes.iter().enumerate().find(|&(at, &byte)| usize::from(byte) != at % 512 % 63);
    assert_eq!(wrong, None, "of {} bytes", bytes.len());
}

/// Takes this many connections and closes them, as a server does that is about to go down.
fn refuse(port: u16, times: usize) {
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    within(common::PATIENCE, move || (0..times).for_each(|_| drop(listener.accept().unwrap())));
}

/// Whether nobody writes any more: a reader would see the end of file.
fn is_ended(path: &Path) -> bool {
    let mut reader = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path).unwrap();
    matches!(reader.read(&mut [0; 1]), Ok(0))
}

fn open_at_once(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(path)
}

/// Opens on a thread of its own and says when that has been done.
fn open_in_time(path: PathBuf, read: bool) -> (JoinHandle<File>, Arc<AtomicBool>) {
    let done: Arc<AtomicBool> = Arc::default();
    let told = done.clone();
    let thread = spawn(move || {
        let file = OpenOptions::new().read(read).write(!read).open(path).unwrap();
        told.store(true, SeqCst);
        file
    });
    (thread, done)
}

fn spawn_reader(daemon: &Daemon) -> JoinHandle<Vec<u8>> {
    let reader = daemon.reader("zero/ep_81");
    spawn(move || read_exactly(reader, 1000).1)
}

/// Programs that do not leave an ended FIFO are waited for 100 ms.
const AT_ONCE: Duration = Duration::from_millis(400);
/// More than the FIFO and the buffers of a pipe hold in all.
const IN_PIPES: u64 = 300 * 1024;
