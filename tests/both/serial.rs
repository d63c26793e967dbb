//! A serial line as somebody meets it who scripts an Arduino.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::thread;

use crate::board::Board;
use crate::common::bytes::{assert_same, random, read_in_chunks, write_in_chunks};
use crate::common::events::Events;
use crate::common::{Bus, Daemon, Messages, PATIENCE, read_line, wait_for, while_progressing, within};
use firmware_mock::DeviceKind;

#[test]
fn an_arduino_answers_line_by_line() {
    let board = Board::uno();
    assert_eq!(board.ask("PING 1"), "PONG 1");
    assert_eq!(board.ask("LED ON"), "LED ON");
    assert_eq!(board.ask("SUM 1 2 39"), "SUM 42");
    let status = board.ask("STATUS");
    assert!(status.starts_with("STATUS led=on baud="), "{status}");
    assert!(status.ends_with(" dtr=0 resets=0"), "opening is silent: {status}");
    assert_eq!(board.ask("LED OFF"), "LED OFF");
    assert_eq!(board.status("led"), "off");
    assert_eq!(board.ask("coffee"), "ERR unknown: coffee");
}

#[test]
fn opening_and_closing_a_hundred_times_never_resets_the_board() {
    let board = Board::with(DeviceKind::Uno, "uno", "dtr = true\n");
    assert_eq!(board.status("dtr"), "1");
    let resets = board.status("resets");
    let Board { name, daemon, answers, lines, bus } = board;
    drop((answers, lines));
    for n in 0..100 {
        let answers = daemon.reader("uno/serial.rx");
        let mut lines = daemon.writer("uno/serial.tx");
        writeln!(lines, "PING {n}").unwrap();
        assert_eq!(read_line(&answers), format!("PONG {n}"));
        drop((answers, lines));
        // Only what the daemon has noticed counts as a closing.
        daemon.wait_pipe("uno", "serial.rx", |pipe| pipe["open"] == false);
        daemon.wait_pipe("uno", "serial.tx", |pipe| pipe["open"] == false);
    }
    let (answers, lines) = (daemon.reader("uno/serial.rx"), daemon.writer("uno/serial.tx"));
    let board = Board { name, daemon, answers, lines, bus };
    assert_eq!(board.status("resets"), resets);
    assert_eq!(board.status("dtr"), "1");
    assert!(board.daemon.count("uno", "serial.rx", "opens") > 100);
}

#[test]
fn a_reset_on_request_happens_once_and_the_open_reader_sees_the_board_come_up() {
    let board = Board::uno();
    let before: u32 = board.status("resets").parse().unwrap();
    for (n, request) in [&["reset"][..], &["reset", "wiring"]].iter().enumerate() {
        assert_eq!(board.serial(request), "ok");
        assert_eq!(read_line(&board.answers), "READY");
        assert_eq!(board.status("resets"), (before + n as u32 + 1).to_string(), "after {request:?}");
    }
}

#[test]
fn a_board_that_had_dtr_on_keeps_it_through_a_reset() {
    let board = Board::with(DeviceKind::Uno, "uno", "dtr = true\n");
    let before: u32 = board.status("resets").parse().unwrap();
    assert_eq!(board.serial(&["reset"]), "ok");
    assert_eq!(read_line(&board.answers), "READY");
    assert_eq!(board.status("resets"), (before + 1).to_string());
    assert_eq!(board.status("dtr"), "1");
}

#[test]
fn speed_and_lines_reach_the_board() {
    let board = Board::uno();
    assert_eq!(board.serial(&["baud", "57600"]), "ok");
    assert_eq!(board.status("baud"), "57600");
    assert_eq!(board.serial(&["dtr", "on"]), "ok");
    assert_eq!(read_line(&board.answers), "READY", "DTR going on resets an uno");
    assert_eq!(board.status("dtr"), "1");
    assert_eq!(board.serial(&["mode", "7E2"]), "ok");
    let lines = board.serial(&["lines"]);
    assert!(lines.starts_with("ok dtr=on rts=untouched baud=57600 mode=7E2"), "{lines}");
    assert_eq!(board.serial(&["dtr", "off"]), "ok");
    assert_eq!(board.status("dtr"), "0");
}

#[test]
fn the_configuration_sets_the_line_up_before_anybody_asks() {
    let board = Board::with(DeviceKind::Uno, "uno", "baud = 9600\nmode = \"8O1\"\n");
    assert_eq!(board.status("baud"), "9600");
    let lines = board.serial(&["lines"]);
    assert_eq!(lines, "ok dtr=untouched rts=untouched baud=9600 mode=8O1");
}

#[test]
fn line_control_answers_each_line_in_order() {
    let board = Board::uno();
    let mut ctl = board.daemon.both("uno/serial.ctl");
    let long = "x".repeat(100_000);
    let mut request = b"baud 19200\nlines\n\nbaud\nbaud 0\n\xff\xfe\x00\ndtr sideways\n".to_vec();
    request.extend_from_slice(format!("{long}\nbaud 38400\r\nlines\n").as_bytes());
    ctl.write_all(&request).unwrap();
    let answers: Vec<String> = within(PATIENCE, || BufReader::new(ctl).lines().take(10).map(Result::unwrap).collect());
    let begins = [
        "ok",
        "ok dtr=untouched rts=untouched baud=19200",
        "error invalid ",
        "error invalid ",
        "error invalid ",
        "error invalid ",
        "error invalid ",
        "error invalid ",
        "ok",
        "ok dtr=untouched rts=untouched baud=38400",
    ];
    for (answer, begin) in answers.iter().zip(begins) {
        assert!(answer.starts_with(begin), "{answer:?} in {answers:#?}");
        assert!(answer.len() < 300, "{answer:?}");
    }
    assert_eq!(answers.len(), 10);
    assert_eq!(board.status("baud"), "38400");
}

#[test]
fn a_program_too_many_at_line_control_or_the_control_pipe_is_told_so_and_the_others_go_on() {
    const PLACES: usize = 128;
    let board = Board::uno();
    let mut events = Events::of(&board.daemon);
    let mut controls: Vec<File> = (0..PLACES).map(|_| board.daemon.both("uno/serial.ctl")).collect();
    let refusal = read_line(&board.daemon.both("uno/serial.ctl"));
    assert_eq!(refusal, "error denied 128 programs are connected to it, and there can be no more");
    let told = events.wait("refuse", "uno");
    assert_eq!(told["outlet"], "serial.ctl");
    assert!(told["text"].as_str().unwrap().contains("128 programs"), "{told}");

    let path = board.daemon.path("uno/ep_00.sock");
    let messages: Vec<Messages> = (0..PLACES).map(|_| Messages::connect(&path)).collect();
    assert_eq!(Messages::connect(&path).receive(), [2], "the status byte of `denied`");
    assert_eq!(events.wait("refuse", "uno")["outlet"], "ep_00.sock");

    controls[PLACES - 1].write_all(b"baud 19200\n").unwrap();
    assert_eq!(read_line(&controls[PLACES - 1]), "ok");
    // GET_DESCRIPTOR of the device, 18 bytes.
    messages[PLACES - 1].send(&[0x80, 6, 0, 1, 0, 0, 18, 0]);
    assert_eq!(messages[PLACES - 1].receive()[..3], [0, 18, 1]);

    controls.clear();
    let admitted = || {
        let mut control = board.daemon.both("uno/serial.ctl");
        // It may have been turned away already.
        let _ = control.write_all(b"baud 9600\n");
        (read_line(&control) == "ok").then_some(())
    };
    wait_for(admitted, || "there is no place again".into());
}

#[test]
fn a_refused_request_ends_the_command_with_status_1() {
    let board = Board::uno();
    let refused = board.daemon.ask(&["serial", "uno", "baud", "fast"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8(refused.stdout).unwrap().starts_with("error invalid "));
    assert_eq!(board.daemon.ask(&["serial", "uno", "lines"]).status.code(), Some(0));
}

#[test]
fn a_mebibyte_comes_back_from_an_echo_whatever_the_chunks() {
    let bus = Bus::with(&[DeviceKind::Echo]);
    let daemon = Daemon::run(&bus.device("echo", "[device.serial]\n"));
    let sent = random(1 << 20, 11);
    let (rx, tx) = (daemon.reader("echo/serial.rx"), daemon.writer("echo/serial.tx"));
    let writer = thread::spawn({
        let sent = sent.clone();
        move || write_in_chunks(&tx, &sent, &[1, 63, 64, 65, 4096, 3, 10_000, 512])
    });
    while_progressing(move |progress| {
        read_in_chunks(&rx, sent.len(), &[4096, 1, 100, 64, 9999], |offset, got| {
            progress.made();
            assert_same(&sent[offset..offset + got.len()], got, offset);
        });
    });
    writer.join().unwrap();
}

#[test]
fn a_touch_leads_to_the_bootloader_and_back_under_one_name() {
    let board = Board::with(DeviceKind::Leonardo, "leonardo", "");
    assert_eq!(board.ask("PING 1"), "PONG 1");
    assert_eq!(board.serial(&["touch"]), "ok");
    board.daemon.wait_status("leonardo", |s| s["state"] == "attached" && s["id"] == "2341:0036");
    (&board.lines).write_all(b"?").unwrap();
    assert_eq!(read_line(&board.answers), "BOOT", "the bootloader is on the line that was open all the time");
    board.daemon.wait_status("leonardo", |s| s["state"] == "attached" && s["id"] == "2341:8036");
    board.wait_boot();
    assert_eq!(board.ask("PING 2"), "PONG 2");
}

#[test]
fn a_released_line_waits_and_goes_on_where_it_stopped() {
    let board = Board::uno();
    assert_eq!(board.serial(&["release"]), "ok");
    board.daemon.wait_status("uno", |s| s["state"] == "released");
    board.say("PING while away");
    assert!(board.serial(&["baud", "9600"]).starts_with("error disconnected "));
    assert_eq!(board.serial(&["reclaim"]), "ok");
    assert_eq!(read_line(&board.answers), "PONG while away");
    assert_eq!(board.status("resets"), "0");
}

#[test]
fn what_somebody_asked_of_the_line_is_asked_again_after_an_unplug() {
    let board = Board::uno();
    assert_eq!(board.serial(&["baud", "19200"]), "ok");
    board.bus.command("unplug uno 50");
    board.daemon.wait_status("uno", |s| s["state"] == "attached" && s["sessions"] == 2);
    board.wait_boot();
    assert_eq!(board.status("baud"), "19200");
}
