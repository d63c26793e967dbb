//! Logs of serial lines: what was said and when, over unplugs and for as long as it takes.

use std::time::{Duration, SystemTime};

use firmware_mock::DeviceKind::{Echo, Zero};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{Bus, Daemon, ask_to_end, output, read_line, run_dir, usbpipe, wait_child};
use crate::log_file::Log;

#[test]
fn each_line_has_its_time_and_what_has_no_end_is_there_at_the_end() {
    let bus = Bus::with(&[Echo]);
    let daemon = Daemon::run(&bus.device("echo", ""));
    let mut log = Log::of(&daemon, &[]);
    let begin = SystemTime::now() - Duration::from_millis(1);
    log.say("temp 21.5\r\nhum 40\n\n\x1b[0m\\\u{e9}\n");
    log.say(b"\xff\x00\nno end");
    log.wait("\\xff");
    ask_to_end(log.child.id());
    assert!(wait_child(&mut log.child).success());
    assert_eq!(log.lines(), ["temp 21.5", "hum 40", "", "\\x1b[0m\\\\\u{e9}", "\\xff\\x00", "no end\\"]);
    for line in log.text().lines() {
        let time = humantime::parse_rfc3339(line.split_once(' ').unwrap().0).unwrap();
        assert!((begin..=SystemTime::now()).contains(&time), "{line}");
    }
}

#[test]
fn a_prompt_without_an_end_is_written_after_a_second() {
    let bus = Bus::with(&[Echo]);
    let daemon = Daemon::run(&bus.device("echo", ""));
    let mut log = Log::of(&daemon, &[]);
    log.say("password: ");
    log.wait("password: \\");
    log.say("\n");
    assert_eq!(log.wait("password: \\")[0], "password: \\");
}

#[test]
fn a_log_goes_on_over_unplug_and_replug_and_says_so() {
    for unplug in ["hold", "eof"] {
        let bus = Bus::with(&[Echo]);
        let daemon = Daemon::run(&bus.device("echo", &format!("unplug = \"{unplug}\"\n")));
        let mut log = Log::of(&daemon, &[]);
        log.say("before\n");
        log.wait("before");
        bus.command("unplug echo 100");
        log.wait("-- detach: ");
        log.wait("-- attach: ");
        daemon.wait_pipe("echo", "serial.rx", |pipe| pipe["open"] == true);
        log.to = daemon.writer("echo/serial.tx");
        log.say("after\n");
        let lines = log.wait("after");
        assert!(lines[0] == "before" && lines.last().unwrap() == "after", "{unplug}: {lines:?}");
    }
}

#[test]
fn a_log_takes_no_byte_from_a_program_that_reads_the_line_too() {
    let bus = Bus::with(&[Echo]);
    let daemon = Daemon::run(&bus.device("echo", ""));
    let mut log = Log::of(&daemon, &[]);
    log.say("alone\n");
    log.wait("alone");
    let clients = |pipe: &Value| pipe["clients"].as_array().unwrap().len();
    let before = clients(&daemon.pipe("echo", "serial.rx"));
    let line = daemon.reader("echo/serial.rx");
    daemon.wait_pipe("echo", "serial.rx", |pipe| clients(pipe) == before + 1);
    for n in 0..200 {
        log.say(format!("line {n}\n"));
        assert_eq!(read_line(&line), format!("line {n}"));
    }
    let expected: Vec<String> = (0..200).map(|n| format!("line {n}")).collect();
    assert_eq!(log.wait("line 199")[1..], expected);
}

#[test]
fn a_log_waits_for_the_next_daemon() {
    let bus = Bus::with(&[Echo]);
    let temp = TempDir::new().unwrap();
    let dir = run_dir(&temp, "run");
    let config = bus.device("echo", "");
    let mut daemon = Daemon::run_in(&dir, &config);
    daemon.wait_attached();
    let mut log = Log::of(&daemon, &[]);
    assert!(daemon.end().success());
    log.wait("-- the daemon has ended");
    let mut daemon = Daemon::run_in(&dir, &config);
    daemon.wait_attached();
    log.wait("-- a daemon is there again");
    daemon.wait_pipe("echo", "serial.rx", |pipe| pipe["open"] == true);
    log.to = daemon.writer("echo/serial.tx");
    log.say("again\n");
    log.wait("again");
}

#[test]
fn files_are_put_aside_by_size_and_only_so_many_kept() {
    const SIZE: u64 = 64 << 10;
    let bus = Bus::with(&[Echo]);
    let daemon = Daemon::run(&bus.device("echo", ""));
    let mut log = Log::of(&daemon, &["--rotate", "64K", "--keep", "2"]);
    for n in 0..4000 {
        log.say(format!("line {n:06} {}\n", "x".repeat(60)));
    }
    log.wait("line 003999");
    ask_to_end(log.child.id());
    assert!(wait_child(&mut log.child).success());
    let numbered = |n: u32| log.file.with_extension(format!("log.{n}"));
    let mut text = String::new();
    for file in [numbered(2), numbered(1), log.file.clone()] {
        assert!(file.metadata().unwrap().len() <= SIZE, "{}", file.display());
        text += &std::fs::read_to_string(file).unwrap();
    }
    let numbers: Vec<u32> =
        whole_lines(&text).iter().map(|line| line.split(' ').nth(1).unwrap().parse().unwrap()).collect();
    assert!(numbers.iter().zip(&numbers[1..]).all(|(a, b)| a + 1 == *b), "nothing is missing in between");
    assert!(numbers.len() > 1200 && *numbers.last().unwrap() == 3999);
    assert_eq!(std::fs::read_dir(log.dir.path()).unwrap().count(), 3, "the oldest are gone");
}

/// What the device said, without times, and without what the log says itself: of a program that reads too slowly, and of
/// lines whose end took longer than a second.
fn whole_lines(text: &str) -> Vec<String> {
    let said = text.lines().map(|line| line.split_once(' ').unwrap().1).filter(|line| !line.starts_with("-- "));
    let said: String =
        said.map(|part| part.strip_suffix('\\').map_or_else(|| format!("{part}\n"), str::to_owned)).collect();
    said.lines().map(str::to_owned).collect()
}

#[test]
fn who_misspells_a_name_hears_of_it_and_finds_no_empty_file() {
    let bus = Bus::with(&[Echo, Zero]);
    let daemon = Daemon::run(&(bus.device("echo", "") + &bus.device("zero", "")));
    let temp = TempDir::new().unwrap();
    for (name, words) in
        [("eco", "no device \"eco\"; it has echo, zero"), ("zero", "zero has no outlet \"serial.rx\"; it has ep_81")]
    {
        let mut command = usbpipe();
        let output = output(command.arg("--dir").arg(&daemon.dir).args(["log", name]).current_dir(&temp));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && said.contains(words), "{said}");
    }
    assert_eq!(std::fs::read_dir(&temp).unwrap().count(), 0);
}
