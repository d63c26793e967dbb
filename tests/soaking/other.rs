//! The other kinds of devices: reports of a knob, sound, and a loopback that nothing is done to, which shows how long a byte
//! takes.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

/// Work on a thread until it is over.
struct Worker {
    over: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Worker {
    fn start(work: impl FnOnce(&AtomicBool) + Send + 'static) -> Self {
        let over = Arc::<AtomicBool>::default();
        let seen = over.clone();
        Self { over, thread: Mutex::new(Some(spawn(move || work(&seen)))) }
    }

    fn finish(&self) {
        self.over.store(true, SeqCst);
        if let Some(thread) = self.thread.lock().unwrap().take() {
            thread.join().unwrap();
        }
    }
}

/// Reads an outlet in pieces of this size until it is over, opening it anew where it ends.
fn read_pieces(path: &Path, size: usize, over: &AtomicBool, mut take: impl FnMut(&[u8])) {
    let mut bytes = vec![0; size];
    while !over.load(SeqCst) {
        let Ok(mut file) = File::open(path) else {
            sleep(Duration::from_millis(20));
            continue;
        };
        while !over.load(SeqCst) && file.read_exact(&mut bytes).is_ok() {
            take(&bytes);
        }
    }
}

/// The knob's reports, which count up.
pub(crate) struct Reports {
    shared: Arc<ReportsShared>,
    worker: Worker,
}

#[derive(Default)]
struct ReportsShared {
    count: AtomicU64,
    disturbed: AtomicU64,
    wrong: AtomicU64,
}

impl Reports {
    pub(crate) fn start(dir: &Path, device: &str) -> Self {
        let (path, shared) = (dir.join(device).join("ep_81"), Arc::<ReportsShared>::default());
        let seen = shared.clone();
        let worker = Worker::start(move |over| {
            let mut expected = None;
            read_pieces(&path, 8, over, |report| {
                let counter = u32::from_le_bytes([report[0], report[1], report[2], report[3]]);
                let is_right = expected.is_none_or(|expected| counter == expected);
                // A fault of any device is taken for an explanation here: what is read now may have come while it lasted.
                seen.wrong.fetch_add(u64::from(!is_right && seen.disturbed.load(SeqCst) == 0), SeqCst);
                seen.count.fetch_add(1, SeqCst);
                expected = Some(counter.wrapping_add(1));
            });
        });
        Self { shared, worker }
    }

    pub(crate) fn disturb(&self) {
        self.shared.disturbed.fetch_add(1, SeqCst);
    }

    pub(crate) fn recovered(&self) {
        self.shared.disturbed.fetch_sub(1, SeqCst);
    }

    pub(crate) fn count(&self) -> u64 {
        self.shared.count.load(SeqCst)
    }

    pub(crate) fn finish(&self) {
        self.worker.finish();
        let wrong = self.shared.wrong.load(SeqCst);
        assert_eq!(wrong, 0, "reports of the knob that were lost or doubled without a fault");
    }
}

/// Isochronous IN. What it loses to a busy machine is counted by the daemon.
pub(crate) struct Sound {
    bytes: Arc<AtomicU64>,
    worker: Worker,
}

impl Sound {
    pub(crate) fn start(dir: &Path, device: &str) -> Self {
        let (path, bytes) = (dir.join(device).join("ep_83"), Arc::<AtomicU64>::default());
        let count = bytes.clone();
        let take = move |piece: &[u8]| {
            count.fetch_add(piece.len() as u64, SeqCst);
        };
        Self { bytes, worker: Worker::start(move |over| read_pieces(&path, 192, over, take)) }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(SeqCst)
    }

    pub(crate) fn finish(&self) {
        self.worker.finish();
        assert!(self.bytes() > 0, "no sound came");
    }
}

/// Round trips of 64 bytes.
pub(crate) struct Latency {
    shared: Arc<LatencyShared>,
    worker: Worker,
}

#[derive(Default)]
struct LatencyShared {
    is_paused: AtomicBool,
    is_quiet: AtomicBool,
    /// In microseconds: beside faults, and in the end without.
    times: Mutex<[Vec<u32>; 2]>,
}

impl Latency {
    pub(crate) fn start(dir: &Path, device: &str) -> Self {
        let (dir, shared) = (dir.join(device), Arc::<LatencyShared>::default());
        let seen = shared.clone();
        Self { shared, worker: Worker::start(move |over| measure(&dir, over, &seen)) }
    }

    /// While the daemon does not run nothing is measured.
    pub(crate) fn pause(&self, is_paused: bool) {
        self.shared.is_paused.store(is_paused, SeqCst);
    }

    pub(crate) fn begin_quiet(&self) {
        self.shared.is_quiet.store(true, SeqCst);
    }

    pub(crate) fn finish(&self) {
        self.worker.finish();
    }

    /// p50, p99 and the longest in microseconds, beside faults and without.
    pub(crate) fn figures(&self) -> [(u32, u32, u32); 2] {
        let times = self.shared.times.lock().unwrap();
        [0, 1].map(|n: usize| {
            let mut sorted = times[n].clone();
            sorted.sort_unstable();
            let at = |per_cent: usize| sorted.get(sorted.len() * per_cent / 100).copied().unwrap_or_default();
            (at(50), at(99), sorted.last().copied().unwrap_or_default())
        })
    }
}

fn measure(dir: &Path, over: &AtomicBool, shared: &LatencyShared) {
    let open = |name: &str, write: bool| OpenOptions::new().read(!write).write(write).open(dir.join(name));
    let mut number = 0u64;
    while !over.load(SeqCst) {
        let (Ok(mut out), Ok(mut back)) = (open("ep_02", true), open("ep_82", false)) else {
            sleep(Duration::from_millis(20));
            continue;
        };
        loop {
            number += 1;
            let (sent, mut came) = ([number.to_le_bytes(); 8].concat(), [0; 64]);
            let was_paused = shared.is_paused.load(SeqCst);
            let began = Instant::now();
            if over.load(SeqCst) || out.write_all(&sent).is_err() || back.read_exact(&mut came).is_err() {
                break;
            }
            if came[..] == sent && !was_paused && !shared.is_paused.load(SeqCst) {
                let at = usize::from(shared.is_quiet.load(SeqCst));
                shared.times.lock().unwrap()[at].push(began.elapsed().as_micros() as u32);
            }
            sleep(Duration::from_millis(5));
        }
    }
}
