//! Nobody reads, nothing happens: the daemon sleeps.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "common/vitals.rs"]
mod vitals;

use std::time::Duration;

use common::{Bus, Daemon};
use firmware_mock::DeviceKind::Zero;
use vitals::{switches, wait_rest, wait_without_helpers};

#[test]
fn a_hundred_endpoints_that_nobody_reads_wake_nobody_and_stay_small() {
    let bus = Bus::with(&[Zero; 25]);
    let config: String = bus.busids.iter().map(|(name, _)| bus.device(name, "")).collect();
    let daemon = Daemon::run(&config);
    let outlets = |d: &str| daemon.status(d)["pipes"].as_array().unwrap().len();
    assert_eq!(bus.busids.iter().map(|(name, _)| outlets(name)).sum::<usize>(), 100);
    let pid = daemon.child.id();
    wait_without_helpers(pid);
    wait_rest(pid);
    let before = switches(pid);
    std::thread::sleep(Duration::from_secs(10));
    let (woken, kib) = (switches(pid) - before, daemon.proc_status("VmRSS"));
    println!("woken {woken} times in 10 s, {kib} KiB");
    assert!(woken < 5, "woken {woken} times in 10 s");
    assert!(kib < 25 * 1024, "{kib} KiB");
}
