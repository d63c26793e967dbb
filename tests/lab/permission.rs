//! Who may use a device: refused with the rule to install, and let in by rules under the guest's own udevd.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::common::{Bus, Daemon, usbpipe};
use crate::guest::{Function, Guest, UsbDevice, access, look_again, properties};
use firmware_mock::DeviceKind::{Regs, Uno};

const SHIPPED: &str = include_str!("../../udev/60-usbpipe.rules");

#[test]
fn the_commands_that_somebody_is_told_let_them_in() {
    let Some(guest) = Guest::here() else { return };
    let (ada, bob) = (guest.person("ada"), guest.person("bob"));
    let bus = Bus::with(&[Regs]);
    let board = guest.attach(&bus, "regs", "1209:0004");
    assert_eq!(access(&board.device.node()), "root 664");

    let told = refused(&ada.ask(&["control", "1209:0004", READ]));
    assert!(told.contains(&format!("{} is for user root and group root", board.device.node().display())), "{told}");
    let (make, rest) = told.split_once("make its group: ").unwrap().1.split_once("; install the rule: ").unwrap();
    let (rule, rest) = rest.split_once("; then, ").unwrap();
    let join = rest.split_once("log in again: ").unwrap().1;
    guest.type_as_root(make);
    guest.type_as_root(rule);
    let _rules = guest.rules_found("61-usbpipe-1209-0004.rules");
    guest.type_as_root(join);

    assert_eq!(access(&board.device.node()), "usbpipe 660");
    assert_eq!(stdout(&ada.ask(&["control", "1209:0004", READ])), "ok 00000000\n");
    let told = refused(&bob.ask(&["control", "1209:0004", READ]));
    assert!(told.contains("sudo usermod -aG usbpipe bob"), "{told}");
    guest.must(&["groupdel", "usbpipe"]);
}

#[test]
fn a_daemon_that_was_refused_goes_on_when_the_rule_is_there() {
    let Some(guest) = Guest::here() else { return };
    let _group = guest.group("usbpipe");
    let ada = guest.person("ada");
    guest.must(&["usermod", "-aG", "usbpipe", "ada"]);
    let bus = Bus::with(&[Regs]);
    let board = guest.attach(&bus, "regs", "1209:0004");
    let temp = TempDir::new().unwrap();
    guest.must(&["chmod", "755", temp.path().to_str().unwrap()]);
    let (dir, file) = (temp.path().join("run"), temp.path().join("usbpipe.toml"));
    ada.directory(&dir);
    fs::write(&file, "[[device]]\nname = \"regs\"\nmatch = { vid = 0x1209, pid = 0x0004 }\n").unwrap();
    let mut command = ada.usbpipe();
    command.arg("run").arg("--dir").arg(&dir).arg("-c").arg(&file);
    let mut daemon = Daemon::start(command, &dir);
    let told = daemon.wait_said("install the rule").to_owned();
    assert!(told.contains("usbpipe udev 1209:0004"), "{told}");
    assert!(!told.contains("usermod"), "who is in the group need not join it: {told}");
    let rules = stdout(&usbpipe().args(["udev", "-c"]).arg(&file).output().unwrap());
    let _rules = guest.rules("61-usbpipe.rules", &rules);
    look_again(&board.device.node());
    daemon.wait_attached();
    assert_eq!(daemon.answer(&["control", "regs", READ]), "ok 00000000");
    assert!(daemon.end().success());
}

#[test]
fn the_shipped_rules_let_the_group_in_and_keep_modemmanager_away() {
    let Some(guest) = Guest::here() else { return };
    let _group = guest.group("usbpipe");
    let _rules = guest.rules("60-usbpipe.rules", SHIPPED);
    let bus = Bus::with(&[Uno]);
    let board = guest.attach(&bus, "uno", "2341:0043");
    let node = board.device.node();
    assert_eq!(access(&node), "usbpipe 660");
    assert_tagged(&node, &["ID_MM_DEVICE_IGNORE=1"], &["uaccess", "systemd"]);

    let port = board.device.port();
    assert_eq!(access(&port), "dialout 660", "the port stays with the system's group");
    assert_tagged(&port, &["ID_MM_DEVICE_IGNORE=1", "ID_MM_PORT_IGNORE=1"], &["uaccess"]);

    let ada = guest.person("ada");
    let told = refused(&ada.ask(&["control", "2341:0043", "descriptor device"]));
    assert!(told.contains("sudo usermod -aG usbpipe ada"), "{told}");
    guest.must(&["usermod", "-aG", "usbpipe", "ada"]);
    let answer = stdout(&ada.ask(&["control", "2341:0043", "descriptor device"]));
    assert!(answer.starts_with("ok 1201"), "{answer}");
}

#[test]
fn what_is_no_board_is_left_alone_by_the_shipped_rules() {
    let Some(guest) = Guest::here() else { return };
    let _group = guest.group("usbpipe");
    let _rules = guest.rules("60-usbpipe.rules", SHIPPED);
    let keyboard = UsbDevice::wait("0627:0001").node();
    look_again(&keyboard);
    assert_eq!(access(&keyboard), "root 664");
    assert!(!properties(&keyboard).contains("ID_MM_DEVICE_IGNORE"));
}

#[test]
fn a_rule_for_a_serial_number_fits_that_board_alone_whatever_the_number_says() {
    let Some(guest) = Guest::here() else { return };
    let _group = guest.group("usbpipe");
    for (serial, sibling) in [
        ("PLAIN-1", "PLAIN-12"),
        (r#"a"b\*?[x]$k%k{}#,=+ é"#, r#"a"b\c?[x]$k%k{}#,=+ é"#),
        (r#"\"#, r"\\"),
        (r#"x", RUN+="/bin/touch /run/broken-out", ENV{x}=="#, "x"),
    ] {
        let rules = stdout(&usbpipe().args(["udev", &format!("0525:a4a2:{serial}")]).output().unwrap());
        let _rules = guest.rules("61-usbpipe.rules", &rules);
        let gadgets = [serial, sibling].map(|serial| {
            let gadget = guest.gadget("0525:a4a2", &[Function::loopback()]);
            gadget.write("strings/0x409/serialnumber", serial);
            gadget
        });
        let [wanted_device, other_device] = gadgets.each_ref().map(|gadget| gadget.plug());
        assert_eq!(access(&wanted_device.node()), "usbpipe 660", "{serial}");
        assert_eq!(access(&other_device.node()), "root 664", "{sibling} is not {serial}");
    }
    assert!(!Path::new("/run/broken-out").exists());
}

#[test]
fn udev_finds_nothing_wrong_with_the_rules() {
    let Some(guest) = Guest::here() else { return };
    // Debian 12's own is older than its `verify`; the lab brings a newer one.
    let Some(udevadm) = std::env::var("USBPIPE_UDEVADM").ok().filter(|path| !path.is_empty()) else {
        return println!("skipped: udevadm verify: no udevadm that has it could be had (systemd 254)");
    };
    let _group = guest.group("usbpipe");
    let temp = TempDir::new().unwrap();
    let mut verify = Command::new(udevadm);
    verify.arg("verify");
    let hostile = "1209:0001:a\"b\\ *?[x] | $k %k {} # ,=!+-^ é";
    for (n, args) in [&[][..], &["2341:0043"], &["1-1.4", "/dev/ttyS0", "--start"], &[hostile]].iter().enumerate() {
        let file = temp.path().join(format!("61-{n}.rules"));
        fs::write(&file, stdout(&usbpipe().arg("udev").args(*args).current_dir(&temp).output().unwrap())).unwrap();
        verify.arg(file);
    }
    let output = verify.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("Success: 4"), "{said}");
}

/// A request that `regs` answers.
const READ: &str = "in 0xc0 2 0 0 4";

fn assert_tagged(node: &Path, lines: &[&str], tags: &[&str]) {
    let known = properties(node);
    for line in lines {
        assert!(known.lines().any(|l| l == *line), "{line} is not in {known}");
    }
    let there = known.lines().find(|l| l.starts_with("CURRENT_TAGS=")).unwrap_or_else(|| panic!("no tags: {known}"));
    for tag in tags {
        assert!(there.contains(&format!(":{tag}:")), "{tag} is not in {there}");
    }
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What somebody is told who may not.
fn refused(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said.contains("no permission"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}
