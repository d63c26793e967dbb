//! The demo, as somebody meets it who has just cloned the project.

mod common;

use common::{Daemon, read_line};
use std::io::Write;

#[test]
fn a_simulated_arduino_answers_through_two_fifos() {
    let demo = Daemon::demo();
    let answers = demo.reader("uno/serial.rx");
    demo.writer("uno/serial.tx").write_all(b"PING 1\n").unwrap();
    assert_eq!(read_line(&answers), "PONG 1");
}

#[test]
fn the_end_leaves_nothing_behind() {
    let mut demo = Daemon::demo();
    assert!(demo.end().success());
    assert!(!demo.dir.exists());
}
