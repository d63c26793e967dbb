//! The soak: `tests/soak [MINUTES [SEED]]`. Bytes through many simulated devices for as long as is wished, while devices
//! are unplugged, links cut, endpoints stalled, servers lie, programs come and go, and the daemon is stopped and killed. Every
//! byte is accounted for: what is lost or doubled must be explained by a fault of its device.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on fails")]

#[path = "../common/mod.rs"]
mod common;
mod faults;
mod other;
mod random;
mod report;
mod stream;
#[path = "../common/vitals.rs"]
mod vitals;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::witness::Witness;
use common::{Bus, Daemon};
use faults::Faults;
use firmware_mock::DeviceKind::{self, Echo, Knob, Tone, Zero};
use other::{Latency, Reports, Sound};
use report::Report;
use stream::Stream;
use tempfile::TempDir;
use vitals::{Size, wait_asleep};

fn main() {
    let mut words = std::env::args().skip(1);
    let minutes: f64 = words.next().map_or(30.0, |word| word.parse().expect("MINUTES is a number"));
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = words.next().map_or(clock.as_secs(), |word| word.parse().expect("SEED is a number"));
    println!("soak of {minutes} minutes with seed {seed}");
    soak(Duration::from_secs_f64(minutes * 60.0), seed);
    println!("soak passed");
}

fn soak(time: Duration, seed: u64) {
    let bus = Bus::with(&kinds());
    let temp = TempDir::new().unwrap();
    let (dir, config) = (temp.path().join("run"), config(&bus));
    let mut daemon = Daemon::run_in(&dir, &config);
    daemon.wait_attached();
    let names: Vec<String> = bus.busids.iter().map(|(name, _)| name.clone()).collect();
    let streams: Vec<Arc<Stream>> = names.iter().filter_map(|name| Stream::of(&dir, name, seed)).collect();
    let (reports, sound) = (Reports::start(&dir, "knob"), Sound::start(&dir, "tone"));
    let latency = Latency::start(&dir, PROBE);
    let (began, mut report) = (Instant::now(), Report::default());
    let mut faults = Faults::new(&bus, &streams, &reports, &latency, seed);
    // The daemon is killed in the first third only, so that the last one lives long enough to grow.
    while began.elapsed() < time / 3 {
        faults.strike(&mut daemon, Some(&mut || Daemon::run_in(&dir, &config)));
        report.tell(&daemon, &faults, &streams);
    }
    let warm = Size::of(&daemon);
    while began.elapsed() < time * 9 / 10 {
        faults.strike(&mut daemon, None);
        report.tell(&daemon, &faults, &streams);
    }
    let quiet: Vec<u64> = streams.iter().map(|stream| stream.read()).collect();
    latency.begin_quiet();
    while began.elapsed() < time {
        std::thread::sleep(Duration::from_millis(200));
        report.tell(&daemon, &faults, &streams);
    }
    report::print_fairness(&streams, &quiet);
    streams.iter().for_each(|stream| stream.stop_writing());
    streams.iter().for_each(|stream| stream.finish());
    reports.finish();
    sound.finish();
    latency.finish();
    report::print_all(&daemon, &faults, &streams, &reports, &sound, &latency);
    wait_asleep(daemon.child.id());
    warm.assert_still_holds(&daemon);
    let witness = Witness::start();
    assert!(daemon.end().success(), "{:?}", daemon.said());
    witness.assert_within(Duration::from_secs(3));
}

/// Eight loopbacks, a ninth that is left alone to see how long a byte takes, four serial lines, and one of each other kind.
fn kinds() -> Vec<DeviceKind> {
    [vec![Zero; 9], vec![Echo; 4], vec![Knob, Tone]].concat()
}

fn config(bus: &Bus) -> String {
    let settings = |name: &str| match name.split('-').next().unwrap() {
        "zero" => LOOPBACK,
        "echo" => "[device.serial]\nunread = \"forever\"\npatience = \"forever\"\n",
        "tone" => "[[device.pipe]]\nendpoint = 0x83\ninterface = 1\nalt = 1\n",
        _ => "[[device.pipe]]\nendpoint = 0x81\n",
    };
    bus.busids.iter().map(|(name, _)| bus.device(name, settings(name))).collect()
}

/// The device that no fault is for.
const PROBE: &str = "zero-9";
const LOOPBACK: &str = "[[device.pipe]]\nendpoint = 0x02\n[[device.pipe]]\nendpoint = 0x82\npatience = \"forever\"\n\
    outlets = [\"fifo\", \"socket\"]\n";
