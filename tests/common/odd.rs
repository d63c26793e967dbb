//! Whether devices of `firmware-mock/odd.toml` are in a daemon what the table says. Refuses to know how they are reached.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, reason = "shared by test binaries")]

use std::any::Any;
use std::fs::File;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use firmware_mock::odd::{Case, OddDevice, Step};
use serde_json::Value;

use crate::common::{Daemon, PATIENCE, read_exactly, read_line, wait_for, within};

/// A device, one of its cases, and its name in the daemon.
pub struct Bridged {
    pub device: &'static OddDevice,
    pub case: &'static Case,
    pub name: String,
    /// Its product string, as it is read here.
    pub product: Option<String>,
}

pub fn cases(devices: &[&'static OddDevice], fits: impl Fn(&Case) -> bool) -> Vec<Bridged> {
    let with_name = |device: &'static OddDevice| {
        let case = device.case.iter().find(|case| fits(case))?;
        Some(Bridged { device, case, name: device.name.clone(), product: device.product.clone() })
    };
    devices.iter().filter_map(|device| with_name(device)).collect()
}

/// Waits until each device is attached, or is said not to be for the reason in the table. Gives their names, in order.
pub fn attached(daemon: &Daemon, cases: &[Bridged]) -> Vec<String> {
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
pub fn checked(daemon: Daemon, cases: Vec<Bridged>) -> Vec<String> {
    let wrong = std::thread::scope(|scope| {
        let daemon = &daemon;
        let check = |bridged| scope.spawn(move || checked_one(daemon, bridged));
        let threads: Vec<_> = cases.iter().map(check).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
    });
    with_said(wrong, daemon, &cases)
}

/// The same one by one, where a new process is so slow to start that it counts as a reader of what this one has open.
pub fn checked_in_turn(daemon: Daemon, cases: Vec<Bridged>) -> Vec<String> {
    let wrong = cases.iter().filter_map(|bridged| checked_one(&daemon, bridged)).collect();
    with_said(wrong, daemon, &cases)
}

fn with_said(mut wrong: Vec<String>, mut daemon: Daemon, cases: &[Bridged]) -> Vec<String> {
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

fn check(daemon: &Daemon, Bridged { device, case, name, product }: &Bridged) {
    let status = daemon.status(name);
    let pipes = status["pipes"].as_array().unwrap();
    let outlets: Vec<&str> = pipes.iter().map(|pipe| pipe["outlet"].as_str().unwrap()).collect();
    assert_eq!(outlets, case.outlets, "outlets");
    if case.reason.is_none() {
        assert_eq!(status["product"].as_str(), product.as_deref(), "product");
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
fn wrongly_said(Bridged { device, case, name, .. }: &Bridged, said: &[String]) -> Option<String> {
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
