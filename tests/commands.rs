//! The commands that a shell of Unix has to do with. What is the same on every system is in `both/commands.rs`.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use common::{Daemon, ended, usbpipe};
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
