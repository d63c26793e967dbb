//! Commands as somebody types them into a console.

use std::io::Write;

use firmware_mock::DeviceKind::{Knob, Zero};
use tempfile::TempDir;

use crate::common::{Bus, Daemon, output, read_exactly, read_line, stands, usbpipe};

#[test]
fn ctrl_c_ends_a_daemon_in_order() {
    let bus = Bus::with(&[Zero]);
    let mut daemon = Daemon::run(&bus.device("zero", ""));
    let path = daemon.path("zero/ep_81");
    assert!(stands(&path));
    assert!(daemon.end().success());
    assert!(!stands(&path));
}

#[test]
fn a_path_with_blanks_and_other_letters_is_taken_as_it_is() {
    let bus = Bus::with(&[Knob]);
    let temp = TempDir::new().unwrap();
    let folder = temp.path().join("Zähler & Knöpfe (neu)");
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("my usbpipe.toml");
    std::fs::write(&file, bus.device("knob", "")).unwrap();
    let check = |path: &std::path::Path| output(usbpipe().arg("config").arg("check").arg("-c").arg(path));
    let good = check(&file);
    assert!(good.status.success(), "{good:?}");
    std::fs::write(&file, "[[device]]\nname = 5\n").unwrap();
    let bad = check(&file);
    assert_eq!(bad.status.code(), Some(2));
    let said = String::from_utf8(bad.stderr).unwrap();
    assert!(said.contains("my usbpipe.toml:2:8"), "{said}");
}

#[test]
fn unix_words_in_a_configuration_are_refused_with_those_of_windows() {
    let temp = TempDir::new().unwrap();
    let file = temp.path().join("usbpipe.toml");
    std::fs::write(&file, "[[device]]\nname = \"d\"\nmatch = { vid = 1 }\ngroup = \"dialout\"\n").unwrap();
    let output = output(usbpipe().arg("-c").arg(&file).arg("run"));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("usbpipe.toml:4:9") && said.contains("`sddl`"), "{said}");
}

#[test]
fn a_folder_is_no_place_for_pipes_and_whoever_names_one_is_told_what_is() {
    for command in [&["status"][..], &["demo"], &["top"]] {
        let output = output(usbpipe().args(["--dir", r"C:\usbpipe"]).args(command));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && said.contains(r"C:\usbpipe") && said.contains(r"\\.\pipe\usbpipe"),
            "{said}"
        );
    }
}

#[test]
fn the_demo_in_wine_bridges_devices_that_are_in_it_too() {
    let mut demo = Daemon::demo();
    let bytes = read_exactly(demo.reader("knob/ep_81"), 80).1;
    assert_eq!(bytes.len(), 80);
    demo.writer("zero/ep_02").write_all(b"there and back").unwrap();
    assert_eq!(read_exactly(demo.reader("zero/ep_82"), 14).1, b"there and back");
    assert!(demo.end().success());
}

#[test]
fn a_device_may_be_called_as_one_of_windows_but_not_as_another_in_capitals() {
    let bus = Bus::with(&[Knob]);
    let mut daemon = Daemon::run(&format!("[[device]]\nname = \"com5\"\n{}", bus.remote("knob")));
    assert_eq!(read_exactly(daemon.reader("com5/ep_81"), 80).1.len(), 80);
    assert!(
        daemon.answer(&["control", "com5", "descriptor device"]).starts_with("ok 1201"),
        "and no port is asked for"
    );
    let prefix = daemon.dir.file_name().unwrap().to_owned();
    let data = std::path::PathBuf::from(std::env::var_os("LOCALAPPDATA").unwrap());
    let file = data.join("usbpipe").join(prefix).join(r"com5+\device.json");
    assert!(std::fs::read_to_string(&file).unwrap().contains("\"com5\""), "{}", file.display());
    assert!(daemon.end().success());
    assert!(!file.exists(), "nothing is left behind");

    let temp = TempDir::new().unwrap();
    let file = temp.path().join("twice.toml");
    let device = |name: &str| format!("[[device]]\nname = \"{name}\"\nmatch = {{ vid = 1 }}\n");
    std::fs::write(&file, [device("uno"), device("UNO")].concat()).unwrap();
    let output = output(usbpipe().args(["config", "check", "-c"]).arg(&file));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && said.contains("line 2"), "{said}");
}

#[test]
fn a_connection_that_has_asked_for_something_else_can_become_an_outlets() {
    let bus = Bus::with(&[Knob]);
    let daemon = Daemon::run(&bus.device("knob", ""));
    let pipe = daemon.both("admin");
    for round in 0..3 {
        (&pipe).write_all(b"{\"cmd\":\"status\"}\n").unwrap();
        let answer = read_line(&pipe);
        assert!(answer.starts_with("{\"ok\":[{"), "in round {round}: {answer}");
    }
    (&pipe).write_all(b"{\"cmd\":\"open\",\"device\":\"knob\",\"outlet\":\"ep_81\"}\n").unwrap();
    assert_eq!(read_line(&pipe), "{\"ok\":[]}");
    let (pipe, reports) = read_exactly(pipe, 80);
    let counters: Vec<u32> = reports.chunks(8).map(|r| u32::from_le_bytes(r[..4].try_into().unwrap())).collect();
    assert!(counters.windows(2).all(|pair| pair[1] == pair[0] + 1), "{counters:?}");
    drop(pipe);
}
