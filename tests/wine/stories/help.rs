//! What commands say to somebody who knows Windows and not Unix.

use std::process::Stdio;

use firmware_mock::DeviceKind::{Knob, Uno};

use crate::common::{Bus, Daemon, output, start_child, usbpipe};
use crate::plain::client;

fn said(words: &[&str]) -> String {
    let output = output(usbpipe().args(words));
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
fn help_names_nothing_that_only_unix_has() {
    let commands =
        ["run", "bridge", "exec", "release", "serial", "control", "capture", "log", "plot", "top", "service"];
    let all: Vec<String> = commands.iter().map(|command| said(&["help", command])).chain([said(&["--help"])]).collect();
    for foreign in ["FIFO", "/run", "/etc", "/dev", "SIG", "socket", "udev", "sudo", "~", "python3", "descriptor N"] {
        let found = all.iter().find(|text| text.contains(foreign));
        assert!(found.is_none(), "{foreign} is in {}", found.unwrap());
    }
    let [.., main] = &all[..] else { unreachable!() };
    assert!(
        main.contains(r"%APPDATA%\usbpipe\usbpipe.toml") && main.contains(r"\\.\pipe\usbpipe\NAME\serial"),
        "{main}"
    );
}

#[test]
fn exec_names_pipes_for_commands_that_open_them_and_says_what_windows_lacks() {
    let bus = Bus::with(&[Uno, Knob]);
    let daemon = Daemon::run(&[bus.device("uno", "[device.serial]\n"), bus.device("knob", "")].concat());
    let program = client().get_program().to_str().unwrap().to_owned();
    let exec = |words: &[&str]| {
        let output = daemon.ask(&[&["exec"], words].concat());
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let (code, text) = exec(&["knob", "--", &program, "words", "{ep_81}", "-o{ep_01}", "{x}"]);
    let pipe = |name: &str| daemon.path(name).display().to_string();
    assert_eq!((code, text), (Some(0), format!("{}\n-o{}\n{{x}}\n", pipe("knob/ep_81"), pipe("knob/ep_01"))));
    let reports = daemon.ask(&["exec", "knob", "--", &program, "read", "{ep_81}", "16"]);
    assert!(reports.status.success() && reports.stdout.len() == 16, "{reports:?}");
    let (code, text) = exec(&["uno", "--", &program, "words", "{serial}"]);
    assert_eq!((code, text), (Some(0), pipe("uno/serial") + "\n"));

    for (words, says) in [
        (&["uno", "--", "putty", "{port}"][..], "usbpipe release uno"),
        (&["knob", "--fd", "3=ep_81", "--", "cmd"], "{ep_81}"),
    ] {
        let (code, text) = exec(words);
        assert!(code == Some(1) && text.contains(says), "{words:?}: {code:?} {text}");
    }
    let (code, text) = exec(&["knob", "--in", "ep_81", "--", "echo", "hello"]);
    assert!(code == Some(127) && text.contains("cmd /c"), "{code:?} {text}");
}

#[test]
fn the_status_of_a_command_is_passed_on_with_all_its_bits() {
    let bus = Bus::with(&[Knob, Uno]);
    let daemon = Daemon::run(&[bus.device("uno", "[device.serial]\n"), bus.device("knob", "")].concat());
    for code in [0, 3, 256, 3010, 0xc000_0005_u32 as i32] {
        let end = format!("exit {code}");
        let status = |words: &[&str]| daemon.ask(&[words, &["--", "cmd", "/c", &end]].concat()).status.code();
        assert_eq!(status(&["exec", "knob", "--in", "ep_81"]), Some(code));
        assert_eq!(status(&["release", "uno"]), Some(code));
    }
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let bus = Bus::with(&[Knob]);
    let daemon = Daemon::run(&bus.device("knob", ""));
    for words in [&["status"][..], &["completions", "powershell"], &["man"]] {
        let mut command = usbpipe();
        command.arg("--dir").arg(&daemon.dir).args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = start_child(&mut command);
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{words:?}: {output:?}");
    }
}
