//! A log whose file somebody else puts aside, as logrotate does. What is the same on every system is in `both/log.rs`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
#[path = "common/log_file.rs"]
mod log_file;

use common::{Bus, Daemon, kill, wait_for};
use firmware_mock::DeviceKind::{Echo, Uno};
use log_file::Log;
use nix::sys::signal::Signal::{SIGCONT, SIGHUP, SIGSTOP};

#[test]
fn a_file_that_was_put_aside_by_somebody_else_is_left_to_him() {
    let bus = Bus::with(&[Echo]);
    let daemon = Daemon::run(&bus.device("echo", ""));
    let mut log = Log::of(&daemon, &[]);
    log.say("old\n");
    log.wait("old");
    std::fs::rename(&log.file, log.dir.path().join("aside")).unwrap();
    kill(log.child.id(), SIGHUP);
    wait_for(|| log.file.exists().then_some(()), || "it was not opened anew".into());
    log.say("new\n");
    assert_eq!(log.wait("new"), ["new"]);
}

#[test]
fn what_a_board_says_when_it_comes_stands_behind_its_attach() {
    let bus = Bus::with(&[Uno]);
    let daemon = Daemon::run(&format!("[[device]]\nname = \"echo\"\n{}", bus.remote("uno")));
    let mut log = Log::of(&daemon, &[]);
    // It may greet the first one who listens.
    log.say("PING boot\n");
    log.wait("PONG boot");
    let count = |begin: &str| log.lines().iter().filter(|line| line.starts_with(begin)).count();
    let greeted = count("READY");
    for round in 1..=3 {
        assert_eq!(daemon.answer(&["release", "echo"]), "ok");
        wait_for(|| (count("-- detach") == round).then_some(()), || log.text());
        bus.command("unplug uno 1");
        // Both wait for the log, as they do when it gets no processor at that moment.
        kill(log.child.id(), SIGSTOP);
        let before = daemon.count("echo", "serial.rx", "bytes");
        assert_eq!(daemon.answer(&["reclaim", "echo"]), "ok");
        daemon.wait_count("echo", "serial.rx", "bytes", before + 6);
        kill(log.child.id(), SIGCONT);
        wait_for(|| (count("READY") == greeted + round && count("-- attach") == round).then_some(()), || log.text());
        let lines = log.lines();
        let place = |begin: &str| lines.iter().rposition(|line| line.starts_with(begin)).unwrap();
        assert!(place("-- detach") < place("-- attach") && place("-- attach") < place("READY"), "{lines:?}");
    }
}
