//! The demo, as somebody meets it who has just cloned the project.

use std::io::Write;

use crate::common::{Daemon, read_line, stands};

#[test]
fn a_simulated_arduino_answers_through_its_line() {
    let demo = Daemon::demo();
    let answers = demo.reader("uno/serial.rx");
    demo.writer("uno/serial.tx").write_all(b"PING 1\n").unwrap();
    assert_eq!(read_line(&answers), "PONG 1");
}

#[test]
fn the_end_leaves_nothing_behind() {
    let mut demo = Daemon::demo();
    assert!(demo.end().success());
    assert!(!stands(&demo.path("uno/serial.rx")) && !stands(&demo.path("zero/ep_81")));
}
