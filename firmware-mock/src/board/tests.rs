//! Boards on the wire, without a host controller above them.

use super::*;

struct Bench {
    board: Board,
    start: Instant,
    now: Instant,
}

impl Bench {
    fn new(program: Program) -> Self {
        let start = Instant::now();
        let mut bench = Self { board: Board::new(program, None, start), start, now: start };
        bench.board.bus_reset(start);
        assert_eq!(bench.control(0x00, 5, 3, 0, &[]), Control::Done(vec![]));
        assert_eq!(bench.control(0x00, 9, 1, 0, &[]), Control::Done(vec![]));
        bench
    }

    fn at(&mut self, ms: u64) -> &mut Self {
        self.now = self.start + Duration::from_millis(ms);
        self
    }

    fn control(&mut self, request_type: u8, request: u8, value: u16, length: u16, data: &[u8]) -> Control {
        let setup = Setup { request_type, request, value, index: 0, length: length.max(data.len() as u16) };
        self.board.control(setup, data, self.now)
    }

    fn dtr(&mut self, on: bool) {
        assert_eq!(self.control(0x21, 0x22, on.into(), 0, &[]), Control::Done(vec![]));
    }

    fn line_coding(&mut self, baud: u32) {
        let coding = [&baud.to_le_bytes()[..], &[0, 0, 8]].concat();
        assert_eq!(self.control(0x21, 0x20, 0, 0, &coding), Control::Done(vec![]));
    }

    fn say(&mut self, text: &str) -> OutStep {
        self.board.out(0x01, text.as_bytes(), false, self.now)
    }

    fn hear(&mut self) -> Option<String> {
        match self.board.read(0x82, 512, self.now) {
            InStep::Done(Payload::Bytes(bytes)) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            _ => None,
        }
    }
}

#[test]
fn the_uno_greets_100_ms_after_power_up_and_then_answers_what_waited() {
    let mut bench = Bench::new(Program::Uno);
    assert_eq!(bench.say("PING 1\n"), OutStep::Nak(0));
    assert_eq!(bench.at(99).hear(), None);
    assert_eq!(bench.at(100).hear().as_deref(), Some("READY\n"));
    assert_eq!(bench.say("PING 1\n"), OutStep::Done);
    assert_eq!(bench.hear().as_deref(), Some("PONG 1\n"));
}

#[test]
fn a_greeting_that_nobody_hears_is_lost_but_answers_wait() {
    let mut bench = Bench::new(Program::Uno);
    assert_eq!(bench.at(120).say("LED ON\n"), OutStep::Done);
    assert_eq!(bench.at(60_000).hear().as_deref(), Some("LED ON\n"));
    assert_eq!(bench.hear(), None);
}

#[test]
fn dtr_resets_the_uno_and_its_deadline_is_the_end_of_the_boot() {
    let mut bench = Bench::new(Program::Uno);
    bench.at(1000).say("LED ON\nPING lost\n");
    bench.dtr(true);
    assert_eq!(bench.board.deadline(), Some(bench.start + Duration::from_millis(1100)));
    assert_eq!(bench.at(1100).hear().as_deref(), Some("READY\n"));
    bench.line_coding(57_600);
    bench.say("STATUS\n");
    assert_eq!(bench.hear().as_deref(), Some("STATUS led=off baud=57600 dtr=1 resets=1\n"));
    bench.dtr(true);
    bench.dtr(false);
    bench.say("STATUS\n");
    assert_eq!(bench.hear().as_deref(), Some("STATUS led=off baud=57600 dtr=0 resets=1\n"));
}

#[test]
fn an_uno_whose_answers_nobody_reads_stops_reading() {
    let mut bench = Bench::new(Program::Uno);
    bench.at(1000);
    let line = "STATUS\n".repeat(9);
    let accepted = (0..1000).take_while(|_| bench.say(&line) == OutStep::Done).count();
    assert!((1..100).contains(&accepted), "{accepted}");
    let mut answers = String::new();
    while let Some(part) = bench.hear() {
        answers += &part;
    }
    assert_eq!(answers.matches("STATUS led=off baud=9600 dtr=0 resets=0\n").count(), accepted * 9);
    assert_eq!(bench.say(&line), OutStep::Done);
}

#[test]
fn the_touch_takes_the_leonardo_off_the_bus_unless_dtr_returns() {
    let mut bench = Bench::new(Program::Leonardo);
    bench.at(1000).dtr(true);
    bench.line_coding(1200);
    bench.dtr(false);
    bench.at(1100).dtr(true);
    bench.board.run(bench.start + Duration::from_secs(5));
    assert_eq!(bench.board.left_bus(), None);
    bench.at(6000).dtr(false);
    bench.board.run(bench.start + Duration::from_secs(9));
    assert_eq!(bench.board.left_bus(), Some(bench.start + Duration::from_millis(6120)));
}

#[test]
fn a_leonardo_without_an_explicit_1200_ignores_dtr() {
    let mut bench = Bench::new(Program::Leonardo);
    bench.at(1000).dtr(true);
    bench.dtr(false);
    bench.board.run(bench.start + Duration::from_secs(9));
    assert_eq!(bench.board.left_bus(), None);
}

#[test]
fn the_bootloader_answers_and_leaves_after_two_seconds() {
    let mut bench = Bench::new(Program::LeonardoBootloader);
    bench.say("x??");
    assert_eq!(bench.hear().as_deref(), Some("BOOT\n"));
    assert_eq!(bench.hear().as_deref(), Some("BOOT\n"));
    bench.board.run(bench.start + Duration::from_secs(9));
    assert_eq!(bench.board.left_bus(), Some(bench.start + Duration::from_secs(2)));
}

#[test]
fn echo_returns_every_byte_and_ends_full_packets_with_a_zlp() {
    let mut bench = Bench::new(Program::Echo);
    let text = "0123456789abcdef".repeat(4);
    assert_eq!(bench.say(&text), OutStep::Done);
    assert_eq!(bench.hear().as_deref(), Some(&text[..]), "one packet and a ZLP");
    assert_eq!(bench.hear(), None);
}

#[test]
fn an_echo_that_nobody_reads_takes_a_bounded_amount() {
    let mut bench = Bench::new(Program::Echo);
    let text = "x".repeat(100_000);
    let OutStep::Nak(taken) = bench.say(&text) else { panic!("no NAK") };
    assert_eq!(taken, 4096);
    let mut heard = 0;
    while let Some(part) = bench.hear() {
        heard += part.len();
    }
    assert_eq!(heard, 4096);
}

#[test]
fn the_knob_keeps_its_grid_and_skips_what_nobody_fetched() {
    let mut bench = Bench::new(Program::Knob);
    let mut counters = Vec::new();
    for ms in [5, 5, 14, 15, 18, 27, 500, 505, 510] {
        bench.at(ms);
        if let InStep::Done(Payload::Bytes(report)) = bench.board.read(0x81, 8, bench.now) {
            counters.push((ms, report[0]));
        }
    }
    assert_eq!(counters, [(5, 0), (14, 1), (27, 2), (500, 3), (510, 4)]);
}

#[test]
fn the_knob_takes_its_buttons_from_the_host() {
    let mut bench = Bench::new(Program::Knob);
    assert_eq!(bench.board.out(0x01, &[0xa5], false, bench.now), OutStep::Done);
    let InStep::Done(Payload::Bytes(report)) = bench.board.read(0x81, 8, bench.now) else { panic!("no report") };
    assert_eq!((report.len(), report[6], report[7]), (8, 0xa5, 0));
}

#[test]
fn control_data_longer_than_a_packet_goes_both_ways() {
    let mut bench = Bench::new(Program::Uno);
    let Control::Done(configuration) = bench.control(0x80, 6, 0x0200, 255, &[]) else { panic!("no descriptor") };
    assert_eq!(usize::from(configuration[2]), configuration.len());
    assert!(configuration.len() > 64);
    let Control::Done(cut) = bench.control(0x80, 6, 0x0200, 64, &[]) else { panic!("no descriptor") };
    assert_eq!(cut, configuration[..64]);
    assert_eq!(bench.control(0x21, 0x00, 0, 0, &[b'A'; 200]), Control::Done(vec![]));
    assert_eq!(bench.control(0x21, 0x00, 0, 0, &[b'A'; 300]), Control::Stall);
    let Control::Done(device) = bench.control(0x80, 6, 0x0100, 18, &[]) else { panic!("no descriptor") };
    assert_eq!(device[8..12], [0x41, 0x23, 0x43, 0x00]);
}
