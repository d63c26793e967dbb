//! `uno`, `leonardo` and `echo` over the wire.

#![cfg(unix)]

mod common;

use std::time::{Duration, Instant};

use common::{Client, Data, Lab, NOTHING};
use firmware_mock::DeviceKind;

const OUT: u8 = 0x01;
const IN: u8 = 0x82;

fn dtr(client: &mut Client, on: bool) {
    assert_eq!(client.control(0x21, 0x22, on.into(), 0, NOTHING).status, 0);
}

fn line_coding(client: &mut Client, baud: u32) {
    let coding = [&baud.to_le_bytes()[..], &[0, 0, 8]].concat();
    assert_eq!(client.control(0x21, 0x20, 0, 0, Data::Out(&coding)).actual, 7);
    assert_eq!(client.control(0xa1, 0x21, 0, 0, Data::In(7)).data, coding);
}

#[test]
fn the_uno_answers_without_dtr_what_it_got_before_its_boot() {
    let lab = Lab::new(&[DeviceKind::Uno]);
    let mut client = lab.import("1-1");
    client.submit_out(OUT, b"PING before the boot\r\nSTATUS\n");
    assert_eq!(client.answers(IN, 2), ["PONG before the boot", "STATUS led=off baud=9600 dtr=0 resets=0"]);
}

#[test]
fn dtr_going_on_resets_the_uno_which_greets_after_its_boot() {
    let lab = Lab::new(&[DeviceKind::Uno]);
    let mut client = lab.import("1-1");
    line_coding(&mut client, 115_200);
    client.submit_out(OUT, b"LED ON\nSTATUS\n");
    assert_eq!(client.answers(IN, 2), ["LED ON", "STATUS led=on baud=115200 dtr=0 resets=0"]);
    let start = Instant::now();
    client.cork();
    client.submit_control([0x21, 0x22, 1, 0, 0, 0, 0, 0], &[]);
    let greeting = client.submit_in(IN, 512);
    client.uncork();
    assert_eq!(client.reply_to(greeting).data, b"READY\n");
    // The board's clock counts whole milliseconds, as an Arduino's does: of the 100, the first had begun.
    assert!(start.elapsed() > Duration::from_millis(99));
    client.submit_out(OUT, b"STATUS\n");
    assert_eq!(client.answers(IN, 1), ["STATUS led=off baud=115200 dtr=1 resets=1"]);
}

#[test]
fn the_uno_keeps_its_state_from_one_import_to_the_next() {
    let lab = Lab::new(&[DeviceKind::Uno]);
    let mut client = lab.import("1-1");
    client.submit_out(OUT, b"LED ON\n");
    assert_eq!(client.answers(IN, 1), ["LED ON"]);
    drop(client);
    let mut client = lab.import("1-1");
    client.submit_out(OUT, b"STATUS\n");
    assert_eq!(client.answers(IN, 1), ["STATUS led=on baud=9600 dtr=0 resets=0"]);
}

#[test]
fn any_number_of_lines_is_answered_in_order_while_reads_come_late() {
    let lab = Lab::new(&[DeviceKind::Uno]);
    let mut client = lab.import("1-1");
    let text: String = (0..2000).map(|n| format!("PING {n}\n")).collect();
    let writes: Vec<u32> = text.as_bytes().chunks(700).map(|part| client.submit_out(OUT, part)).collect();
    let expected: Vec<String> = (0..2000).map(|n| format!("PONG {n}")).collect();
    assert_eq!(client.answers(IN, 2000), expected);
    for write in writes {
        assert_eq!(client.reply_to(write).status, 0);
    }
}

#[test]
fn an_unlinked_serial_read_loses_nothing() {
    let lab = Lab::new(&[DeviceKind::Uno]);
    let mut client = lab.import("1-1");
    client.submit_out(OUT, b"LED OFF\n");
    assert_eq!(client.answers(IN, 1), ["LED OFF"], "the board has booted");
    let mut text = String::new();
    for n in 0..50 {
        let read = client.submit_in(IN, 512);
        client.submit_out(OUT, format!("PING {n}\n").as_bytes());
        let unlink = client.unlink(read);
        if client.reply_to(unlink).status == 0 {
            text += &String::from_utf8(client.reply_to(read).data).unwrap();
        }
    }
    let missing = 50 - text.lines().count();
    let rest = client.answers(IN, missing);
    let all: Vec<String> = text.lines().map(str::to_owned).chain(rest).collect();
    assert_eq!(all, (0..50).map(|n| format!("PONG {n}")).collect::<Vec<_>>());
}

#[test]
fn the_touch_turns_the_leonardo_into_its_bootloader_and_back() {
    let lab = Lab::new(&[DeviceKind::Leonardo]);
    let mut client = lab.import("1-2");
    client.submit_out(OUT, b"PING a\n");
    assert_eq!(client.answers(IN, 1), ["PONG a"]);
    dtr(&mut client, true);
    client.submit_out(OUT, b"STATUS\n");
    assert_eq!(client.answers(IN, 1), ["STATUS led=off baud=9600 dtr=1 resets=0"], "DTR does not reset it");
    line_coding(&mut client, 1200);
    dtr(&mut client, false);
    // Asked from before: an import waits a little for a device that is busy, and the moment off the bus is a short one.
    let refused = std::iter::repeat_with(|| lab.try_import("1-2").err()).find(|status| *status != Some(2));
    assert_eq!(refused, Some(Some(4)), "it is off the bus for a moment");
    client.wait_for_end();
    let mut bootloader = lab.import_when_back("1-2");
    assert_eq!(bootloader.record.product_id, 0x0036);
    bootloader.submit_out(OUT, b"?");
    assert_eq!(bootloader.answers(IN, 1), ["BOOT"]);
    bootloader.wait_for_end();
    let mut client = lab.import_when_back("1-2");
    assert_eq!(client.record.product_id, 0x8036);
    client.submit_out(OUT, b"STATUS\n");
    assert!(client.answers(IN, 1)[0].starts_with("STATUS led=off baud=9600"));
}

#[test]
fn the_touch_works_when_the_client_goes_at_once() {
    let lab = Lab::new(&[DeviceKind::Leonardo]);
    let mut client = lab.import("1-2");
    line_coding(&mut client, 1200);
    dtr(&mut client, false);
    drop(client);
    let start = Instant::now();
    while lab.devlist().iter().all(|device| device.product_id != 0x0036) {
        assert!(start.elapsed() < common::PATIENCE, "no bootloader appeared");
    }
}

#[test]
fn echo_returns_everything_under_any_chunking() {
    let lab = Lab::new(&[DeviceKind::Echo]);
    let mut client = lab.import("1-6");
    let data: Vec<u8> = (0..200_000u32).map(|n| (n * 31 % 253) as u8).collect();
    let mut rest = &data[..];
    for length in [1, 63, 64, 65, 128, 4096, 10_000, 512].into_iter().cycle() {
        let (part, after) = rest.split_at(length.min(rest.len()));
        client.submit_out(OUT, part);
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    let mut back = Vec::new();
    for length in [64, 512, 1000, 7].into_iter().cycle() {
        back.extend(client.read(IN, length).data);
        if back.len() >= data.len() {
            break;
        }
    }
    assert!(back == data, "{} bytes came back", back.len());
}
