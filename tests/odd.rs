//! Odd devices: the real program and every device of `firmware-mock/odd.toml`. What is wrong is named by device.
//!
//! `ODD=NAME cargo test --test odd` looks at one of them.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on fails, and says why")]

mod common;
#[path = "common/odd.rs"]
mod table;

use common::{Bus, Daemon, ended, usbpipe};
use firmware_mock::DeviceKind;
use firmware_mock::odd::{Odd, OddDevice};
use table::{Bridged, attached, cases, checked};

#[test]
fn every_odd_device_is_listed_and_bridged_as_the_table_says() {
    let wanted = std::env::var("ODD").ok();
    let odd: Vec<Odd> = Odd::all().filter(|odd| wanted.as_ref().is_none_or(|w| *w == odd.device().name)).collect();
    let devices: Vec<&'static OddDevice> = odd.iter().map(|odd| odd.device()).collect();
    let bus = Bus::with(&odd.iter().copied().map(DeviceKind::Odd).collect::<Vec<_>>());
    let mut wrong = listed(&bus, &devices);
    wrong.extend(bridged(&bus, &devices));
    wrong.extend(configured(&bus, &devices));
    assert!(wrong.is_empty(), "{} odd devices are not as the table says:\n{}", wrong.len(), wrong.join("\n"));
}

/// `usbpipe list --remote`.
fn listed(bus: &Bus, devices: &[&'static OddDevice]) -> Vec<String> {
    let server = format!("127.0.0.1:{}", bus.port);
    let listing = ended(usbpipe().args(["list", "--remote", &server]));
    let text = String::from_utf8(listing.stdout).unwrap();
    let line_of = |device: &OddDevice| {
        let selector = format!("usbip://{server}/{}  ", bus.busid(&device.name));
        text.lines().find_map(|line| line.strip_prefix(&selector)).unwrap_or_default()
    };
    let other = devices.iter().filter(|device| line_of(device) != device.list);
    other.map(|device| format!("{}: `list` says {:?}", device.name, line_of(device))).collect()
}

/// `usbpipe bridge`, of all devices that have a case without a configuration.
fn bridged(bus: &Bus, devices: &[&'static OddDevice]) -> Vec<String> {
    let cases = cases(devices, |case| case.config.is_none());
    if cases.is_empty() {
        return Vec::new();
    }
    let temp = tempfile::TempDir::new().unwrap();
    let dir = temp.path().join("run");
    let mut command = usbpipe();
    command.arg("--dir").arg(&dir).arg("bridge");
    command.args(cases.iter().map(|b| format!("usbip://127.0.0.1:{}/{}", bus.port, bus.busid(&b.device.name))));
    let mut daemon = Daemon::start(command, &dir);
    daemon.wait_said("ready");
    let names = attached(&daemon, &cases);
    let cases = cases.into_iter().zip(names).map(|(case, name)| Bridged { name, ..case }).collect();
    checked(daemon, cases)
}

/// `usbpipe run`, of all devices that have a case with a configuration.
fn configured(bus: &Bus, devices: &[&'static OddDevice]) -> Vec<String> {
    let cases = cases(devices, |case| case.config.is_some());
    if cases.is_empty() {
        return Vec::new();
    }
    let config = |b: &Bridged| bus.device(&b.device.name, b.case.config.as_deref().unwrap());
    let daemon = Daemon::run_unattached(&cases.iter().map(config).collect::<String>());
    attached(&daemon, &cases);
    checked(daemon, cases)
}
