//! The control pipe as a shell uses its two FIFOs. What is the same on every system is in `both/control.rs`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use common::{Bus, Daemon, Progress, read_line, wait_for, while_progressing};
use firmware_mock::DeviceKind::Regs;
use nix::libc::{FIONREAD, O_NONBLOCK, c_int, ioctl};

fn regs() -> (Bus, Daemon) {
    let bus = Bus::with(&[Regs]);
    let daemon = Daemon::run(&bus.device("regs", ""));
    (bus, daemon)
}

/// A program at both FIFOs.
struct Program {
    requests: File,
    answers: File,
}

impl Program {
    fn at(daemon: &Daemon) -> Self {
        let (requests, answers) = daemon.control("regs");
        Self { requests, answers }
    }

    fn ask(&mut self, line: &str) {
        self.requests.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn wait_answer(&self) {
        wait_for(|| (waiting(&self.answers) > 0).then_some(()), || "no answer".to_owned());
    }
}

/// Bytes that a FIFO holds.
fn waiting(fifo: &File) -> c_int {
    let mut n = 0;
    // SAFETY: the descriptor is open, and FIONREAD writes one int.
    let result = unsafe { ioctl(fifo.as_raw_fd(), FIONREAD, &raw mut n) };
    assert_eq!(result, 0);
    n
}

#[test]
fn what_a_program_leaves_unread_is_no_answer_to_the_next_one() {
    let (_bus, daemon) = regs();
    for n in 0..common::rounds(25) {
        let mut first = Program::at(&daemon);
        (0..3).for_each(|_| first.ask("in 0xc0 2 0 0 1"));
        first.wait_answer();
        if n % 2 == 0 {
            // One that is still being worked on when its asker dies.
            first.ask("out 0x40 4 50 0");
            wait_for(|| (waiting(&first.requests) == 0).then_some(()), || "it is not read".to_owned());
            // What it has read the daemon has dealt with before it answers this.
            assert!(daemon.answer(&["control", "regs", "status"]).starts_with("ok"));
        }
        // A writer, which is no reader.
        let response = daemon.path("regs/ep_00.response");
        let probe = OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(response).unwrap();
        drop(first);
        wait_for(|| (waiting(&probe) == 0).then_some(()), || format!("{} bytes", waiting(&probe)));
        let mut next = Program::at(&daemon);
        next.ask("descriptor string 0");
        assert_eq!(read_line(&next.answers), "ok 04030904", "in round {n}");
        // As a shell does it, right after somebody has left.
        drop(next);
        daemon.writer("regs/ep_00.request").write_all(b"descriptor string 0\n").unwrap();
        assert_eq!(read_line(&daemon.reader("regs/ep_00.response")), "ok 04030904", "in round {n}");
    }
}

#[test]
fn answers_that_nobody_reads_hold_up_nobody_and_are_bounded() {
    let (_bus, daemon) = regs();
    let path = daemon.path("regs/ep_00.request");
    let mut requests = OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(path).unwrap();
    while_progressing(move |progress: &Progress| {
        for _ in 0..30_000 {
            while let Err(e) = requests.write_all(b"descriptor string 0\n") {
                assert_eq!(e.kind(), ErrorKind::WouldBlock);
                std::thread::yield_now();
            }
            progress.made();
        }
        requests.write_all(b"in 0xc0 2 0 0 1\n").unwrap();
    });
    let mut answers = daemon.reader("regs/ep_00.response");
    let text = while_progressing(move |progress| {
        let mut text = Vec::new();
        while !text.ends_with(b"ok 00\n") {
            let mut bytes = [0; 4096];
            let n = answers.read(&mut bytes).unwrap();
            text.extend(&bytes[..n]);
            progress.made();
        }
        text
    });
    assert!(text.len() < 128 * 1024, "{} bytes were kept", text.len());
}

#[test]
fn answers_to_nobody_are_not_for_who_asks_much_later() {
    let (_bus, daemon) = regs();
    daemon.writer("regs/ep_00.request").write_all(b"in 0xc0 2 0 0 1\n").unwrap();
    // The time is what this is about.
    std::thread::sleep(std::time::Duration::from_millis(2500));
    daemon.writer("regs/ep_00.request").write_all(b"descriptor string 0\n").unwrap();
    assert_eq!(read_line(&daemon.reader("regs/ep_00.response")), "ok 04030904");
}

#[test]
fn answers_wait_for_a_reader_that_comes_late() {
    let bus = Bus::with(&[Regs]);
    let daemon = Daemon::run(&bus.device("regs", ""));
    // As a shell does it: echo … > ep_00.request; head -n1 < ep_00.response
    for n in 0..20 {
        daemon.writer("regs/ep_00.request").write_all(format!("out 0x40 1 0 0 {n:02x}\n").as_bytes()).unwrap();
        assert_eq!(read_line(&daemon.reader("regs/ep_00.response")), "ok");
        daemon.writer("regs/ep_00.request").write_all(b"in 0xc0 2 0 0 1\n").unwrap();
        assert_eq!(read_line(&daemon.reader("regs/ep_00.response")), format!("ok {n:02x}"));
    }
}
