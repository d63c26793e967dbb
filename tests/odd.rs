//! Odd devices: the real program and every device of `firmware-mock/odd.toml`. What is wrong is named by device.
//!
//! `ODD=NAME cargo test --test odd` looks at one of them.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on fails, and says why")]

mod common;

use std::any::Any;
use std::fs::File;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use common::{Bus, Daemon, read_exactly, read_line, usbpipe, wait_for, within};
use common::{PATIENCE, ended};
use firmware_mock::DeviceKind;
use firmware_mock::odd::{Case, Odd, OddDevice, Step};
use serde_json::Value;

/// A device, one of its cases, and its name in the daemon.
struct Bridged {
    device: &'static OddDevice,
    case: &'static Case,
    name: String,
}

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

fn cases(devices: &[&'static OddDevice], fits: impl Fn(&Case) -> bool) -> Vec<Bridged> {
    let with_name = |device: &'static OddDevice| {
        let case = device.case.iter().find(|case| fits(case))?;
        Some(Bridged { device, case, name: device.name.clone() })
    };
    devices.iter().filter_map(|device| with_name(device)).collect()
}

/// Waits until each device is attached, or is said not to be for the reason in the table. Gives their names, in order.
fn attached(daemon: &Daemon, cases: &[Bridged]) -> Vec<String> {
    let status = || -> Option<Value> { serde_json::from_slice(&daemon.ask(&["status", "--json"]).stdout).ok() };
    let find = |all: &Value, bridged: &Bridged| -> Option<String> {
        let id = bridged.device.list.split("  ").next().unwrap();
        let device = all.as_array()?.iter().find(|d| d["id"] == id || d["name"] == bridged.name)?;
        let is_settled = match &bridged.case.reason {
            Some(reason) => device["reason"].as_str().is_some_and(|text| text.contains(reason)),
            None => device["state"] == "attached",
        };
        is_settled.then(|| device["name"].as_str().unwrap().to_owned())
    };
    let all = || {
        let all = status()?;
        cases.iter().map(|bridged| find(&all, bridged)).collect::<Option<Vec<_>>>()
    };
    let missing = || {
        let all = status().unwrap_or_default();
        let missing = cases.iter().filter(|bridged| find(&all, bridged).is_none());
        let names: Vec<&str> = missing.map(|bridged| bridged.device.name.as_str()).collect();
        format!("{} are not attached: {all}", names.join(", "))
    };
    wait_for(all, missing)
}

/// Looks at all devices at once, and then at what was said of each.
fn checked(mut daemon: Daemon, cases: Vec<Bridged>) -> Vec<String> {
    let mut wrong: Vec<String> = std::thread::scope(|scope| {
        let daemon = &daemon;
        let check = |bridged| scope.spawn(move || checked_one(daemon, bridged));
        let threads: Vec<_> = cases.iter().map(check).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(daemon.end().success());
    let said = daemon.all_said();
    wrong.extend(cases.iter().filter_map(|bridged| wrongly_said(bridged, said)));
    wrong
}

fn checked_one(daemon: &Daemon, bridged: &Bridged) -> Option<String> {
    let result = catch_unwind(AssertUnwindSafe(|| check(daemon, bridged)));
    result.err().map(|panic| format!("{}: {}", bridged.device.name, message(&*panic)))
}

fn message(panic: &dyn Any) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

fn check(daemon: &Daemon, Bridged { device, case, name }: &Bridged) {
    let status = daemon.status(name);
    let pipes = status["pipes"].as_array().unwrap();
    let outlets: Vec<&str> = pipes.iter().map(|pipe| pipe["outlet"].as_str().unwrap()).collect();
    assert_eq!(outlets, case.outlets, "outlets");
    if case.reason.is_none() {
        assert_eq!(status["product"].as_str(), device.product.as_deref(), "product");
        assert_eq!(endpoints(daemon, name), device.endpoints, "endpoints");
    }
    let opened = case.steps.iter().filter_map(|step| take(daemon, name, step));
    let _opened: Vec<File> = opened.collect();
    for (outlet, part) in &case.problems {
        daemon.wait_pipe(name, outlet, |pipe| pipe["problem"].as_str().is_some_and(|text| text.contains(part)));
    }
    for outlet in outlets.iter().filter(|outlet| !case.problems.contains_key(**outlet)) {
        assert_eq!(daemon.pipe(name, outlet)["problem"], Value::Null, "problem of {outlet}");
    }
}

/// The endpoints in `device.json`, as the table writes them.
fn endpoints(daemon: &Daemon, name: &str) -> Vec<String> {
    let text = std::fs::read(daemon.path(&format!("{name}/device.json"))).unwrap();
    let json: Value = serde_json::from_slice(&text).unwrap();
    let mut endpoints = Vec::new();
    for setting in json["device"]["alt_settings"].as_array().unwrap() {
        for e in setting["endpoints"].as_array().unwrap() {
            let number = |key: &str| e[key].as_u64().unwrap();
            let packets = match number("packets_per_microframe") {
                1 => String::new(),
                n => format!("×{n}"),
            };
            let companion = &e["companion"];
            let said = |key: &str, none: u64| companion[key].as_u64().filter(|&n| n > none);
            let words = [
                said("bytes_per_interval", 0).map(|n| format!(" {n} an interval")),
                said("burst", 1).filter(|_| e["type"] == "bulk").map(|n| format!(" burst {n}")),
                said("streams", 0).map(|n| format!(" streams {n}")),
            ];
            let words = words.into_iter().flatten().collect::<String>();
            endpoints.push(format!(
                "{}.{} {:#04x} {} {}{packets}{words}",
                setting["interface"],
                setting["setting"],
                number("address"),
                e["type"].as_str().unwrap(),
                number("max_packet_size"),
            ));
        }
    }
    endpoints
}

/// Takes a step; gives what stays open.
fn take(daemon: &Daemon, name: &str, step: &Step) -> Option<File> {
    let bytes = step.hex.0.clone();
    if let Some(outlet) = &step.read {
        let reader = daemon.reader(&format!("{name}/{outlet}"));
        assert_eq!(hex(&read_exactly(reader, bytes.len()).1), hex(&bytes), "read from {outlet}");
    }
    if let Some(outlet) = &step.write {
        let mut writer = daemon.writer(&format!("{name}/{outlet}"));
        within(PATIENCE, move || writer.write_all(&bytes).unwrap());
    }
    for (command, request) in [("control", &step.control), ("serial", &step.serial)] {
        let Some(request) = request else { continue };
        let words: Vec<&str> = [command, name].into_iter().chain(request.split(' ')).collect();
        assert_answer(request, &daemon.answer(&words), &step.answer);
    }
    if let Some(socket) = &step.line {
        let mut socket = daemon.both(&format!("{name}/{socket}"));
        writeln!(socket, "{}", step.request).unwrap();
        assert_answer(&step.request, &read_line(&socket), &step.answer);
    }
    step.open.as_ref().map(|outlet| daemon.reader(&format!("{name}/{outlet}")))
}

fn assert_answer(request: &str, answer: &str, expected: &str) {
    let fits = match expected.strip_suffix('…') {
        Some(beginning) => answer.starts_with(beginning),
        None => answer == expected,
    };
    assert!(fits, "{request}: {answer:?} and not {expected:?}");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Each warning about the device is in the table, and the other way round.
fn wrongly_said(Bridged { device, case, name }: &Bridged, said: &[String]) -> Option<String> {
    let heads = [format!(" {name}: "), format!(" {name}/")];
    let is_about = |line: &&String| line.contains(" WARN ") && heads.iter().any(|head| line.contains(head.as_str()));
    let lines: Vec<&String> = said.iter().filter(is_about).collect();
    let unsaid = case.says.iter().find(|part| !lines.iter().any(|line| line.contains(part.as_str())));
    let unexpected = lines.iter().find(|line| !case.says.iter().any(|part| line.contains(part.as_str())));
    match (unsaid, unexpected) {
        (Some(part), _) => Some(format!("{}: it never said {part:?}, only {lines:#?}", device.name)),
        (None, Some(line)) => Some(format!("{}: it said {line:?}", device.name)),
        (None, None) => None,
    }
}
