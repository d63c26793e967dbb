//! `usbpipe udev`: what it prints, and what udev makes of it.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

#[test]
fn a_selector_gives_the_rules_of_that_device_and_where_they_go() {
    let text = stdout(&udev(&["2341:0043"]));
    assert!(text.contains("/etc/udev/rules.d/61-usbpipe-2341-0043.rules"), "{text}");
    let [usb, tty] = &rules(&text)[..] else { panic!("two rules: {text}") };
    for word in ["ATTR{idVendor}==\"2341\"", "ATTR{idProduct}==\"0043\"", "GROUP=\"usbpipe\"", "MODE=\"0660\""] {
        assert!(usb.contains(word), "{word} is not in {usb}");
    }
    assert!(usb.contains("TAG+=\"uaccess\"") && usb.contains("TAG+=\"systemd\"") && !usb.contains("SYSTEMD_WANTS"));
    assert!(tty.contains("ENV{ID_MM_PORT_IGNORE}=\"1\"") && !tty.contains("GROUP"), "{tty}");
}

#[test]
fn a_group_and_the_start_of_the_service_can_be_asked_for() {
    let text = stdout(&udev(&["1-1.4", "--group", "plugdev", "--start"]));
    let usb = &rules(&text)[0];
    assert!(usb.contains("KERNEL==\"1-1.4\"") && usb.contains("GROUP=\"plugdev\""), "{usb}");
    assert!(usb.contains("ENV{SYSTEMD_WANTS}+=\"usbpipe.service\""), "{usb}");
}

#[test]
fn a_configuration_gives_the_rules_of_its_devices_with_their_groups() {
    let temp = TempDir::new().unwrap();
    let file = temp.path().join("usbpipe.toml");
    fs::write(&file, CONFIGURATION).unwrap();
    let text = stdout(&udev(&["-c", file.to_str().unwrap()]));
    let rules = rules(&text);
    assert_eq!(rules.len(), 4, "{text}");
    assert!(rules[0].contains("ATTR{idProduct}==\"0043|0001\"") && rules[0].contains("GROUP=\"dialout\""), "{text}");
    assert!(rules[2].contains(r#"ATTR{product}=="say \"[*]\"""#) && rules[2].contains("GROUP=\"usbpipe\""), "{text}");
    assert!(text.contains("# far: reached by USB/IP, needs no rule here"), "{text}");
    assert_eq!(udev(&["-c", "/nowhere/usbpipe.toml"]).status.code(), Some(2));
}

#[test]
fn without_a_configuration_it_prints_the_rules_that_packages_ship() {
    let shipped = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("udev/60-usbpipe.rules")).unwrap();
    if Path::new("/etc/usbpipe/usbpipe.toml").exists() {
        return eprintln!("skipped: the rules without a configuration: this machine has /etc/usbpipe/usbpipe.toml");
    }
    assert_eq!(stdout(&udev(&[])), shipped);
}

#[test]
fn what_no_rule_can_say_is_refused() {
    for (args, word) in [
        (&["usbip://127.0.0.1/1-1"][..], "needs no rule"),
        (&["/dev/serial/by-id/x"], "usbpipe list"),
        (&["2341:0043", "--group", "a\",RUN+=\"x"], "no name of a group"),
        (&["nonsense"], "not a device"),
    ] {
        let output = udev(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(word) && output.stdout.is_empty(), "{said}");
    }
}

#[test]
fn the_manual_has_a_page_of_it() {
    let temp = TempDir::new().unwrap();
    let manual = Command::new(env!("CARGO_BIN_EXE_usbpipe")).arg("man").arg("--out").arg(temp.path()).output().unwrap();
    assert!(manual.status.success(), "{manual:?}");
    let page = |name: &str| fs::read_to_string(temp.path().join(name)).unwrap();
    assert!(page("usbpipe.1").contains("usbpipe\\-udev(1)") && page("usbpipe-udev.1").contains("61\\-usbpipe"));
}

#[test]
fn udev_finds_nothing_wrong_with_the_rules() {
    let Some(udevadm) = udevadm() else {
        return eprintln!(
            "skipped: udevadm verify: there is none here (systemd 254 brings it, and tests/run fetches it)"
        );
    };
    let temp = TempDir::new().unwrap();
    let file = temp.path().join("usbpipe.toml");
    fs::write(&file, CONFIGURATION).unwrap();
    let hostile = "1209:0001:a\"b\\ *?[x] | $k %k {} # ,=!+-^ é";
    let cases: [&[&str]; 4] =
        [&["2341:0043"], &["1-1.4", "/dev/ttyS0", "--start"], &[hostile], &["-c", file.to_str().unwrap()]];
    let mut verify = Command::new(udevadm);
    verify.args(["verify", "--resolve-names=never"]);
    verify.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("udev/60-usbpipe.rules"));
    for (n, args) in cases.iter().enumerate() {
        let rules = temp.path().join(format!("61-{n}.rules"));
        fs::write(&rules, stdout(&udev(args))).unwrap();
        verify.arg(rules);
    }
    let output = verify.output().unwrap();
    assert!(output.status.success(), "{}{}", stdout_of(&output), String::from_utf8_lossy(&output.stderr));
}

const CONFIGURATION: &str = r#"
[[device]]
name = "arduino"
match = { vid = 0x2341, pid = [0x0043, 0x0001] }
group = "dialout"

[[device]]
name = "talker"
match = { product = 'say "*"' }

[[device]]
name = "far"
remote = "usbip://127.0.0.1/1-1"
"#;

fn udev(args: &[&str]) -> Output {
    let temp = TempDir::new().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_usbpipe"));
    command.arg("udev").args(args).current_dir(&temp).env("HOME", temp.path()).env_remove("XDG_CONFIG_HOME");
    command.output().unwrap()
}

/// One that has `verify`: `$USBPIPE_UDEVADM`, or this system's.
fn udevadm() -> Option<OsString> {
    let udevadm = std::env::var_os("USBPIPE_UDEVADM").filter(|path| !path.is_empty()).unwrap_or("udevadm".into());
    let verifies = Command::new(&udevadm).args(["verify", "--help"]).output().is_ok_and(|o| o.status.success());
    verifies.then_some(udevadm)
}

/// The lines that do something to a device.
fn rules(text: &str) -> Vec<String> {
    text.lines().filter(|line| line.starts_with("SUBSYSTEM==")).map(str::to_owned).collect()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    stdout_of(output)
}

fn stdout_of(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}
