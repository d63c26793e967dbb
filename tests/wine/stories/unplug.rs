//! A device is pulled out and plugged in again while programs have its pipes open, a hundred times with each rule.

use std::fs::File;
use std::io::{Read, Write};

use windows_sys::Win32::Foundation::ERROR_BROKEN_PIPE;

use crate::common::bytes::{assert_same, pattern};
use crate::common::zero::zero;
use crate::common::{Bus, Daemon, PATIENCE, open_reader, read_exactly, within};

const ROUNDS: u64 = 100;

fn replug(bus: &Bus, daemon: &Daemon, round: u64) {
    bus.command("unplug zero 20");
    daemon.wait_status("zero", |s| s["state"] == "attached" && s["sessions"] == round + 2);
}

#[test]
fn with_hold_programs_go_on_after_each_of_a_hundred_unplugs() {
    let (bus, daemon) = zero("unplug = \"hold\"");
    let (mut source, mut back, mut out) =
        (daemon.reader("zero/ep_81"), daemon.reader("zero/ep_82"), daemon.writer("zero/ep_02"));
    for round in 0..ROUNDS {
        let bytes;
        // Transfers are whole packets, so that the pattern never breaks.
        (source, bytes) = read_exactly(source, 1 << 20);
        assert_same(&pattern(1 << 20), &bytes, 0);
        replug(&bus, &daemon, round);
        out.write_all(&round.to_le_bytes()).unwrap();
        let number;
        (back, number) = read_exactly(back, 8);
        assert_eq!(number, round.to_le_bytes());
    }
}

#[test]
fn with_eof_readers_see_a_broken_pipe_after_each_of_a_hundred_unplugs() {
    let (bus, daemon) = zero("unplug = \"eof\"");
    let path = daemon.path("zero/ep_81");
    for round in 0..ROUNDS {
        let opening = path.clone();
        let source = within(PATIENCE, move || open_reader(&opening).unwrap());
        let (source, bytes) = read_exactly(source, 100_000);
        assert_same(&pattern(100_000), &bytes, 0);
        bus.command("unplug zero 20");
        assert_eq!(within(PATIENCE, move || end_of(source)), Some(ERROR_BROKEN_PIPE));
        daemon.wait_status("zero", |s| s["state"] == "attached" && s["sessions"] == round + 2);
    }
}

/// The error that reading ends with. The standard library takes a broken pipe for the end of the file, so that the system
/// itself is asked.
fn end_of(mut source: File) -> Option<u32> {
    let mut rest = vec![0; 65536];
    while source.read(&mut rest).unwrap() > 0 {}
    crate::common::last_read_error(&source)
}
