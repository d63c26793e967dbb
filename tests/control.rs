//! The control pipe as a shell uses its two FIFOs. What is the same on every system is in `both/control.rs`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::io::Write;

use common::{Bus, Daemon, read_line};
use firmware_mock::DeviceKind::Regs;

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
