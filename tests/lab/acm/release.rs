//! Ports that other programs get for a while, and boards that go into their bootloaders, on the real kernel.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use super::{FarEnd, Function, Guest, KERNEL, Line, USER, configured, user_of_ports};
use crate::common::{Daemon, read_line, usbpipe, wait_child};
use crate::vitals::Events;

/// What an uploader does: takes the port as its own and talks to the bootloader.
const UPLOAD: &str =
    "stty -F \"$1\" raw -echo; exec 3<>\"$1\"; echo sync >&3; read -r answer <&3; echo \"$answer $1\"; exit 7";

#[test]
fn an_uploader_gets_the_kernels_port_whoever_drives_the_line_otherwise() {
    let Some(guest) = Guest::here() else { return };
    for (config, driver) in [(KERNEL, "cdc_acm"), (USER, "usbfs")] {
        let line = Line::with(&guest, &format!("unplug = \"eof\"\n{config}"));
        line.lines_go_both_ways();
        let mut release = usbpipe();
        release.arg("--dir").arg(&line.daemon.dir).args(["release", "board", "--", "sh", "-c", UPLOAD, "sh", "{port}"]);
        let mut uploader = release.stdout(Stdio::piped()).spawn().unwrap();
        assert_eq!(line.far.hear(5), b"sync\n");
        assert_eq!(line.device.driver(0).as_deref(), Some("cdc_acm"));
        line.far.say("in sync\n");
        let said = BufReader::new(uploader.stdout.take().unwrap()).lines().next().unwrap().unwrap();
        assert_eq!(said, format!("in sync {}", line.device.port().display()));
        assert_eq!(wait_child(&mut uploader).code(), Some(7));
        line.daemon.wait_status("board", |s| s["state"] == "attached");
        assert_eq!(line.device.driver(0).as_deref(), Some(driver));
        line.lines_go_both_ways();
    }
}

#[test]
fn without_the_lock_a_user_who_may_open_the_port_gets_it_until_it_is_closed() {
    let Some(guest) = Guest::here() else { return };
    let line = Line::with(&guest, &format!("unplug = \"eof\"\n{KERNEL}lock = false\n"));
    line.lines_go_both_ways();
    let mut events = Events::of(&line.daemon);
    let mut other = user_of_ports("sh")
        .args(["-c", "exec 3<>\"$0\"; cat"])
        .arg(line.device.port())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let told = events.wait("pause", "board");
    let holder = format!("in use by sh (process {})", other.id());
    assert!(told["text"].as_str().unwrap().contains(&holder), "{told}");
    drop(other.stdin.take());
    assert!(wait_child(&mut other).success());
    events.wait("resume", "board");
    events.wait("attach", "board");
    line.lines_go_both_ways();
}

/// Gadgets stand for the two states of a board: they come up at the same place.
#[test]
fn a_board_is_followed_into_its_bootloader_and_back_by_either_driver() {
    let Some(guest) = Guest::here() else { return };
    for config in [KERNEL, USER] {
        let application = guest.gadget("2341:8036", &[Function::acm()]);
        application.plug().port();
        let daemon = Daemon::run(&configured("2341:8036", &format!("unplug = \"eof\"\n{config}")));
        let monitor = daemon.reader("board/serial.rx");
        FarEnd::of(&application).say("sketch\n");
        assert_eq!(read_line(&monitor), "sketch");
        assert_eq!(daemon.answer(&["serial", "board", "baud", "1200"]), "ok");
        drop(application);
        daemon.wait_status("board", |s| s["state"] == "searching");
        let bootloader = guest.gadget("2341:0036", &[Function::acm()]);
        bootloader.plug();
        let status = daemon.wait_status("board", |s| s["state"] == "attached");
        assert_eq!((&status["id"], &status["board"]), (&"2341:0036".into(), &"Arduino Leonardo (bootloader)".into()));
        FarEnd::of(&bootloader).say("loader\n");
        assert_eq!(read_line(&monitor), "loader");
        drop(bootloader);
        daemon.wait_status("board", |s| s["state"] == "searching");
        let application = guest.gadget("2341:8036", &[Function::acm()]);
        application.plug();
        daemon.wait_status("board", |s| s["state"] == "attached" && s["id"] == "2341:8036");
        FarEnd::of(&application).say("back\n");
        assert_eq!(read_line(&monitor), "back");
    }
}
