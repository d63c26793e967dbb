//! A log whose file somebody else puts aside, as logrotate does. What is the same on every system is in `both/log.rs`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
#[path = "common/log_file.rs"]
mod log_file;

use common::{Bus, Daemon, kill, wait_for};
use firmware_mock::DeviceKind::Echo;
use log_file::Log;
use nix::sys::signal::Signal::SIGHUP;

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
