//! Boards as somebody meets them who develops firmware: when they are reset, and how they boot.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/board.rs"]
mod board;
mod common;

use std::io::Write;
use std::time::{Duration, Instant};

use board::Board;
use common::{Bus, Daemon, read_line};
use firmware_mock::DeviceKind;

/// A daemon with an uno, of which nobody has anything open yet and which greets nobody any more.
fn uno(serial: &str) -> (Bus, Daemon) {
    let bus = Bus::with(&[DeviceKind::Uno]);
    let greeted = Daemon::run(&bus.device("uno", "[device.serial]\n"));
    let (answers, mut lines) = (greeted.reader("uno/serial.rx"), greeted.writer("uno/serial.tx"));
    writeln!(lines, "PING").unwrap();
    while read_line(&answers) != "PONG" {}
    drop(greeted);
    let daemon = Daemon::run(&bus.device("uno", &format!("[device.serial]\n{serial}")));
    (bus, daemon)
}

/// Waits until the daemon has noticed that nobody has the line open any more.
fn wait_closed(daemon: &Daemon) {
    for outlet in ["serial.rx", "serial.tx"] {
        daemon.wait_pipe("uno", outlet, |pipe| pipe["open"] == false);
    }
}

/// As `exec 3<serial.rx; echo STATUS >serial.tx`: what comes before the status, and how often the board was reset.
fn open_and_ask(daemon: &Daemon) -> (Vec<String>, String) {
    let (answers, mut lines) = (daemon.reader("uno/serial.rx"), daemon.writer("uno/serial.tx"));
    writeln!(lines, "STATUS").unwrap();
    let mut before = Vec::new();
    loop {
        let line = read_line(&answers);
        match line.rsplit_once("resets=") {
            Some((_, resets)) => return (before, resets.to_owned()),
            None => before.push(line),
        }
    }
}

#[test]
fn reset_on_open_resets_for_whoever_comes_first_and_for_nobody_else() {
    let (_bus, daemon) = uno("reset = \"on-open\"\n");
    for opening in 1..=3 {
        let answers = daemon.reader("uno/serial.rx");
        assert_eq!(read_line(&answers), "READY");
        for n in 0..3 {
            let mut lines = daemon.writer("uno/serial.tx");
            writeln!(lines, "PING {n}").unwrap();
            assert_eq!(read_line(&answers), format!("PONG {n}"), "a second outlet resets nothing");
            drop(lines);
            daemon.wait_pipe("uno", "serial.tx", |pipe| pipe["open"] == false);
        }
        let mut lines = daemon.writer("uno/serial.tx");
        writeln!(lines, "STATUS").unwrap();
        let status = read_line(&answers);
        assert!(status.ends_with(&format!(" dtr=0 resets={opening}")), "{status}");
        drop((answers, lines));
        wait_closed(&daemon);
    }
}

#[test]
fn what_is_written_at_an_opening_reaches_the_board_after_its_reset() {
    let (_bus, daemon) = uno("reset = \"on-open\"\nboot_wait = \"300ms\"\n");
    for _ in 0..3 {
        let (before, _) = open_and_ask(&daemon);
        assert_eq!(before, ["READY"]);
        wait_closed(&daemon);
    }
}

#[test]
fn reset_if_idle_leaves_a_line_alone_that_was_in_use_a_moment_ago() {
    let (_bus, daemon) = uno("reset = \"if-idle\"\n");
    assert_eq!(open_and_ask(&daemon), (vec!["READY".to_owned()], "1".to_owned()));
    for _ in 0..3 {
        wait_closed(&daemon);
        assert_eq!(open_and_ask(&daemon), (vec![], "1".to_owned()));
    }
}

#[test]
fn plugging_in_resets_nothing_beside_what_it_does_itself() {
    let board = Board::with(DeviceKind::Uno, "uno", "reset = \"on-open\"\n");
    board.bus.command("unplug uno 50");
    board.daemon.wait_status("uno", |s| s["state"] == "attached" && s["sessions"] == 2);
    board.wait_boot();
    assert_eq!(board.status("resets"), "0", "the same programs go on with a board that has just come up");
}

#[test]
fn a_board_that_boots_is_sent_nothing_before_its_time() {
    let board = Board::with(DeviceKind::Uno, "uno", "boot_wait = \"700ms\"\n");
    assert_eq!(board.ask("PING 1"), "PONG 1");
    let reset = Instant::now();
    assert_eq!(board.serial(&["reset"]), "ok");
    assert_eq!(board.ask("PING 2"), "READY");
    assert_eq!(read_line(&board.answers), "PONG 2");
    assert!(reset.elapsed() > Duration::from_millis(700), "{:?}", reset.elapsed());
    let plugged = Instant::now();
    board.bus.command("unplug uno 50");
    board.daemon.wait_status("uno", |s| s["state"] == "attached" && s["sessions"] == 2);
    board.say("PING 3");
    while read_line(&board.answers) != "PONG 3" {}
    assert!(plugged.elapsed() > Duration::from_millis(700), "{:?}", plugged.elapsed());
}
