//! What is printed: a line now and then, and all figures at the end.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use crate::common::Daemon;
use crate::faults::Faults;
use crate::other::{Latency, Reports, Sound};
use crate::stream::Stream;

/// When it last said how far things are.
pub(crate) struct Report {
    began: Instant,
    last: Instant,
}

impl Default for Report {
    fn default() -> Self {
        let now = Instant::now();
        Self { began: now, last: now }
    }
}

impl Report {
    pub(crate) fn tell(&mut self, daemon: &Daemon, faults: &Faults<'_>, streams: &[Arc<Stream>]) {
        if self.last.elapsed() < EVERY {
            return;
        }
        self.last = Instant::now();
        let seconds = self.began.elapsed().as_secs();
        let faults: u64 = faults.counts.values().sum();
        println!("{seconds} s: {faults} faults, {} MiB back, {}", mib(streams), size(daemon));
    }
}

fn mib(streams: &[Arc<Stream>]) -> u64 {
    streams.iter().map(|stream| stream.read() * 8).sum::<u64>() >> 20
}

fn size(daemon: &Daemon) -> String {
    let (kib, tasks) = (daemon.proc_status("VmRSS"), daemon.proc_status("Threads"));
    format!("{kib} KiB, {} descriptors, {tasks} threads", daemon.descriptors())
}

/// How much each of one kind got since these counts. One that got nothing starved.
pub(crate) fn print_fairness(streams: &[Arc<Stream>], before: &[u64]) {
    for kind in ["zero", "echo"] {
        let of_kind = streams.iter().zip(before).filter(|(stream, _)| stream.name.starts_with(kind));
        let got: Vec<u64> = of_kind.map(|(stream, before)| (stream.read() - before) * 8 / 1024).collect();
        let (least, most) = (got.iter().min().unwrap(), got.iter().max().unwrap());
        println!("fairness of {kind}: {least} to {most} KiB each without faults");
        assert!(*least > 0, "one {kind} got nothing: {got:?} KiB");
    }
}

pub(crate) fn print_all(
    daemon: &Daemon,
    faults: &Faults<'_>,
    streams: &[Arc<Stream>],
    reports: &Reports,
    sound: &Sound,
    latency: &Latency,
) {
    println!("faults: {:?}", faults.counts);
    for stream in streams {
        let [lost, doubled, reopened] = [&stream.lost, &stream.doubled, &stream.reopened].map(|n| n.load(SeqCst));
        let Stream { name, .. } = &**stream;
        println!(
            "{name}: {} records back, {lost} lost and {doubled} doubled by faults, {reopened} readers",
            stream.read()
        );
    }
    println!("knob: {} reports; tone: {} KiB", reports.count(), sound.bytes() / 1024);
    let [beside, quiet] = latency.figures();
    println!("round trip in us, p50 p99 longest: beside faults {beside:?}, without {quiet:?}");
    println!("daemon: {}", size(daemon));
}

const EVERY: Duration = Duration::from_secs(10);
