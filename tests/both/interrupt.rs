//! Interrupt endpoints: a knob that reports ten times in a tenth of a second.

use std::fs::File;
use std::io::{Read, Write};

use crate::common::{Bus, Daemon, read_exactly};
use firmware_mock::DeviceKind;

/// Reports have eight bytes, and the first four count.
const REPORT: usize = 8;

fn knob(reports: &str) -> (Bus, Daemon) {
    let bus = Bus::with(&[DeviceKind::Knob]);
    let pipes = format!("[[device.pipe]]\nendpoint = 0x81\n{reports}[[device.pipe]]\nendpoint = 0x01\n");
    let daemon = Daemon::run(&bus.device("knob", &pipes));
    (bus, daemon)
}

fn counter(report: &[u8]) -> u32 {
    u32::from_le_bytes(report[..4].try_into().unwrap())
}

fn assert_consecutive(reports: &[u8]) {
    let first = counter(reports);
    for (n, report) in reports.chunks(REPORT).enumerate() {
        assert_eq!(counter(report), first.wrapping_add(n as u32), "report {n}");
        assert_eq!(report[7], 0, "report {n}");
    }
}

#[test]
fn a_thousand_reports_of_ten_seconds_count_without_a_hole() {
    let (_bus, daemon) = knob("");
    let (_knob, reports) = read_exactly(daemon.reader("knob/ep_81"), 1000 * REPORT);
    assert_consecutive(&reports);
}

#[test]
fn in_packets_each_read_is_one_report_also_after_a_pause() {
    let (_bus, daemon) = knob("framing = \"packet\"\n");
    let mut reports = daemon.packets("knob/ep_81");
    let first = one_read(&mut reports);
    // Nobody reads while forty of them wait.
    let before = daemon.count("knob", "ep_81", "transfers");
    daemon.wait_count("knob", "ep_81", "transfers", before + 40);
    let all = (0..80).fold(first, |all, _| [all, one_read(&mut reports)].concat());
    assert_consecutive(&all);
}

/// What one read() into a large buffer gives.
fn one_read(reports: &mut File) -> Vec<u8> {
    let mut buffer = vec![0; 65536];
    let n = reports.read(&mut buffer).unwrap();
    assert_eq!(n, REPORT);
    buffer.truncate(n);
    buffer
}

#[test]
fn a_byte_written_to_the_knob_appears_in_its_reports() {
    let (_bus, daemon) = knob("");
    let mut reports = daemon.reader("knob/ep_81");
    let mut buttons = daemon.writer("knob/ep_01");
    for pressed in [0x05, 0xa0, 0x00] {
        buttons.write_all(&[pressed]).unwrap();
        let mut waited = 0;
        loop {
            let (same, report) = read_exactly(reports, REPORT);
            reports = same;
            if report[6] == pressed {
                break;
            }
            waited += 1;
            assert!(waited < 200, "two seconds of reports without {pressed:#04x}");
        }
    }
}

#[test]
fn a_reader_that_stops_reading_misses_no_report() {
    let (_bus, daemon) = knob("transfer = 8\nqueue = 2\n");
    let (knob, mut all) = read_exactly(daemon.reader("knob/ep_81"), REPORT);
    let before = daemon.count("knob", "ep_81", "transfers");
    daemon.wait_count("knob", "ep_81", "transfers", before + 50);
    all.extend(read_exactly(knob, 100 * REPORT).1);
    assert_consecutive(&all);
}

#[test]
fn a_knob_that_must_be_read_all_the_time_is_and_the_reader_starts_with_now() {
    let (_bus, daemon) = knob("idle = \"drain\"\n");
    daemon.wait_count("knob", "ep_81", "discarded_bytes", 30 * REPORT as u64);
    let (_knob, reports) = read_exactly(daemon.reader("knob/ep_81"), 20 * REPORT);
    assert_consecutive(&reports);
    assert!(counter(&reports) >= 30, "not the first report but {}", counter(&reports));
}
