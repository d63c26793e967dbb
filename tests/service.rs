//! The unit files, and what else a package installs beside the program, judged by systemd's own tools.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    if !has("systemd-analyze") {
        return eprintln!("skipped: systemd-analyze verify: systemd is not installed");
    }
    // As installed, but for the program, which is the one under test.
    let temp = TempDir::new().unwrap();
    let units = ["usbpipe.service", "usbpipe.socket"].map(|name| {
        let text = fs::read_to_string(folder().join(name)).unwrap();
        let unit = temp.path().join(name);
        fs::write(&unit, text.replace("/usr/bin/usbpipe", env!("CARGO_BIN_EXE_usbpipe"))).unwrap();
        unit
    });
    let verify = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&units).output().unwrap();
    assert!(verify.status.success() && said(&verify).is_empty(), "{}", said(&verify));
}

#[test]
fn the_service_may_do_little_beside_its_work() {
    if !has("systemd-analyze") {
        return eprintln!("skipped: systemd-analyze security: systemd is not installed");
    }
    let mut judge = Command::new("systemd-analyze");
    // The threshold is an exposure of 1.5; a unit above it ends the command with an error.
    judge.args(["security", "--no-pager", "--offline=yes", "--threshold=15"]).arg(folder().join("usbpipe.service"));
    let judged = judge.output().unwrap();
    if said(&judged).contains("unrecognized option") {
        return eprintln!("skipped: systemd-analyze security: this systemd cannot judge a file (250 can)");
    }
    assert!(judged.status.success() && said(&judged).contains("Overall exposure"), "{}", said(&judged));
}

#[test]
fn the_user_of_the_service_is_made_as_described() {
    let mut make = Command::new("systemd-sysusers");
    let temp = TempDir::new().unwrap();
    make.arg("--root").arg(temp.path()).arg(folder().join("sysusers.d/usbpipe.conf"));
    fs::create_dir_all(temp.path().join("etc")).unwrap();
    match make.output() {
        Err(e) => eprintln!("skipped: systemd-sysusers: {e}"),
        Ok(made) => {
            assert!(made.status.success(), "{}", said(&made));
            let users = fs::read_to_string(temp.path().join("etc/passwd")).unwrap();
            let groups = fs::read_to_string(temp.path().join("etc/group")).unwrap();
            assert!(users.contains("usbpipe:") && users.contains("nologin"), "{users}");
            assert!(groups.contains("usbpipe:") && groups.contains("dialout:"), "{groups}");
        }
    }
}

#[test]
fn service_socket_and_tmpfiles_mean_one_directory() {
    let read = |name: &str| fs::read_to_string(folder().join(name)).unwrap();
    assert!(read("usbpipe.service").contains("run --dir /run/usbpipe -c /etc/usbpipe/usbpipe.toml"));
    assert!(read("usbpipe.service").contains("\nRuntimeDirectory=usbpipe\nRuntimeDirectoryMode=0711\n"));
    assert!(read("usbpipe.socket").contains("\nListenStream=/run/usbpipe/admin.sock\n"));
    assert!(read("tmpfiles.d/usbpipe.conf").contains("\nd /run/usbpipe 0711 usbpipe usbpipe -\n"));
}

#[test]
fn the_example_of_a_configuration_is_good_and_its_devices_get_rules() {
    let example = folder().join("usbpipe.toml");
    for command in [&["config", "check"][..], &["udev"]] {
        let mut usbpipe = Command::new(env!("CARGO_BIN_EXE_usbpipe"));
        let output = usbpipe.args(command).arg("-c").arg(&example).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
    // So is what it has in comments.
    let text = fs::read_to_string(&example).unwrap();
    let (_, rest) = text.split_once("# [[device]]\n").unwrap();
    let temp = TempDir::new().unwrap();
    let file = temp.path().join("usbpipe.toml");
    fs::write(&file, format!("[[device]]\n{}", rest.replace("# ", ""))).unwrap();
    let mut usbpipe = Command::new(env!("CARGO_BIN_EXE_usbpipe"));
    let output = usbpipe.args(["config", "check", "-c"]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd")
}

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
