//! The examples, run as a reader would run them.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "common/simulator.rs"]
mod simulator;

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use common::bytes::{assert_same, pattern};
use common::{Daemon, PATIENCE, within};
use nix::sys::signal::Signal;
use simulator::Simulator;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// The command with the program under test on its PATH.
fn command(program: impl AsRef<OsStr>) -> Command {
    let built = Path::new(env!("CARGO_BIN_EXE_usbpipe")).parent().unwrap().display().to_string();
    let mut command = Command::new(program);
    command.env("PATH", format!("{built}:{}", std::env::var("PATH").unwrap())).stdin(Stdio::null());
    command
}

fn output(mut command: Command) -> Output {
    within(PATIENCE, move || command.output().unwrap())
}

/// What the command prints if it succeeds.
fn printed_by(command: Command) -> String {
    let name = format!("{command:?}");
    let output = output(command);
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What the example prints when it is given the demo's directory.
fn printed(demo: &Daemon, example: &str, more: &[&str]) -> String {
    let mut command = command(folder().join(example));
    command.arg(&demo.dir).args(more);
    printed_by(command)
}

/// The examples in C, built as their first lines say.
static EPOLL: LazyLock<PathBuf> = LazyLock::new(|| built("epoll"));
static SPLICE: LazyLock<PathBuf> = LazyLock::new(|| built("splice"));

fn built(example: &str) -> PathBuf {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(example);
    let mut cc = Command::new("cc");
    cc.args(["-Wall", "-Wextra", "-Werror", "-o"]).arg(&program).arg(folder().join(format!("{example}.c")));
    printed_by(cc);
    program
}

/// A Python that has this module: the one on the PATH or the system's, which has what apt installed.
fn python_with(module: &str) -> Option<&'static str> {
    let has = |python: &&str| {
        let mut command = Command::new(python);
        command.args(["-c", &format!("import {module}")]).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    ["python3", "/usr/bin/python3"].into_iter().find(has)
}

#[test]
fn the_shell_examples_print_what_the_devices_answer() {
    let demo = Daemon::demo();
    assert!(printed(&demo, "ping.sh", &[]).starts_with("PONG "));
    assert_eq!(printed(&demo, "sum.sh", &[]), "SUM 15\n");
    let reports = printed(&demo, "knob.sh", &[]);
    assert_eq!(reports.lines().count(), 10);
    assert!(reports.lines().all(|report| report.ends_with("05 00")), "{reports}");
    let sound = demo.path("../tone.s16").display().to_string();
    assert!(printed(&demo, "tone.sh", &[&sound]).contains("ok e8030000"));
    assert_eq!(fs::metadata(&sound).unwrap().len(), 192_000);
}

#[test]
fn a_sensor_is_logged_with_the_time_and_every_tenth_report() {
    let demo = Daemon::demo();
    let log = printed(&demo, "log.sh", &["4"]);
    let counters: Vec<u32> = log.lines().map(|line| value(line, "counter")).collect();
    assert_eq!(counters.len(), 4, "{log}");
    assert!(counters.windows(2).all(|pair| pair[1] == pair[0] + 10), "{log}");
    assert!(log.lines().all(|line| line.as_bytes()[8] == b'.' && line.contains(" position=")), "{log}");
}

/// The number after `key=`.
fn value(line: &str, key: &str) -> u32 {
    let word = line.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    word.unwrap_or_else(|| panic!("no {key} in {line:?}")).parse().unwrap()
}

#[test]
fn a_chat_prints_every_answer_and_ends_with_what_is_typed() {
    let demo = Daemon::demo();
    let mut chat = command(folder().join("chat.sh"));
    let mut chat = chat.arg(&demo.dir).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    chat.stdin.take().unwrap().write_all(b"PING 1\nLED ON\nSUM 1 2 39\ncoffee\n").unwrap();
    let output = within(PATIENCE, || chat.wait_with_output().unwrap());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "PONG 1\nLED ON\nSUM 42\nERR unknown: coffee\n");
}

#[test]
fn an_overflow_is_counted_and_the_stream_shows_the_same_gap() {
    let demo = Daemon::demo();
    let said = printed(&demo, "overflow.sh", &[]);
    let lost = u64::from(value(&said, "lost_packets"));
    assert!(lost >= 100, "{said}");
    let samples = lost * 48;
    assert!(
        said.ends_with(&format!("{lost} packets of 48 samples lost, {samples} samples missing in the stream\n")),
        "{said}"
    );
    assert_eq!(demo.count("tone", "ep_83", "lost_packets"), lost);
}

#[test]
fn one_loop_in_c_serves_three_devices() {
    let mut epoll = command(&*EPOLL);
    let demo = Daemon::demo();
    epoll.arg(&demo.dir);
    let said = printed_by(epoll);
    for (name, least) in [("uno/serial.rx", 11), ("knob/ep_81", 160), ("tone/ep_83", 19_200)] {
        let line = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap();
        assert!(line.strip_suffix(" bytes").unwrap().parse::<u32>().unwrap() >= least, "{said}");
    }
    assert_eq!(said.lines().count(), 3, "{said}");
}

#[test]
fn a_bulk_stream_goes_to_a_file_and_to_a_pipe_at_once() {
    let mut splice = command(&*SPLICE);
    let demo = Daemon::demo();
    let file = demo.path("../bulk");
    splice.arg(&demo.dir).arg(&file).arg("3000000");
    let output = output(splice);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected = pattern(3_000_000);
    assert_same(&expected, &output.stdout, 0);
    assert_same(&expected, &fs::read(&file).unwrap(), 0);
}

#[test]
fn a_container_with_the_run_dir_alone_has_the_device() {
    let demo = Daemon::demo();
    let mut container = command(folder().join("container.sh"));
    // Of the three only this one needs no image from elsewhere.
    container.arg(&demo.dir).arg("bwrap");
    let output = output(container);
    let why = String::from_utf8_lossy(&output.stderr);
    if why.contains("neither podman nor docker nor bwrap") {
        println!("skipped: a container with the run dir: bwrap cannot make one here (the package bubblewrap)");
        return;
    }
    assert_eq!(String::from_utf8_lossy(&output.stdout), "PONG from inside\n", "{why}");
}

#[test]
fn the_python_example_writes_and_reads_registers() {
    let Some(python) = python_with("socket") else {
        println!("skipped: examples/regs.py: python3 is not installed");
        return;
    };
    let demo = Daemon::demo();
    let mut regs = command(python);
    regs.arg(folder().join("regs.py")).arg(&demo.dir);
    assert_eq!(printed_by(regs), "hello registers\n");
}

#[test]
fn each_of_three_readers_hears_every_answer() {
    let Some(python) = python_with("socket") else {
        println!("skipped: examples/fan.py: python3 is not installed");
        return;
    };
    let demo = Daemon::demo();
    let mut fan = command(python);
    fan.arg(folder().join("fan.py")).arg(&demo.dir);
    let said = printed_by(fan);
    for reader in 1..=3 {
        let heard: Vec<&str> =
            said.lines().filter_map(|line| line.strip_prefix(&format!("reader {reader}: "))).collect();
        assert_eq!(heard, ["PONG 1", "LED ON", "SUM 6"], "{said}");
    }
    assert_eq!(said.lines().count(), 9, "{said}");
}

#[test]
fn the_daemon_passes_descriptors_to_a_python_program() {
    let Some(python) = python_with("socket") else {
        println!("skipped: examples/descriptors.py: python3 is not installed");
        return;
    };
    let demo = Daemon::demo();
    let mut example = command(python);
    example.arg(folder().join("descriptors.py")).arg(&demo.dir);
    assert_eq!(printed_by(example), "PONG passed\n00010203\n8 bytes in a report\n");
}

#[test]
fn pyserial_talks_to_a_board() {
    let Some(python) = python_with("serial") else {
        println!("skipped: examples/board.py: there is no pyserial (python3-serial)");
        return;
    };
    let talk = |place: &Path| {
        let mut example = command(python);
        example.arg(folder().join("board.py")).arg(place);
        let answers = "LED ON\nPONG 0\nPONG 1\nPONG 2\nPONG 3\nPONG 4\nSTATUS led=on baud=9600 dtr=0 resets=0\n";
        assert_eq!(printed_by(example), answers);
    };
    let demo = Daemon::demo();
    talk(&demo.dir);
    if let Some(board) = Simulator::with(9600, "pyserial with the sketch") {
        talk(&board.port);
    }
}

/// The block of the README that belongs to a running demo: each command prints what stands below it.
#[test]
fn the_readme_shows_what_happens() {
    let readme = fs::read_to_string(folder().join("../README.md")).unwrap();
    let block = readme.split("While the demo runs").nth(1).unwrap().split("```").nth(1).unwrap();
    let shown: Vec<(&str, &str)> =
        block.split("\n$ ").skip(1).map(|shown| shown.split_once('\n').unwrap_or((shown, ""))).collect();
    assert!(shown.len() >= 4, "{block}");
    let demo = Daemon::demo();
    let script: String = shown.iter().map(|(command, _)| format!("{command}\necho @@@\n")).collect();
    let script = script.replace("/tmp/demo", demo.dir.to_str().unwrap()).replace("target/release/", "");
    let mut shell = command("bash");
    shell.args(["-euc", &script]);
    let printed = printed_by(shell);
    for ((command, expected), got) in shown.iter().zip(printed.split("@@@\n")) {
        assert!(!got.is_empty() && (expected.is_empty() || got.trim_end() == expected.trim_end()), "{command}: {got}");
    }
}

#[test]
fn the_configuration_in_the_readme_is_good() {
    let readme = fs::read_to_string(folder().join("../README.md")).unwrap();
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("usbpipe.toml");
    fs::write(&file, readme.split("```toml\n").nth(1).unwrap().split("```").next().unwrap()).unwrap();
    let mut check = command("usbpipe");
    check.arg("-c").arg(&file).args(["config", "check"]);
    assert_eq!(printed_by(check), format!("{}: good, 3 devices\n", file.display()));
}

/// Where no demo runs, or one was killed and its FIFOs are still there.
#[test]
fn without_a_demo_each_example_says_what_to_do() {
    let mut killed = Daemon::demo();
    killed.signal(Signal::SIGKILL);
    killed.wait_end();
    let nowhere = killed.path("../nowhere");
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let scripts = entries.filter(|path| path.extension().is_some_and(|kind| kind == "sh"));
    let mut examples: Vec<Vec<PathBuf>> =
        scripts.chain([EPOLL.clone(), SPLICE.clone()]).map(|path| vec![path]).collect();
    for (script, module) in
        [("regs.py", "socket"), ("fan.py", "socket"), ("descriptors.py", "socket"), ("board.py", "serial")]
    {
        match python_with(module) {
            Some(python) => examples.push(vec![python.into(), folder().join(script)]),
            None => println!("skipped: {script} without a demo: no Python that has {module}"),
        }
    }
    assert!(examples.len() > 10, "{examples:?}");
    for (example, dir) in examples.iter().flat_map(|example| [(example, &killed.dir), (example, &nowhere)]) {
        let mut program = command(&example[0]);
        program.args(&example[1..]).arg(dir);
        if ["tone.sh", "splice"].iter().any(|name| example[0].ends_with(name)) {
            program.args(["/dev/null", "1"]);
        }
        let output = output(program);
        let said = String::from_utf8_lossy(&output.stderr);
        let advice =
            format!("no demo runs in {0}; start one in another terminal: usbpipe demo --dir {0}\n", dir.display());
        assert!(said.ends_with(&advice) && output.status.code() == Some(1), "{example:?}: {said}");
    }
}
