//! The configuration: what is said of mistakes, and what the keys do.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::time::Duration;

use firmware_mock::DeviceKind::{Knob, Zero};
use tempfile::TempDir;

use crate::common::{
    Bus, Daemon, PATIENCE, ended, open_reader, open_writer, outlet, read_exactly, run_dir, stands, usbpipe, within,
};

#[test]
fn mistakes_are_named_with_file_line_and_column_by_run_and_by_check() {
    let device = "[[device]]\nname = \"a\"\nremote = \"usbip://localhost/1-1\"\n";
    let cases = [
        (format!("{device}colour = 3\n"), ":4:1:", "colour"),
        (format!("{device}unplug = 3\n"), ":4:10:", "`unplug`: expected a string"),
        (format!("{device}unplug = \"never\"\n"), ":4:10:", "never"),
        (format!("{device}{device}"), ":5:8:", "`a` is already"),
        (format!("{device}[[device.pipe]]\nendpoint = 0x00\n"), ":5:12:", "endpoint"),
        (format!("{device}[[device.pipe]]\nendpoint = 0x81\nqueue = 0\n"), ":6:9:", "queue"),
        (format!("{device}[[device.pipe]]\nendpoint = 0x81\ntransfer = -1\n"), ":6:12:", "transfer"),
        (format!("{device}[[device.pipe]]\nendpoint = 0x81\n[[device.pipe]]\nendpoint = 0x81\n"), ":7:12:", "0x81"),
        (format!("{device}mode = \"9999\"\n"), ":4:8:", "mode"),
        (format!("{device}match = {{ vid = 0x12345 }}\n"), ":4:17:", "vid"),
        (format!("{device}name = "), ":4:8:", ""),
        ("[device]\nname = \"a\"\n".to_owned(), ":1:1:", "[[device]]"),
        ("[[device]]\nname = \"a\"\nremote = \"lab-pi\"\n".to_owned(), ":3:10:", "usbip://"),
    ];
    let temp = TempDir::new().unwrap();
    let file = temp.path().join("broken.toml");
    for (text, place, word) in cases {
        fs::write(&file, &text).unwrap();
        for command in [&["config", "check"][..], &["run"]] {
            let dir = run_dir(&temp, "run");
            let output = ended(usbpipe().args(command).arg("--dir").arg(&dir).arg("-c").arg(&file));
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{command:?} of {text}: {said}");
            assert!(said.contains(&format!("broken.toml{place}")) && said.contains(word), "{text}: {said}");
            assert!(!dir.exists() && !stands(&outlet(&dir, "admin.sock")), "nothing was begun");
        }
    }
}

#[test]
fn a_configuration_that_is_missing_or_empty_is_wrong_usage_that_says_what_to_do() {
    let temp = TempDir::new().unwrap();
    let output = ended(usbpipe().arg("run").arg("-c").arg(temp.path().join("none.toml")));
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("none.toml"));
    let empty = temp.path().join("empty.toml");
    fs::write(&empty, "").unwrap();
    let output = ended(usbpipe().arg("run").arg("-c").arg(empty));
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("[[device]]"));
    let mut command = usbpipe();
    command.env("XDG_CONFIG_HOME", temp.path()).env("HOME", temp.path()).current_dir(temp.path());
    let output = ended(command.args(["config", "check"]));
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_good_configuration_is_said_to_be_good() {
    let temp = TempDir::new().unwrap();
    fs::write(temp.path().join("usbpipe.toml"), "[[device]]\nname = \"a\"\nremote = \"usbip://h/1-1\"\n").unwrap();
    let output = ended(usbpipe().args(["config", "check"]).current_dir(temp.path()));
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 device"));
}

#[test]
fn an_endpoint_that_the_device_lacks_is_named_beside_those_it_has() {
    let bus = Bus::with(&[Zero]);
    let pipes =
        "[[device.pipe]]\nendpoint = 0x83\n[[device.pipe]]\nendpoint = 0x82\n[[device.pipe]]\nendpoint = 0x02\n";
    let mut daemon = Daemon::run(&bus.device("zero", pipes));
    let said = daemon.wait_said("0x83");
    for there in ["0x81", "0x01", "0x82", "0x02"] {
        assert!(said.contains(there), "{said}");
    }
    daemon.writer("zero/ep_02").write_all(b"others work").unwrap();
    assert_eq!(read_exactly(daemon.reader("zero/ep_82"), 11).1, b"others work");
}

#[test]
fn another_device_than_the_one_that_was_meant_is_not_touched() {
    let bus = Bus::with(&[Zero]);
    let mut daemon = Daemon::run_unattached(&bus.device("zero", "match = { vid = 0x1234 }\n"));
    assert!(daemon.wait_said("another device").contains("0525:a4a0"));
    assert_eq!(daemon.status("zero")["sessions"], 0);
}

#[test]
fn with_idle_drain_the_device_is_read_while_nobody_listens() {
    let bus = Bus::with(&[Knob]);
    let daemon = Daemon::run(&bus.device("knob", "[[device.pipe]]\nendpoint = 0x81\nidle = \"drain\"\n"));
    daemon.wait_status("knob", |_| daemon.count("knob", "ep_81", "discarded_bytes") > 80);
    let before = daemon.count("knob", "ep_81", "transfers");
    let (reader, report) = read_exactly(daemon.reader("knob/ep_81"), 8);
    let first = u32::from_le_bytes(report[..4].try_into().unwrap());
    assert!(u64::from(first) + 20 >= before, "report {first} is an old one, {before} were drained");
    drop(reader);
    let then = daemon.count("knob", "ep_81", "discarded_bytes");
    daemon.wait_status("knob", |_| daemon.count("knob", "ep_81", "discarded_bytes") > then + 80);
}

#[test]
fn with_stall_stop_a_halt_ends_readers_until_they_open_again() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", "[[device.pipe]]\nendpoint = 0x81\nstall = \"stop\"\n"));
    for stalls in 1..=3 {
        let mut reader = open(&daemon, "zero/ep_81", true);
        reader.read_exact(&mut [0; 100_000]).unwrap();
        bus.command("stall zero 0x81");
        within(PATIENCE, move || reader.read_to_end(&mut Vec::new()).unwrap());
        assert_eq!(daemon.count("zero", "ep_81", "stalls"), stalls);
    }
}

#[test]
fn with_stall_stop_a_halt_ends_writers_until_they_open_again() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", "[[device.pipe]]\nendpoint = 0x01\nstall = \"stop\"\n"));
    for stalls in 1..=3 {
        let mut writer = open(&daemon, "zero/ep_01", false);
        // The sink halts at the first wrong byte.
        writer.write_all(&[9; 512]).unwrap();
        let error = within(PATIENCE, move || {
            loop {
                if let Err(error) = writer.write_all(&[0]) {
                    return error;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
        assert_eq!(daemon.count("zero", "ep_01", "stalls"), stalls);
    }
    let good: Vec<u8> = (0..512u32).map(|n| (n % 63) as u8).collect();
    let before = daemon.count("zero", "ep_01", "bytes");
    open(&daemon, "zero/ep_01", false).write_all(&good).unwrap();
    daemon.wait_status("zero", |_| daemon.count("zero", "ep_01", "bytes") == before + 512);
}

/// Opens an outlet; fails the test instead of waiting forever.
fn open(daemon: &Daemon, name: &str, read: bool) -> File {
    let path = daemon.path(name);
    within(PATIENCE, move || if read { open_reader(&path) } else { open_writer(&path) }.unwrap())
}
