//! Numbered records through a device that sends back what it gets: written by one thread, read and held against the numbers by
//! another. Readers come and go, and stop now and then.
//!
//! What was written after the last fault of a device had been overcome must come back whole and in order. What was under way
//! before that may be lost, or come twice, but no more than pipes, transfers and the device hold.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::PROBE;
use crate::common::PATIENCE;
use crate::random::Random;

/// One device that is written to and read from.
pub(crate) struct Stream {
    pub(crate) name: String,
    /// Records that were written, or are about to be.
    written: AtomicU64,
    /// The number that is expected next.
    next: AtomicU64,
    read: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) doubled: AtomicU64,
    pub(crate) reopened: AtomicU64,
    /// Whether a fault is under way.
    is_disturbed: AtomicBool,
    /// What is below this may have met a fault.
    fence: AtomicU64,
    wrong: Mutex<Option<String>>,
    stop: AtomicBool,
    over: AtomicBool,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Stream {
    /// Starts one, if the device sends back what it gets.
    pub(crate) fn of(dir: &Path, name: &str, seed: u64) -> Option<Arc<Self>> {
        let (out, back) = match name.split('-').next()? {
            "zero" if name != PROBE => ("ep_02", "ep_82"),
            "echo" => ("serial.tx", "serial.rx"),
            _ => return None,
        };
        let stream = Arc::new(Self {
            name: name.to_owned(),
            written: AtomicU64::new(0),
            next: AtomicU64::new(0),
            read: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            doubled: AtomicU64::new(0),
            reopened: AtomicU64::new(0),
            is_disturbed: AtomicBool::new(false),
            fence: AtomicU64::new(0),
            wrong: Mutex::default(),
            stop: AtomicBool::new(false),
            over: AtomicBool::new(false),
            threads: Mutex::default(),
        });
        let at = |outlet: &str| dir.join(name).join(outlet);
        let (out, back) = (at(out), at(back));
        let (writes, reads) = (stream.clone(), stream.clone());
        let random = |what: &str| Random::new(seed, &format!("{name} {what}"));
        let (for_writer, for_reader) = (random("writer"), random("reader"));
        let threads =
            [spawn(move || writes.write_all(&out, for_writer)), spawn(move || reads.read_all(&back, for_reader))];
        *stream.threads.lock().unwrap() = threads.into();
        Some(stream)
    }

    /// Records that came back.
    pub(crate) fn read(&self) -> u64 {
        self.read.load(SeqCst)
    }

    /// A fault of the device begins.
    pub(crate) fn disturb(&self) {
        self.is_disturbed.store(true, SeqCst);
    }

    /// It is overcome: what is written from now on must come.
    pub(crate) fn recovered(&self) {
        self.fence.store(self.written.load(SeqCst), SeqCst);
        self.is_disturbed.store(false, SeqCst);
    }

    /// Fails if anything went wrong so far, and says more about that.
    pub(crate) fn check(&self, more: impl FnOnce() -> String) {
        if let Some(wrong) = self.wrong.lock().unwrap().clone() {
            panic!("{}: {wrong}; {}", self.name, more());
        }
    }

    pub(crate) fn stop_writing(&self) {
        self.stop.store(true, SeqCst);
    }

    /// Waits until all that was written has come back, as long as more comes, and ends the threads.
    pub(crate) fn finish(&self) {
        let (mut last, mut since) = (self.read(), Instant::now());
        while self.next.load(SeqCst) < self.written.load(SeqCst) {
            self.check(String::new);
            if self.read() > last {
                (last, since) = (self.read(), Instant::now());
            }
            let (next, written) = (self.next.load(SeqCst), self.written.load(SeqCst));
            // The last may have been lost in the last fault, where nothing came behind them to show it.
            if written <= self.fence.load(SeqCst) && since.elapsed() > Duration::from_secs(5) {
                break;
            }
            assert!(since.elapsed() < PATIENCE, "{}: {} of {written} records never came", self.name, written - next);
            sleep(Duration::from_millis(20));
        }
        self.over.store(true, SeqCst);
        self.threads.lock().unwrap().drain(..).for_each(|thread| thread.join().unwrap());
        self.check(String::new);
    }

    fn write_all(&self, path: &PathBuf, mut random: Random) {
        let mut next = 0;
        while !self.stop.load(SeqCst) {
            let Ok(mut file) = OpenOptions::new().write(true).open(path) else {
                sleep(Duration::from_millis(20));
                continue;
            };
            while !self.stop.load(SeqCst) {
                let count = if random.once_in(8) { 1 + random.below(4000) } else { 1 + random.below(200) };
                self.written.store(next + count, SeqCst);
                let bytes: Vec<u8> = (next..next + count).flat_map(u64::to_le_bytes).collect();
                next += count;
                if file.write_all(&bytes).is_err() || random.once_in(400) {
                    break;
                }
                sleep(Duration::from_micros(500 + random.below(4000)));
            }
        }
    }

    fn read_all(&self, path: &PathBuf, mut random: Random) {
        let mut expected = 0;
        while !self.over.load(SeqCst) {
            if let Ok(file) = File::open(path) {
                self.reopened.fetch_add(1, SeqCst);
                self.read_from(file, &mut expected, &mut random);
            }
            // Another program may come at once, or a while later.
            if random.once_in(2) {
                sleep(Duration::from_millis(random.below(150)));
            }
        }
    }

    /// Reads until it is time to go, or there is no more.
    fn read_from(&self, mut file: File, expected: &mut u64, random: &mut Random) {
        let (mut bytes, mut held) = (vec![0; 1 << 16], 0);
        while !self.over.load(SeqCst) {
            if !has_more(&file) {
                continue;
            }
            let Ok(n @ 1..) = file.read(&mut bytes[held..]) else { return };
            held += n;
            let whole = held / 8 * 8;
            for record in bytes[..whole].chunks_exact(8) {
                self.take(u64::from_le_bytes(record.try_into().unwrap()), expected);
            }
            bytes.copy_within(whole..held, 0);
            held -= whole;
            match random.below(3000) {
                // Only between records, as what is left in the middle of one would be nobody's.
                0..6 if held == 0 => return,
                6..9 => sleep(Duration::from_millis(random.below(400))),
                _ => {}
            }
        }
    }

    fn take(&self, record: u64, expected: &mut u64) {
        self.read.fetch_add(1, SeqCst);
        if record != *expected {
            let is_explained = self.is_disturbed.load(SeqCst) || record.min(*expected) <= self.fence.load(SeqCst);
            let amount = record.abs_diff(*expected);
            if !is_explained || amount > MOST_UNDER_WAY || record >= self.written.load(SeqCst) {
                let reopened = self.reopened.load(SeqCst);
                let text = format!(
                    "record {record} came where {expected} was due, to reader {reopened}, and no fault explains it"
                );
                self.wrong.lock().unwrap().get_or_insert(text);
            }
            if record > *expected { &self.lost } else { &self.doubled }.fetch_add(amount, SeqCst);
        }
        *expected = record + 1;
        self.next.fetch_max(*expected, SeqCst);
    }
}

/// Whether something can be read, waiting a moment for it.
fn has_more(file: &File) -> bool {
    let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::from(100u8)).is_ok_and(|ready| ready > 0)
}

/// In records: the FIFOs, the transfers in flight and waiting in both directions, and what a loopback holds.
const MOST_UNDER_WAY: u64 = (2 * 256 * 1024 + 4 * 8 * 65536 + (1 << 20)) / 8;
