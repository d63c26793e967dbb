//! One protocol, two boards: what the simulated firmware answers over USB/IP, the real sketch answers on an ATmega328P
//! in simavr, behind the serial backend.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
#[path = "common/simulator.rs"]
mod simulator;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::thread;

use common::bytes::random;
use common::{Bus, Daemon, PATIENCE, read_line, within};
use firmware_mock::DeviceKind;
use simulator::Simulator;

/// A board behind its two FIFOs.
struct Board {
    daemon: Daemon,
    answers: File,
    lines: File,
    body: Body,
}

enum Body {
    Mock(Bus),
    Sketch(Simulator),
}

const SERIAL: &str = "baud = 115200\n";

impl Board {
    fn mock() -> Self {
        let bus = Bus::with(&[DeviceKind::Uno]);
        let config = bus.device("uno", &format!("[device.serial]\n{SERIAL}"));
        Self::behind(&config, Body::Mock(bus))
    }

    /// None where the sketch cannot be built.
    fn sketch(story: &str) -> Option<Self> {
        let board = Simulator::with(115_200, story)?;
        Some(Self::behind(&board.device("uno", SERIAL), Body::Sketch(board)))
    }

    fn behind(config: &str, body: Body) -> Self {
        let daemon = Daemon::run(config);
        let (answers, lines) = (daemon.reader("uno/serial.rx"), daemon.writer("uno/serial.tx"));
        let board = Self { daemon, answers, lines, body };
        board.wait_boot();
        board
    }

    /// A board that has just come up may greet whoever listens.
    fn wait_boot(&self) {
        self.say("PING boot");
        while read_line(&self.answers) != "PONG boot" {}
    }

    fn say(&self, line: &str) {
        self.send(format!("{line}\n").as_bytes());
    }

    fn send(&self, bytes: &[u8]) {
        (&self.lines).write_all(bytes).unwrap();
    }

    fn ask(&self, line: &str) -> String {
        self.say(line);
        read_line(&self.answers)
    }

    fn reset(&self) {
        match &self.body {
            Body::Mock(_) => assert_eq!(self.daemon.answer(&["serial", "uno", "reset"]), "ok"),
            Body::Sketch(board) => board.press_reset(),
        }
    }

    /// Pulls the plug, waits until that is noticed, and puts it back.
    fn power_cycle(&mut self) {
        match &mut self.body {
            Body::Mock(bus) => bus.command("unplug uno 50"),
            Body::Sketch(board) => {
                board.unplug();
                self.daemon.wait_status("uno", |status| status["state"] != "attached");
                board.plug();
            }
        }
        self.daemon.wait_status("uno", |status| status["state"] == "attached" && status["sessions"] == 2);
    }

    /// The answers up to this one, which is the last.
    fn answers_up_to(&self, last: &str, mut each: impl FnMut(&str) + Send + 'static) {
        let (from, last) = (self.answers.try_clone().unwrap(), last.to_owned());
        within(PATIENCE, move || {
            for line in BufReader::new(from).lines().map(Result::unwrap) {
                each(&line);
                if line == last {
                    return;
                }
            }
            panic!("it ended before {last:?}");
        });
    }
}

/// Each story as a test with the mock and as a test with the sketch.
macro_rules! on_both_boards {
    ($($story:ident)*) => {
        mod mock {
            $(#[test] fn $story() { super::$story(super::Board::mock()); })*
        }
        mod sketch {
            $(#[test] fn $story() { if let Some(board) = super::Board::sketch(stringify!($story)) { super::$story(board); } })*
        }
    };
}

on_both_boards! {
    every_question_has_its_answer
    a_line_may_have_256_bytes_and_one_that_is_longer_is_refused_as_a_whole
    a_question_may_come_in_pieces_and_many_at_once
    a_reset_turns_the_led_off_and_is_counted
    a_board_that_lost_its_power_begins_anew
    a_flood_of_garbage_harms_only_itself
}

fn every_question_has_its_answer(board: Board) {
    assert_eq!(board.ask("STATUS"), "STATUS led=off baud=115200 dtr=0 resets=0");
    for (question, answer) in [
        ("PING 1", "PONG 1"),
        ("PING x  y ", "PONG x  y "),
        ("PING", "PONG"),
        ("PING carriage return\r", "PONG carriage return"),
        ("LED ON", "LED ON"),
        ("STATUS", "STATUS led=on baud=115200 dtr=0 resets=0"),
        ("LED OFF", "LED OFF"),
        ("STATUS", "STATUS led=off baud=115200 dtr=0 resets=0"),
        ("LED BLUE", "ERR unknown: LED BLUE"),
        ("SUM 1 2 39", "SUM 42"),
        ("SUM", "SUM 0"),
        ("SUM  -1 \t +1 -0 ", "SUM 0"),
        ("SUM 9223372036854775807", "SUM 9223372036854775807"),
        ("SUM 9223372036854775807 1", "SUM -9223372036854775808"),
        ("SUM -9223372036854775808 -1", "SUM 9223372036854775807"),
        ("SUM 9223372036854775808", "ERR not a number: 9223372036854775808"),
        ("SUM -9223372036854775809", "ERR not a number: -9223372036854775809"),
        ("SUM 40000000000000000000", "ERR not a number: 40000000000000000000"),
        ("SUM 1 x2", "ERR not a number: x2"),
        ("SUM -", "ERR not a number: -"),
        ("SUM 1\u{7f}", "ERR not a number: 1?"),
        ("coffee", "ERR unknown: coffee"),
        ("ping", "ERR unknown: ping"),
        ("PINGPONG", "ERR unknown: PINGPONG"),
        ("\u{1}\u{0}~ \u{7f}", "ERR unknown: ??~ ?"),
        ("", "ERR unknown: "),
    ] {
        assert_eq!(board.ask(question), answer, "{question:?}");
    }
}

fn a_line_may_have_256_bytes_and_one_that_is_longer_is_refused_as_a_whole(board: Board) {
    let longest = "x".repeat(251);
    assert_eq!(board.ask(&format!("PING {longest}")), format!("PONG {longest}"));
    assert_eq!(board.ask(&"y".repeat(256)), format!("ERR unknown: {}", "y".repeat(256)));
    for length in [257, 258, 300, 3000] {
        assert_eq!(board.ask(&format!("{} LED ON", "z".repeat(length - 7))), "ERR line too long", "{length}");
        assert_eq!(board.ask("STATUS"), "STATUS led=off baud=115200 dtr=0 resets=0");
    }
}

fn a_question_may_come_in_pieces_and_many_at_once(board: Board) {
    for byte in b"SUM 20 22\n" {
        board.send(&[*byte]);
    }
    assert_eq!(read_line(&board.answers), "SUM 42");
    let texts: Vec<String> = (0..60).map(|n| format!("{n} {}", "abcdefg".repeat(n % 20))).collect();
    board.send(texts.iter().map(|text| format!("PING {text}\n")).collect::<String>().as_bytes());
    let mut expected = texts.clone().into_iter();
    board.answers_up_to(&format!("PONG {}", texts.last().unwrap()), move |answer| {
        assert_eq!(answer, format!("PONG {}", expected.next().unwrap()));
    });
}

fn a_reset_turns_the_led_off_and_is_counted(board: Board) {
    for resets in 1..=3 {
        assert_eq!(board.ask("LED ON"), "LED ON");
        board.reset();
        assert_eq!(read_line(&board.answers), "READY");
        assert_eq!(board.ask("STATUS"), format!("STATUS led=off baud=115200 dtr=0 resets={resets}"));
    }
}

fn a_board_that_lost_its_power_begins_anew(mut board: Board) {
    board.reset();
    assert_eq!(read_line(&board.answers), "READY");
    assert_eq!(board.ask("STATUS"), "STATUS led=off baud=115200 dtr=0 resets=1");
    board.power_cycle();
    board.wait_boot();
    assert_eq!(board.ask("STATUS"), "STATUS led=off baud=115200 dtr=0 resets=0");
}

/// A UART cannot make anybody wait, so the sketch may say that it has lost something; but it answers whole lines only,
/// obeys none of them in part, and is of use again afterwards.
fn a_flood_of_garbage_harms_only_itself(board: Board) {
    let garbage: Vec<u8> =
        random(6000, 7).into_iter().map(|byte| if byte < 80 { b'\n' } else { byte | 0x80 }).collect();
    board.send(&garbage);
    let lines = board.lines.try_clone().unwrap();
    let again = move || (&lines).write_all(b"\nPING after\n").unwrap();
    again();
    board.answers_up_to("PONG after", move |answer| match answer {
        "ERR input lost" => again(),
        "PONG after" => {}
        other => {
            let echo = other.strip_prefix("ERR unknown: ").unwrap_or_else(|| panic!("{other:?}"));
            assert!(echo.bytes().all(|byte| byte == b'?'), "{other:?}");
        }
    });
}

#[test]
fn the_lamp_on_pin_13_does_what_the_sketch_says() {
    let Some(board) = Board::sketch("the lamp on pin 13") else { return };
    let Body::Sketch(lamp) = &board.body else { unreachable!("that is the board asked for") };
    for _ in 0..3 {
        assert_eq!(board.ask("LED ON"), "LED ON");
        assert_eq!(lamp.next_said(), "led on");
        assert_eq!(board.ask("LED OFF"), "LED OFF");
        assert_eq!(lamp.next_said(), "led off");
    }
}

#[test]
fn a_sketch_that_cannot_keep_up_says_so_and_obeys_no_line_in_part() {
    let Some(board) = Board::sketch("what a UART loses") else { return };
    // The answers are longer than the lines, so they cannot keep up. The end of the longest line, alone, is a command.
    let lines = board.lines.try_clone().unwrap();
    let writer = thread::spawn(move || {
        for _ in 0..500 {
            (&lines).write_all(b"\n\n\n\n\n\n\n\nxLED ON\n").unwrap();
        }
        (&lines).write_all(b"\nPING after\n").unwrap();
    });
    let mut lost = 0;
    let again = board.lines.try_clone().unwrap();
    let (sender, losses) = std::sync::mpsc::channel();
    board.answers_up_to("PONG after", move |answer| match answer {
        "ERR input lost" => {
            lost += 1;
            (&again).write_all(b"\nPING after\n").unwrap();
        }
        "PONG after" => sender.send(lost).unwrap(),
        other => assert!(["ERR unknown: ", "ERR unknown: xLED ON"].contains(&other), "{other:?}"),
    });
    writer.join().unwrap();
    assert!(losses.recv().unwrap() > 0, "nothing was lost, so nothing was shown");
}
