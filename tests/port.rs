//! A serial port of the operating system as somebody meets it who scripts what hangs on it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/cable.rs"]
mod cable;
mod common;
#[path = "common/vitals.rs"]
mod vitals;

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;
use std::time::Duration;

use cable::Cable;
use common::bytes::{assert_same, random, read_in_chunks, write_in_chunks};
use common::{Daemon, PATIENCE, read_exactly, read_line, usbpipe, wait_for, within};
use nix::libc::O_NOCTTY;
use vitals::{Events, descriptors_at_rest, preemptions, wait_asleep};

/// A bridged port with programs on both of its FIFOs.
struct Board {
    daemon: Daemon,
    cable: Cable,
    from: File,
    to: File,
}

impl Board {
    fn with(serial: &str) -> Self {
        let cable = Cable::new();
        let daemon = Daemon::run(&cable.device("", serial));
        let (from, to) = (daemon.reader("board/serial.rx"), daemon.writer("board/serial.tx"));
        Self { daemon, cable, from, to }
    }

    fn serial(&self, request: &[&str]) -> String {
        self.daemon.answer(&[&["serial", "board"], request].concat())
    }

    fn lines_go_both_ways(&self) {
        self.cable.say(b"from afar\n");
        assert_eq!(read_line(&self.from), "from afar");
        (&self.to).write_all(b"into the distance\n").unwrap();
        assert_eq!(self.cable.hear(18), b"into the distance\n");
    }
}

#[test]
fn lines_go_both_ways_and_control_characters_are_only_bytes() {
    let board = Board::with("");
    board.lines_go_both_ways();
    let every: Vec<u8> = (0..=255).collect();
    board.cable.say(&every);
    assert_eq!(read_exactly(board.from.try_clone().unwrap(), 256).1, every);
    (&board.to).write_all(&every).unwrap();
    assert_eq!(board.cable.hear(256), every, "and no echo of what came before");
    let status = board.daemon.status("board");
    assert_eq!((&status["backend"], &status["state"]), (&"serial".into(), &"attached".into()));
}

#[test]
fn a_mebibyte_comes_back_from_an_echo_whatever_the_chunks() {
    let Board { daemon: _daemon, cable, from, to } = Board::with("");
    cable.echo();
    let sent = random(1 << 20, 23);
    let writer = thread::spawn({
        let sent = sent.clone();
        move || write_in_chunks(&to, &sent, &[1, 63, 64, 65, 4096, 3, 10_000, 512])
    });
    within(PATIENCE, move || {
        read_in_chunks(&from, sent.len(), &[4096, 1, 100, 64, 9999], |offset, got| {
            assert_same(&sent[offset..offset + got.len()], got, offset);
        });
    });
    writer.join().unwrap();
}

#[test]
fn the_speed_of_the_configuration_and_of_requests_is_the_ports() {
    let board = Board::with("baud = 57600\n");
    // Nothing tells that the line is set up but that bytes flow.
    board.lines_go_both_ways();
    assert_eq!(board.cable.speed(), 57_600);
    assert_eq!(board.serial(&["baud", "250000"]), "ok");
    assert_eq!(board.cable.speed(), 250_000);
    assert_eq!(board.serial(&["lines"]), "ok dtr=untouched rts=untouched baud=250000 mode=8N1");
    assert!(board.serial(&["mode", "7E2"]).starts_with("error invalid "), "a pseudo-terminal has 8 bits only");
}

#[test]
fn a_port_without_modem_lines_says_so_and_is_of_use_all_the_same() {
    let mut board = Board::with("dtr = true\n");
    board.daemon.wait_said("setting up the serial line failed");
    for request in [&["dtr", "on"][..], &["rts", "off"], &["dtr", "pulse", "5"], &["reset"]] {
        let answer = board.serial(request);
        assert_eq!(answer, "error invalid the port has no modem lines: DTR and RTS cannot be set on it", "{request:?}");
    }
    board.lines_go_both_ways();
}

#[test]
fn a_second_daemon_is_told_who_has_the_port_and_gets_it_afterwards() {
    let board = Board::with("");
    let mut second = Daemon::run_unattached(&board.cable.device("", ""));
    let told = second.wait_said("waiting for the device");
    let holder = format!("is in use by usbpipe (process {})", board.daemon.child.id());
    assert!(told.contains(&holder), "{told}");
    board.lines_go_both_ways();
    let Board { mut daemon, cable, .. } = board;
    assert!(daemon.end().success());
    second.wait_attached();
    cable.say(b"now you\n");
    assert_eq!(read_line(&second.reader("board/serial.rx")), "now you");
}

#[test]
fn other_programs_are_kept_out_but_for_while_the_port_is_released() {
    let board = Board::with("");
    let try_lock = || {
        Command::new("flock")
            .args(["--nonblock", "--conflict-exit-code", "9"])
            .arg(&board.cable.port)
            .arg("true")
            .status()
            .unwrap()
            .code()
    };
    assert_eq!(try_lock(), Some(9));
    assert_eq!(board.serial(&["release"]), "ok");
    board.daemon.wait_status("board", |s| s["state"] == "released");
    assert_eq!(try_lock(), Some(0), "what is released is closed");
    (&board.to).write_all(b"kept\n").unwrap();
    assert_eq!(board.serial(&["reclaim"]), "ok");
    board.daemon.wait_status("board", |s| s["state"] == "attached");
    assert_eq!(board.cable.hear(5), b"kept\n");
    assert_eq!(try_lock(), Some(9));
    board.lines_go_both_ways();
}

fn inodes(daemon: &Daemon) -> [u64; 2] {
    ["rx", "tx"].map(|end| daemon.path(&format!("board/serial.{end}")).metadata().unwrap().ino())
}

#[test]
fn programs_that_hold_their_ends_go_on_after_each_of_50_unplugs_and_nothing_grows() {
    let mut board = Board::with("baud = 19200\n");
    let mut events = Events::of(&board.daemon);
    let before = inodes(&board.daemon);
    let mut warm = 0;
    for round in 0..50 {
        board.cable.unplug();
        events.wait("detach", "board");
        board.to.write_all(b"early\n").unwrap();
        board.cable.plug();
        events.wait("attach", "board");
        assert_eq!(board.cable.hear(6), b"early\n");
        assert_eq!(board.cable.speed(), 19_200);
        board.lines_go_both_ways();
        if round == 10 {
            warm = descriptors_at_rest(&board.daemon);
        }
    }
    assert_eq!(descriptors_at_rest(&board.daemon), warm);
    assert_eq!(inodes(&board.daemon), before);
}

#[test]
fn with_eof_a_reader_ends_when_the_port_goes_even_if_nothing_was_ever_sent() {
    let mut cable = Cable::new();
    let daemon = Daemon::run(&cable.device("unplug = \"eof\"", ""));
    let mut reader = daemon.reader("board/serial.rx");
    daemon.wait_pipe("board", "serial.rx", |pipe| pipe["open"] == true);
    cable.unplug();
    let rest = within(PATIENCE, move || {
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        rest
    });
    assert_eq!(rest, b"");
    cable.plug();
    let path = daemon.path("board/serial.rx");
    let reader = within(PATIENCE, || File::open(path).unwrap());
    cable.say(b"back\n");
    assert_eq!(read_line(&reader), "back");
}

#[test]
fn a_port_on_which_nothing_happens_costs_nothing() {
    let board = Board::with("");
    board.lines_go_both_ways();
    let pid = board.daemon.child.id();
    wait_asleep(pid);
}

#[test]
fn what_was_written_before_the_end_arrives() {
    let board = Board::with("");
    let Board { mut daemon, cable, from: _from, to } = board;
    let sent = random(3000, 5);
    (&to).write_all(&sent).unwrap();
    assert!(daemon.end().success());
    assert_eq!(cable.hear(3000), sent);
}

#[test]
fn a_port_can_be_named_on_the_command_line() {
    let cable = Cable::new();
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("run");
    let mut command = usbpipe();
    command.arg("bridge").arg("--dir").arg(&dir).arg(&cable.port);
    let mut daemon = Daemon::start(command, &dir);
    daemon.wait_said("ready");
    daemon.wait_attached();
    cable.say(b"hello\n");
    assert_eq!(read_line(&daemon.reader("port/serial.rx")), "hello");
}

/// As those in `/dev/serial/by-id`, which udev makes and unmakes together with the folder; here with a link to them.
#[test]
fn a_port_behind_links_and_folders_that_come_and_go_is_found_each_time() {
    let mut cable = Cable::at("serial/by-id/board-if00");
    let temp = tempfile::tempdir().unwrap();
    let link = temp.path().join("my-board");
    symlink(&cable.port, &link).unwrap();
    let config = cable.device("", "").replace(cable.port.to_str().unwrap(), link.to_str().unwrap());
    let daemon = Daemon::run(&config);
    let mut events = Events::of(&daemon);
    let reader = daemon.reader("board/serial.rx");
    for _ in 0..10 {
        cable.unplug();
        events.wait("detach", "board");
        cable.plug();
        events.wait("attach", "board");
        cable.say(b"back\n");
        assert_eq!(read_line(&reader), "back");
    }
    cable.unplug();
    events.wait("detach", "board");
    let pid = daemon.child.id();
    wait_asleep(pid);
}

#[test]
fn a_port_that_is_not_there_is_waited_for() {
    let mut cable = Cable::new();
    cable.unplug();
    let mut daemon = Daemon::run_unattached(&cable.device("", ""));
    let told = daemon.wait_said("waiting for the device");
    assert!(told.contains(cable.port.to_str().unwrap()), "{told}");
    cable.plug();
    wait_for(|| (daemon.status("board")["state"] == "attached").then_some(()), || "it stays unnoticed".into());
}

/// A port that is open and not yet raw sends back what its board says, and the board answers that.
#[test]
fn a_board_that_speaks_the_moment_its_port_is_opened_hears_nothing() {
    let mut cable = Cable::new();
    cable.unplug();
    let daemon = Daemon::run_unattached(&cable.device("", "baud = 57600\n"));
    let (from, to) = (daemon.reader("board/serial.rx"), daemon.writer("board/serial.tx"));
    let mut events = Events::of(&daemon);
    let (mut quiet, mut disturbed) = (0, 0);
    while quiet < 20 {
        let before = preemptions(daemon.child.id());
        cable.plug_rude(b"READY\r\n");
        events.wait("attach", "board");
        let preempted = preemptions(daemon.child.id()) - before;
        // What was received before the port was raw has another line end.
        assert_eq!(read_exactly(from.try_clone().unwrap(), 5).1, b"READY");
        (&to).write_all(b"PING 1\n").unwrap();
        let heard = cable.hear(7);
        read_exactly(from.try_clone().unwrap(), 2);
        if heard == b"PING 1\n" {
            assert_eq!(cable.speed(), 57_600);
            quiet += 1;
        } else {
            // Nothing closes the moment between open(2) and raw mode for a daemon that has to make way in it.
            println!("{:?} came back; the daemon was preempted {preempted} times", String::from_utf8_lossy(&heard));
            disturbed += 1;
            assert!(preempted > 0 && disturbed <= 5, "{disturbed} plugs of {} were heard", quiet + disturbed);
        }
        cable.unplug();
        events.wait("detach", "board");
    }
}

#[test]
fn flow_control_of_the_configuration_and_of_requests_is_the_ports() {
    let board = Board::with("flow = \"rtscts\"\n");
    board.lines_go_both_ways();
    assert_eq!(board.cable.flow(), (true, false));
    assert_eq!(board.serial(&["lines"]), "ok dtr=untouched rts=untouched baud=38400 mode=8N1 flow=rtscts");
    assert_eq!(board.serial(&["flow", "xonxoff"]), "ok");
    assert_eq!(board.cable.flow(), (false, true));
    // XOFF, and below XON; neither is a byte any more.
    board.cable.say(b"one\x13two\n");
    assert_eq!(read_line(&board.from), "onetwo");
    (&board.to).write_all(b"held up\n").unwrap();
    assert!(board.cable.is_silent());
    board.cable.say(b"\x11");
    assert_eq!(board.cable.hear(8), b"held up\n");
    board.lines_go_both_ways();
    assert_eq!(board.serial(&["flow", "none"]), "ok");
    assert_eq!(board.cable.flow(), (false, false));
    assert!(board.serial(&["flow", "on"]).starts_with("error invalid "));
    board.cable.say(b"\x13\x11\n");
    assert_eq!(read_exactly(board.from.try_clone().unwrap(), 3).1, b"\x13\x11\n", "only bytes again");
}

/// A port whose far end says what nobody hears, with outlets of every kind.
fn unheard(unread: &str) -> (Daemon, Cable) {
    let cable = Cable::new();
    let serial = format!("outlets = [\"fifo\", \"tty\", \"socket\"]\n{unread}\n");
    (Daemon::run(&cable.device("", &serial)), cable)
}

fn wait_bytes(daemon: &Daemon, bytes: u64) {
    daemon.wait_count("board", "serial.rx", "bytes", bytes);
}

/// A program at `serial.rx`, `serial.tty` or `serial.sock`.
fn open(daemon: &Daemon, outlet: &str) -> File {
    let path = daemon.path(&format!("board/{outlet}"));
    match outlet {
        "serial.rx" => File::open(path).unwrap(),
        "serial.tty" => OpenOptions::new().read(true).write(true).custom_flags(O_NOCTTY).open(path).unwrap(),
        _ => OwnedFd::from(UnixStream::connect(path).unwrap()).into(),
    }
}

/// Waits until so many programs read.
fn wait_readers(daemon: &Daemon, count: usize) {
    daemon.wait_pipe("board", "serial.rx", |pipe| pipe["clients"].as_array().unwrap().len() == count);
}

const EACH: [&str; 3] = ["serial.rx", "serial.tty", "serial.sock"];

#[test]
fn what_arrives_while_no_program_is_there_is_the_next_ones_whatever_it_opens() {
    let (daemon, cable) = unheard("");
    let mut sent = 0;
    for outlet in EACH {
        cable.say(b"nobody\nhears\n");
        sent += 13;
        wait_bytes(&daemon, sent);
        let program = open(&daemon, outlet);
        assert_eq!(read_exactly(program.try_clone().unwrap(), 13).1, b"nobody\nhears\n", "{outlet}");
        cable.say(b"now\n");
        sent += 4;
        assert_eq!(read_line(&program), "now");
        drop(program);
        wait_readers(&daemon, 0);
    }
    assert_eq!(daemon.count("board", "serial.rx", "discarded_bytes"), 0);
}

#[test]
fn what_is_older_than_unread_says_is_nobodys_and_counted() {
    for unread in ["unread = \"300ms\"", "unread = 0", "on_open = \"discard\"", "idle = \"drain\""] {
        let (daemon, cable) = unheard(unread);
        cable.say(b"old\n");
        wait_bytes(&daemon, 4);
        // Time is what this is about.
        thread::sleep(Duration::from_millis(400));
        let programs = EACH.map(|outlet| open(&daemon, outlet));
        wait_readers(&daemon, 3);
        cable.say(b"new\n");
        for (outlet, program) in EACH.iter().zip(&programs) {
            assert_eq!(read_line(program), "new", "{unread}, {outlet}");
        }
        assert_eq!(daemon.count("board", "serial.rx", "discarded_bytes"), 4, "{unread}");
    }
}

#[test]
fn answers_for_a_program_at_the_terminal_do_not_wait_in_the_fifo() {
    let (daemon, cable) = unheard("unread = \"300ms\"");
    let tty = open(&daemon, "serial.tty");
    (&tty).write_all(b"LED ON\n").unwrap();
    assert_eq!(cable.hear(7), b"LED ON\n");
    cable.say(b"OK LED ON\n");
    assert_eq!(read_line(&tty), "OK LED ON");
    drop(tty);
    wait_readers(&daemon, 0);
    cable.say(b"OK late\n");
    wait_bytes(&daemon, 18);
    thread::sleep(Duration::from_millis(400));
    let answers = daemon.reader("board/serial.rx");
    wait_readers(&daemon, 1);
    cable.say(b"OK TEMP\n");
    assert_eq!(read_line(&answers), "OK TEMP");
}

/// What a program leaves in the FIFO when others stay, and when nobody stays.
#[test]
fn what_a_reader_of_the_fifo_leaves_is_the_next_ones_for_a_while() {
    for with_monitor in [false, true] {
        let (daemon, cable) = unheard("unread = \"500ms\"");
        let monitor = with_monitor.then(|| open(&daemon, "serial.sock"));
        let others = usize::from(with_monitor);
        wait_readers(&daemon, others);
        let first = daemon.reader("board/serial.rx");
        wait_readers(&daemon, others + 1);
        cable.say(b"one\ntwo\nthree\n");
        wait_bytes(&daemon, 14);
        assert_eq!(read_line(&first), "one");
        drop(first);
        wait_readers(&daemon, others);
        let second = daemon.reader("board/serial.rx");
        assert_eq!(read_line(&second), "two");
        drop(second);
        wait_readers(&daemon, others);
        thread::sleep(Duration::from_millis(600));
        let third = daemon.reader("board/serial.rx");
        wait_readers(&daemon, others + 1);
        cable.say(b"four\n");
        assert_eq!(read_line(&third), "four", "with a monitor: {with_monitor}");
        assert_eq!(daemon.count("board", "serial.rx", "discarded_bytes"), 6);
        if let Some(monitor) = monitor {
            assert_eq!(read_exactly(monitor, 19).1, b"one\ntwo\nthree\nfour\n");
        }
    }
}

#[test]
fn at_most_64_kib_are_kept_the_newest_and_with_forever_the_board_waits_and_nothing_is_lost() {
    const ALL: usize = 200_000;
    let sent = random(ALL, 41);
    for (unread, kept) in [("unread = \"1h\"", 65_536), ("unread = \"forever\"", ALL)] {
        let (daemon, cable) = unheard(unread);
        let mut far_end = cable.far_end();
        let bytes = sent.clone();
        let writer = thread::spawn(move || far_end.write_all(&bytes).unwrap());
        wait_bytes(&daemon, if kept == ALL { 65_536 } else { ALL as u64 });
        let from = daemon.reader("board/serial.rx");
        assert_same(&sent[ALL - kept..], &read_exactly(from, kept).1, 0);
        writer.join().unwrap();
        assert_eq!(daemon.count("board", "serial.rx", "discarded_bytes"), (ALL - kept) as u64);
    }
}

#[test]
fn a_line_that_is_read_with_nobody_there_wakes_nobody_while_nothing_comes() {
    let (daemon, cable) = unheard("");
    cable.say(b"unheard\n");
    wait_bytes(&daemon, 8);
    let pid = daemon.child.id();
    wait_asleep(pid);
}
