//! The commands that a shell of Unix has to do with. What is the same on every system is in `both/commands.rs`.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "common/sockets.rs"]
mod sockets;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Output, Stdio};

use common::{Bus, Daemon, ended, usbpipe};
use firmware_mock::DeviceKind::{Echo, Tone, Zero};
use sockets::connect_stream;
use tempfile::TempDir;

#[test]
fn the_commands_that_the_demo_prints_run_as_printed() {
    let temp = TempDir::new().unwrap();
    let dir = temp.path().join("demo");
    let mut command = usbpipe();
    command.arg("demo").arg("--dir").arg(&dir).stdout(Stdio::piped());
    let mut demo = Daemon::start(command, &dir);
    let mut lines = BufReader::new(demo.child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let printed: Vec<String> = lines.by_ref().take_while(|l| !l.contains("Ctrl-C")).collect();
    let commands: Vec<&str> = printed.iter().filter_map(|l| l.strip_prefix("  ")).collect();
    assert!(commands.len() >= 6, "{printed:?}");
    let run = |line: &str| {
        let output = ended(Command::new("sh").arg("-c").arg(line).current_dir(temp.path()));
        assert!(output.status.success() && output.stderr.is_empty(), "{line}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let answers: Vec<(&str, String)> = commands.iter().map(|line| (*line, run(line))).collect();
    let answer = |word: &str| answers.iter().find(|(line, _)| line.contains(word)).map(|(_, a)| a.as_str()).unwrap();
    assert_eq!(answer("PING"), "PONG 1\n");
    assert_eq!(answer("zero/ep_81").trim(), "1000000");
    assert_eq!(answer("knob/ep_81").lines().filter(|l| !l.trim().is_empty()).count(), 10);
    assert_eq!(temp.path().join("tone.s16").metadata().unwrap().len(), 192_000);
    assert_eq!(answer("control regs"), "ok\n");
    assert!(answer("status").contains("zero"));
    assert!(demo.end().success());
    assert!(!dir.exists());
}

#[test]
fn bridge_with_sockets_serves_several_programs_of_one_endpoint_and_of_a_serial_line() {
    let bus = Bus::with(&[Zero, Echo]);
    let temp = TempDir::new().unwrap();
    let dir = temp.path().join("run");
    let selector = |name: &str| format!("usbip://127.0.0.1:{}/{}", bus.port, bus.busid(name));
    let mut command = usbpipe();
    command.arg("--dir").arg(&dir).args(["bridge", "--socket"]).args(["zero", "echo"].map(selector));
    let mut daemon = Daemon::start(command, &dir);
    daemon.wait_said("ready");
    for name in ["0525-a4a0", "1209-0005"] {
        daemon.wait_status(name, |s| s["state"] == "attached");
    }
    let mut clients = [0; 2].map(|_| connect_stream(&daemon, "0525-a4a0/ep_82.sock"));
    daemon.writer("0525-a4a0/ep_02").write_all(b"for both").unwrap();
    for client in &mut clients {
        let mut bytes = [0; 8];
        client.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"for both");
    }
    let mut line = connect_stream(&daemon, "1209-0005/serial.sock");
    line.write_all(b"there and back").unwrap();
    let mut bytes = [0; 14];
    line.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"there and back");
}

#[test]
fn exec_with_options_needs_no_configuration() {
    let bus = Bus::with(&[Zero, Tone]);
    let selector = |name: &str| format!("usbip://127.0.0.1:{}/{}", bus.port, bus.busid(name));
    let run = |words: &[&str]| stdout(&ended(usbpipe().arg("exec").args(words)));
    let (zero, tone) = (selector("zero"), selector("tone"));
    let line = run(&[&zero, "--framing", "hex", "--detach", "--in", "ep_81", "--", "head", "-n1"]);
    assert!(line.starts_with("000102030405") && line.len() % 1024 == 1, "{line}");
    let sound = ended(
        usbpipe().args(["exec", &tone, "--interface", "1", "--alt", "1", "--in", "83"]).args(["--", "head", "-c192"]),
    );
    assert_eq!((sound.status.code(), sound.stdout.len()), (Some(0), 192), "{sound:?}");
    let socket = "test -S $USBPIPE_DIR/$USBPIPE_DEVICE/ep_82.sock && echo there";
    assert_eq!(run(&[&zero, "--socket", "--fd", "3=ep_82", "--", "sh", "-c", socket]), "there\n");
}

#[test]
fn completions_know_options_and_their_values() {
    let completions = stdout(&ended(usbpipe().args(["completions", "bash"])));
    for words in ["stream packet length hex jsonl", "--detach --interface --alt --framing --socket"] {
        assert!(completions.contains(words), "{words:?} is not in {completions}");
    }
    let temp = TempDir::new().unwrap();
    stdout(&ended(usbpipe().args(["man", "--out"]).arg(temp.path())));
    for page in ["bridge", "exec", "capture"] {
        let text = std::fs::read_to_string(temp.path().join(format!("usbpipe-{page}.1"))).unwrap();
        for option in ["detach", "interface", "alt", "framing", "socket"] {
            assert!(text.contains(&format!("\\-\\-{option}")), "{option} is not in usbpipe-{page}.1");
        }
    }
}

#[test]
fn completions_are_what_bash_understands() {
    let temp = TempDir::new().unwrap();
    let script = temp.path().join("usbpipe.bash");
    let completions = stdout(&ended(usbpipe().args(["completions", "bash"])));
    std::fs::write(&script, &completions).unwrap();
    assert!(completions.contains("bridge"), "{completions}");
    match Command::new("bash").arg("-n").arg(&script).output() {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(e) => println!("skipped: the syntax of the completions: bash cannot be run: {e}"),
    }
}

/// What a command that succeeded printed.
fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}
