//! What a device calls itself reaches terminals, logs and files as text that does nothing, and programs as what it was.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "common/vitals.rs"]
mod vitals;

use common::{Bus, Daemon};
use firmware_mock::DeviceKind;
use firmware_mock::odd::Odd;
use serde_json::Value;
use vitals::Events;

#[test]
fn strings_of_a_device_are_escaped_wherever_they_are_shown() {
    let odd = Odd::find("terminal-controls").unwrap();
    let product = odd.device().product.clone().unwrap();
    let bus = Bus::with(&[DeviceKind::Odd(odd)]);
    let mut daemon = Daemon::run(&bus.device("terminal-controls", ""));
    let mut events = Events::of(&daemon);
    bus.command("unplug terminal-controls 50");
    events.wait("attach", "terminal-controls");
    let asked = |args: &[&str]| String::from_utf8(daemon.ask(args).stdout).unwrap();
    let file = std::fs::read_to_string(daemon.path("terminal-controls/device.json")).unwrap();
    let (status, listing) = (asked(&["status", "--json"]), asked(&["list", "--json"]));
    for (what, text) in [
        ("status --json", &status),
        ("list --json", &listing),
        ("device.json", &file),
        ("status", &asked(&["status"])),
        ("list", &asked(&["list"])),
    ] {
        assert_plain(what, text);
    }
    let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(parsed(&status)[0]["product"], product.as_str());
    assert_eq!(parsed(&listing)["bridged"][0]["product"], product.as_str());
    assert_eq!(parsed(&file)["device"]["product"], product.as_str());
    assert!(status.contains(r"\u009b2J\u202egnp.exe\u2066\u2028\u007f"), "{status}");
    assert!(daemon.end().success());
    daemon.all_said().iter().for_each(|line| assert_plain("the log", line));
}

fn assert_plain(what: &str, text: &str) {
    let is_odd = |c: &char| c.is_control() && *c != '\n' || ('\u{200e}'..='\u{206f}').contains(c);
    assert_eq!(text.chars().find(is_odd), None, "in {what}: {text:?}");
}
