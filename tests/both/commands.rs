//! The commands, as somebody types them.

use std::io::Write;
use std::process::{Output, Stdio};

use firmware_mock::DeviceKind::{Echo, Knob, Regs, Uno, Zero};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::events::Events;
use crate::common::{Bus, Daemon, ended, output, read_exactly, run_dir, stands, start_child, usbpipe, wait_for};

#[test]
fn list_shows_what_is_bridged_and_where() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", ""));
    let text = stdout(&daemon.ask(&["list"]));
    for word in ["zero", "0525:a4a0", "0x81", "bulk", "512", daemon.path("zero/ep_02").to_str().unwrap()] {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
    let json: Value = serde_json::from_slice(&daemon.ask(&["list", "--json"]).stdout).unwrap();
    assert_eq!(json["bridged"][0]["pipes"].as_array().unwrap().len(), 4);
}

#[test]
fn list_remote_shows_what_a_server_exports_in_words_that_bridge_understands() {
    let bus = Bus::with(&[Zero, Uno]);
    let place = format!("127.0.0.1:{}", bus.port);
    let temp = TempDir::new().unwrap();
    let dir = run_dir(&temp, "run");
    let dir = dir.to_str().unwrap();
    let text = stdout(&ended(usbpipe().args(["--dir", dir, "list", "--remote", &place])));
    for name in ["zero", "uno"] {
        assert!(text.contains(&format!("usbip://{place}/{}", bus.busid(name))), "{text}");
    }
    assert!(text.contains("0525:a4a0") && text.contains("2341:0043"), "{text}");
    let output = ended(usbpipe().args(["--dir", dir, "list", "--json", "--remote", &place]));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["remote"].as_array().unwrap().len(), 2);
}

#[test]
fn bridge_needs_no_configuration_and_names_devices_after_their_ids() {
    let bus = Bus::with(&[Zero, Zero, Uno]);
    let selector = |name: &str| format!("usbip://127.0.0.1:{}/{}", bus.port, bus.busid(name));
    let temp = TempDir::new().unwrap();
    let dir = run_dir(&temp, "run");
    let mut command = usbpipe();
    command.arg("--dir").arg(&dir).arg("bridge").args(["zero", "zero-2", "uno"].map(selector));
    let mut daemon = Daemon::start(command, &dir);
    daemon.wait_said("ready");
    for name in ["0525-a4a0", "0525-a4a0-2", "2341-0043-MOCK-UNO-1"] {
        daemon.wait_status(name, |s| s["state"] == "attached");
    }
    daemon.writer("0525-a4a0/ep_02").write_all(b"there and back").unwrap();
    assert_eq!(read_exactly(daemon.reader("0525-a4a0/ep_82"), 14).1, b"there and back");
    assert!(stands(&daemon.path("2341-0043-MOCK-UNO-1/serial.rx")));
    assert!(daemon.end().success());
    assert!(!stands(&daemon.path("0525-a4a0/ep_02")));
}

#[test]
fn bridge_waits_for_a_device_that_is_not_there_yet() {
    let bus = Bus::with(&[Zero]);
    let (port, selector) = (bus.port, format!("usbip://127.0.0.1:{}/{}", bus.port, bus.busid("zero")));
    drop(bus);
    let temp = TempDir::new().unwrap();
    let dir = run_dir(&temp, "run");
    let mut command = usbpipe();
    command.arg("--dir").arg(&dir).args(["bridge", &selector]);
    let mut daemon = Daemon::start(command, &dir);
    let line = daemon.wait_said("waiting for a device");
    assert!(line.contains(&selector), "{line}");
    let _bus = Bus::on_port(&[Zero], port);
    daemon.wait_status("0525-a4a0", |s| s["state"] == "attached");
}

#[test]
fn status_tells_state_and_counters() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", ""));
    read_exactly(daemon.reader("zero/ep_81"), 1000);
    let text = stdout(&daemon.ask(&["status"]));
    assert!(text.contains("zero") && text.contains("attached") && text.contains("bytes="), "{text}");
    let pipe = daemon.pipe("zero", "ep_81");
    assert!(pipe["bytes"].as_u64().unwrap() >= 1000);
    assert_eq!([&pipe["endpoint"], &pipe["direction"], &pipe["type"]], ["0x81", "in", "bulk"]);
}

#[test]
fn events_are_json_lines_of_what_happens() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", ""));
    let mut events = Events::of(&daemon);
    drop(daemon.reader("zero/ep_82"));
    bus.command("unplug zero 20");
    let detach = events.wait("detach", "zero");
    assert!(detach["time"].as_f64().unwrap() > 1.7e9 && !detach["text"].as_str().unwrap().is_empty());
    assert!(events.wait("attach", "zero")["text"].as_str().unwrap().contains("0525:a4a0"));
    let reader = daemon.reader("zero/ep_82");
    assert_eq!(events.wait("open", "zero")["outlet"], "ep_82");
    bus.command("stall zero 0x82");
    assert_eq!(events.wait("stall", "zero")["outlet"], "ep_82");
    drop(reader);
    assert_eq!(events.wait("close", "zero")["outlet"], "ep_82");
}

#[test]
fn events_end_with_the_daemon_and_with_their_reader() {
    let bus = Bus::with(&[Knob]);
    let mut daemon = Daemon::run(&bus.device("knob", ""));
    let mut patient = Events::of(&daemon);
    let mut left = start_child(usbpipe().arg("--dir").arg(&daemon.dir).arg("events").stdout(Stdio::piped()));
    drop(left.stdout.take());
    wait_for(
        || {
            bus.command("cut knob 1");
            left.try_wait().unwrap()
        },
        || "`events | head` never ends".into(),
    );
    assert!(daemon.end().success());
    assert!(patient.wait_end().success());
}

#[test]
fn control_and_serial_do_without_a_daemon() {
    let bus = Bus::with(&[Regs, Echo, Zero]);
    let alone = |command: &str, name: &str, request: &str| {
        let selector = format!("usbip://127.0.0.1:{}/{}", bus.port, bus.busid(name));
        ended(usbpipe().args([command, &selector, request]))
    };
    assert_eq!(stdout(&alone("control", "regs", "out 0x40 1 0 7 cafe")), "ok\n");
    assert_eq!(stdout(&alone("control", "regs", "in 0xc0 2 0 7 2")), "ok cafe\n");
    let stalled = alone("control", "regs", "in 0xc0 3 0 0 1");
    assert_eq!((stalled.status.code(), stdout_of(&stalled).starts_with("error stall")), (Some(1), true));
    assert!(stdout(&alone("serial", "echo", "baud 9600")).starts_with("ok"));
    let lines = stdout(&alone("serial", "echo", "lines"));
    assert!(lines.starts_with("ok") && lines.contains("baud=9600"), "{lines}");
    let none = alone("serial", "zero", "lines");
    assert_eq!(none.status.code(), Some(1), "{none:?}");
    assert!(stdout_of(&none).contains("no serial function"), "{none:?}");
}

#[test]
fn without_a_daemon_commands_say_what_to_do() {
    let temp = TempDir::new().unwrap();
    for args in [&["status"][..], &["events"], &["control", "zero", "status"], &["serial", "uno", "lines"]] {
        let output = ended(usbpipe().arg("--dir").arg(run_dir(&temp, "run")).args(args));
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("usbpipe run") && said.contains("--dir") && output.stdout.is_empty(), "{said}");
    }
}

#[test]
fn a_device_that_a_daemon_lacks_is_named_beside_those_it_has() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", ""));
    let output = daemon.ask(&["control", "nero", "status"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("nero") && said.contains("zero"), "{said}");
}

#[test]
fn a_server_or_a_device_that_is_not_there_is_said_so() {
    let bus = Bus::with(&[Zero]);
    let missing = format!("usbip://127.0.0.1:{}/9-9", bus.port);
    let output = ended(usbpipe().args(["control", &missing, "status"]));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("9-9") && said.contains("list --remote"), "{said}");
    drop(bus);
    let output = ended(usbpipe().args(["control", &missing, "status"]));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("127.0.0.1"), "{said}");
}

#[test]
fn wrong_usage_exits_with_2_and_help_with_0() {
    let wrong =
        [&["frobnicate"][..], &[], &["bridge"], &["bridge", "nonsense!"], &["control", "zero"], &["run", "now"]];
    for args in wrong {
        let output = ended(usbpipe().args(args));
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{args:?}");
    }
    let help = stdout(&ended(usbpipe().arg("--help")));
    for command in ["list", "run", "bridge", "control", "serial", "status", "events", "demo", "completions", "man"] {
        assert!(help.contains(&format!("  {command}")), "{command} is not in {help}");
    }
}

#[test]
fn the_manual_is_printed_and_written() {
    let temp = TempDir::new().unwrap();
    let man = stdout(&ended(usbpipe().arg("man")));
    assert!(man.contains(".TH usbpipe") && man.contains("bridge"), "{man}");
    stdout(&ended(usbpipe().arg("man").arg("--out").arg(temp.path().join("man"))));
    let page = |name: &str| std::fs::read_to_string(temp.path().join("man").join(name)).unwrap();
    assert!(page("usbpipe.1").contains("usbpipe\\-exec(1)"), "the main page names the others");
    assert!(page("usbpipe-config-check.1").contains(".TH"));
    let keys = stdout(&ended(usbpipe().args(["man", "usbpipe.toml"])));
    assert!(keys.contains(".TH usbpipe.toml 5 \" \" \"usbpipe ") && keys.contains("\\fBboot_wait\\fR"), "{keys}");
    assert_eq!(page("usbpipe.toml.5").trim_end(), keys.trim_end());
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    for args in [&["completions", "bash"][..], &["man"], &["help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = output(usbpipe().args(args).stdout(writer));
        assert!(output.status.success() && output.stderr.is_empty(), "{args:?} | head: {output:?}");
    }
}

/// What a command that succeeded printed.
fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    stdout_of(output)
}

fn stdout_of(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}
