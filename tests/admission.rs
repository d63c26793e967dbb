//! What `admin.sock` grants to whom: what the outlets would, and nothing else.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "common/people.rs"]
mod people;
#[path = "common/vitals.rs"]
mod vitals;

use std::path::Path;

use common::{Bus, Daemon};
use firmware_mock::DeviceKind::{Regs, Zero};
use people::{Admin, NOBODY, as_user, can_be_others, public_place};
use vitals::Events;

/// All requests that concern a device, with what each needs.
const REQUESTS: [(&str, &str); 9] = [
    (r#"{"cmd":"control","device":"zero","request":"status"}"#, "control"),
    (r#"{"cmd":"open","device":"zero","outlet":"ep_81","pass":"pipe"}"#, "ep_81"),
    (r#"{"cmd":"open","device":"zero","outlet":"ep_02","pass":"pipe"}"#, "ep_02"),
    (r#"{"cmd":"serial","device":"zero","request":"lines"}"#, "control"),
    (r#"{"cmd":"release","device":"zero"}"#, "control"),
    (r#"{"cmd":"release","device":"zero","borrower":"me","port":false}"#, "control"),
    (r#"{"cmd":"reclaim","device":"zero"}"#, "control"),
    (r#"{"cmd":"open","device":"zero","outlet":"ep_81"}"#, "ep_81"),
    (r#"{"cmd":"capture","device":"zero","limit":64}"#, "all"),
];

/// Which requests of these are granted to a user without a name in these groups.
fn granted(dir: &Path, groups: &[u32]) -> Vec<&'static str> {
    let is_granted = |request: &str| {
        let reply = as_user(NOBODY, groups, || Admin::connect(dir).ask(request));
        // What is granted may still fail.
        !reply["error"].as_str().unwrap_or_default().contains("`owner`, `group` and `mode`")
    };
    REQUESTS.iter().filter(|(request, _)| is_granted(request)).map(|(request, _)| *request).collect()
}

fn needing(needs: &[&str]) -> Vec<&'static str> {
    REQUESTS.iter().filter(|(_, need)| needs.contains(need)).map(|(request, _)| *request).collect()
}

#[test]
fn the_socket_for_commands_grants_what_the_outlets_would_and_nothing_else() {
    if !can_be_others("the_socket_for_commands_grants_what_the_outlets_would_and_nothing_else") {
        return;
    }
    let bus = Bus::with(&[Zero, Regs]);
    let pipes = |mode_81: &str, mode_02: &str| {
        format!("[[device.pipe]]\nendpoint = 0x81\n{mode_81}\n[[device.pipe]]\nendpoint = 0x02\n{mode_02}\n")
    };
    // What of `zero` a member of the daemon's group gets.
    let cases: [(String, &[&str]); 5] = [
        (format!("mode = \"0600\"\n{}", pipes("", "")), &[]),
        (format!("group = \"daemon\"\n{}", pipes("", "")), &[]),
        (pipes("", ""), &["control", "ep_81", "ep_02", "all"]),
        (pipes("mode = \"0600\"", ""), &["control", "ep_02"]),
        (format!("mode = \"0600\"\n{}", pipes("mode = \"0640\"", "")), &["ep_81"]),
    ];
    for (config, expected) in cases {
        let (_temp, dir) = public_place();
        let mut daemon = Daemon::run_in(&dir, &format!("{}{}", bus.device("zero", &config), bus.device("regs", "")));
        daemon.wait_attached();
        assert_eq!(granted(&dir, &[0]), needing(expected), "{config}");
        let status = as_user(NOBODY, &[0], || Admin::connect(&dir).ask(r#"{"cmd":"status"}"#));
        let names: Vec<&str> = status["ok"].as_array().unwrap().iter().map(|d| d["name"].as_str().unwrap()).collect();
        let shown = if expected.is_empty() { vec!["regs"] } else { vec!["regs", "zero"] };
        assert_eq!(names, shown, "{config}");
        // Root and the daemon's user may all.
        daemon.wait_status("zero", |s| s["state"] == "attached");
        assert!(daemon.answer(&["control", "zero", "status"]).starts_with("ok"));
    }
}

#[test]
fn events_are_shown_to_those_who_may_open_the_device() {
    if !can_be_others("events_are_shown_to_those_who_may_open_the_device") {
        return;
    }
    let bus = Bus::with(&[Zero, Regs]);
    let (_temp, dir) = public_place();
    let config = format!("{}{}", bus.device("zero", "mode = \"0600\"\n"), bus.device("regs", ""));
    let mut daemon = Daemon::run_in(&dir, &config);
    daemon.wait_attached();
    let (mut admin, mut own) = (as_user(NOBODY, &[0], || Admin::connect(&dir)), Events::of(&daemon));
    assert!(admin.ask(r#"{"cmd":"events"}"#)["error"].is_null());
    bus.command("unplug zero 50");
    own.wait("detach", "zero");
    own.wait("attach", "zero");
    bus.command("unplug regs 50");
    assert_eq!(admin.line().unwrap()["device"], "regs", "nothing of the other one");
}
