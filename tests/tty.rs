//! A serial port as somebody meets it who opens `serial.tty` with what they have always used.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, or says that it is skipped"
)]

#[path = "common/cable.rs"]
mod cable;
mod common;
#[path = "common/vitals.rs"]
mod vitals;

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;

use cable::Cable;
use common::bytes::{assert_same, random, read_in_chunks, write_in_chunks};
use common::{Bus, Daemon, PATIENCE, kill, read_exactly, read_line, rounds, wait_for, within};
use firmware_mock::DeviceKind;
use nix::libc::O_NOCTTY;
use nix::sys::signal::Signal;
use nix::sys::termios::{
    BaudRate, ControlFlags, FlushArg, InputFlags, LocalFlags, SetArg, Termios, cfsetspeed, tcflush, tcgetattr,
    tcsetattr,
};
use vitals::{Events, wait_asleep};

/// A simulated board and the daemon that has it.
struct Board {
    name: &'static str,
    daemon: Daemon,
    bus: Bus,
}

impl Board {
    fn with(kind: DeviceKind, name: &'static str, general: &str, serial: &str) -> Self {
        let bus = Bus::with(&[kind]);
        let daemon = Daemon::run(&bus.device(name, &format!("{general}\n[device.serial]\n{serial}")));
        Self { name, daemon, bus }
    }

    fn uno(serial: &str) -> Self {
        Self::with(DeviceKind::Uno, "uno", "", serial)
    }

    fn tty(&self) -> PathBuf {
        tty(&self.daemon, self.name)
    }

    fn open(&self) -> File {
        open(&self.daemon, self.name)
    }

    fn stty(&self, args: &[&str]) {
        stty(&self.daemon, self.name, args);
    }

    /// Sets the speed, and waits until the board has it: of what two programs set at one moment either may be last.
    fn stty_speed(&self, speed: &str) {
        self.stty(&[speed]);
        self.wait_line(&format!("baud={speed}"));
    }

    /// Waits until line control shows this.
    fn wait_line(&self, setting: &str) {
        let lines = || self.daemon.answer(&["serial", self.name, "lines"]);
        wait_for(|| lines().split(' ').any(|word| word == setting).then_some(()), lines);
    }
}

fn tty(daemon: &Daemon, device: &str) -> PathBuf {
    daemon.path(&format!("{device}/serial.tty"))
}

/// As programs open a port: for both directions, not as their terminal.
fn open(daemon: &Daemon, device: &str) -> File {
    let path = tty(daemon, device);
    within(PATIENCE, || OpenOptions::new().read(true).write(true).custom_flags(O_NOCTTY).open(path).unwrap())
}

fn stty(daemon: &Daemon, device: &str, args: &[&str]) {
    let output = Command::new("stty").arg("-F").arg(tty(daemon, device)).args(args).output().unwrap();
    assert!(output.status.success(), "stty {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn say(mut port: &File, line: &str) {
    port.write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn ask(port: &File, line: &str) -> String {
    say(port, line);
    read_line(port)
}

/// A value of the board's answer to `STATUS`.
fn status(port: &File, key: &str) -> String {
    let answer = ask(port, "STATUS");
    let value = answer.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {key} in {answer:?}")).to_owned()
}

/// A board that has just come up may greet whoever listens.
fn wait_boot(port: &File) {
    say(port, "PING boot");
    while read_line(port) != "PONG boot" {}
}

/// Whether there is nothing to read now.
fn is_silent(port: &File) -> bool {
    let mut fds = [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(port), nix::poll::PollFlags::POLLIN)];
    nix::poll::poll(&mut fds, 50u8).unwrap() == 0
}

#[test]
fn a_program_that_opens_the_terminal_talks_to_the_board_and_every_byte_is_only_a_byte() {
    let board = Board::uno("");
    let port = board.open();
    wait_boot(&port);
    assert_eq!(ask(&port, "LED ON"), "LED ON");
    assert_eq!(ask(&port, "SUM 1 2 39"), "SUM 42");
    assert_eq!((status(&port, "dtr"), status(&port, "resets")), ("0".into(), "0".into()), "opening is silent");
    let echo = Board::with(DeviceKind::Echo, "echo", "", "");
    let (port, every) = (echo.open(), (0..=255).collect::<Vec<u8>>());
    (&port).write_all(&every).unwrap();
    assert_eq!(read_exactly(port, 256).1, every);
}

#[test]
fn a_mebibyte_comes_back_from_an_echo_whatever_the_chunks() {
    let board = Board::with(DeviceKind::Echo, "echo", "", "");
    let port = board.open();
    let sent = random(1 << 20, 31);
    let writer = thread::spawn({
        let (sent, port) = (sent.clone(), port.try_clone().unwrap());
        move || write_in_chunks(&port, &sent, &[1, 63, 64, 65, 4096, 3, 10_000, 512])
    });
    within(PATIENCE, move || {
        read_in_chunks(&port, sent.len(), &[4096, 1, 100, 64, 9999], |offset, got| {
            assert_same(&sent[offset..offset + got.len()], got, offset);
        });
    });
    writer.join().unwrap();
}

#[test]
fn a_speed_that_stty_sets_is_the_boards_before_anything_that_is_written_later() {
    let board = Board::uno("");
    let (monitor, answers, lines) =
        (board.open(), board.daemon.reader("uno/serial.rx"), board.daemon.writer("uno/serial.tx"));
    wait_boot(&monitor);
    while read_line(&answers) != "PONG boot" {}
    for speed in ["57600", "9600", "9600", "300", "115200"] {
        board.stty(&[speed]);
        assert_eq!(status(&monitor, "baud"), speed, "through a terminal that was open all the time");
        read_line(&answers);
        board.stty(&[if speed == "300" { "600" } else { "300" }]);
        board.stty(&[speed]);
        (&lines).write_all(b"STATUS\n").unwrap();
        let told = read_line(&answers);
        assert!(told.contains(&format!(" baud={speed} ")), "through the FIFOs: {told}");
        read_line(&monitor);
    }
    drop(monitor);
    board.stty(&["57600"]);
    assert_eq!(status(&board.open(), "baud"), "57600", "nobody has asked for anything else");
}

#[test]
fn nothing_is_echoed_to_what_hangs_on_the_port() {
    let cable = Cable::new();
    let daemon = Daemon::run(&cable.device("", "outlets = [\"tty\"]"));
    let port = open(&daemon, "board");
    cable.say(b"nobody asked\n");
    assert_eq!(read_line(&port), "nobody asked");
    let mut settings = tcgetattr(&port).unwrap();
    settings.local_flags = LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG;
    tcsetattr(&port, SetArg::TCSANOW, &settings).unwrap();
    // A round trip, so that what was set has been seen.
    (&port).write_all(b"first").unwrap();
    assert_eq!(cable.hear(5), b"first");
    cable.say(b"\x03still\x04nothing\n");
    assert_eq!(read_exactly(port.try_clone().unwrap(), 15).1, b"\x03still\x04nothing\n");
    (&port).write_all(b"second").unwrap();
    assert_eq!(cable.hear(6), b"second", "and nothing before it");
}

#[test]
fn a_program_finds_nothing_of_the_one_before_it() {
    // A program that another test starts has this one's terminal, too, until it is executed: none may be started meanwhile.
    if !is_alone("a_program_finds_nothing_of_the_one_before_it") {
        return;
    }
    let board = Board::uno("baud = 115200\n");
    for n in 0..20 {
        let port = board.open();
        if n == 0 {
            wait_boot(&port);
        }
        assert_eq!(status(&port, "baud"), "115200");
        assert_eq!(
            tcgetattr(&port).unwrap().local_flags & (LocalFlags::ECHO | LocalFlags::ICANON),
            LocalFlags::empty()
        );
        say(&port, &format!("PING {n}"));
        // The answer waits in the terminal, unread.
        wait_for(|| (!is_silent(&port)).then_some(()), || "no answer".into());
        let mut settings = tcgetattr(&port).unwrap();
        cfsetspeed(&mut settings, BaudRate::B1200).unwrap();
        settings.local_flags.insert(LocalFlags::ECHO | LocalFlags::ICANON);
        tcsetattr(&port, SetArg::TCSANOW, &settings).unwrap();
        board.wait_line("baud=1200");
    }
}

/// Whether this test has a process to itself; if not, it is run in one, and fails as it does.
fn is_alone(test: &str) -> bool {
    const ALONE: &str = "USBPIPE_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", test, "--nocapture"]).env(ALONE, test).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    false
}

#[test]
fn programs_at_the_same_time_each_get_everything() {
    let board = Board::uno("");
    let answers = board.daemon.reader("uno/serial.rx");
    let clients = |n| board.daemon.wait_pipe("uno", "serial.rx", |pipe| pipe["clients"].as_array().unwrap().len() == n);
    let opened = |n| {
        let port = board.open();
        clients(n);
        port
    };
    clients(1);
    let ports: Vec<File> = (2..10).map(opened).collect();
    wait_boot(&ports[0]);
    for port in &ports[1..] {
        while read_line(port) != "PONG boot" {}
    }
    while read_line(&answers) != "PONG boot" {}
    for (n, port) in ports.iter().enumerate() {
        say(port, &format!("PING {n}"));
        for reader in ports.iter().chain([&answers]) {
            assert_eq!(read_line(reader), format!("PONG {n}"));
        }
    }
    let told = board.daemon.pipe("uno", "serial.tx");
    assert_eq!(told["clients"].as_array().unwrap().iter().filter(|client| client["kind"] == "tty").count(), 8);
    assert_eq!(told["tty"], board.tty().to_str().unwrap());
}

#[test]
fn a_program_that_holds_the_terminal_goes_on_after_an_unplug_at_the_speed_it_set() {
    let board = Board::uno("");
    let port = board.open();
    wait_boot(&port);
    board.stty_speed("19200");
    let (node, name) = (port.metadata().unwrap().ino(), std::fs::read_link(board.tty()).unwrap());
    let mut settings = tcgetattr(&port).unwrap();
    cfsetspeed(&mut settings, BaudRate::B57600).unwrap();
    tcsetattr(&port, SetArg::TCSADRAIN, &settings).unwrap();
    assert_eq!(status(&port, "baud"), "57600");
    let mut events = Events::of(&board.daemon);
    board.bus.command("unplug uno 100");
    events.wait("detach", "uno");
    say(&port, "PING early");
    events.wait("attach", "uno");
    while read_line(&port) != "PONG early" {}
    assert_eq!(status(&port, "baud"), "57600");
    assert_eq!((port.metadata().unwrap().ino(), std::fs::read_link(board.tty()).unwrap()), (node, name));
}

#[test]
fn with_eof_a_program_gets_what_had_arrived_and_a_hang_up_and_the_next_one_a_fresh_terminal() {
    let mut cable = Cable::new();
    let daemon = Daemon::run(&cable.device("unplug = \"eof\"", "outlets = [\"tty\"]"));
    let port = open(&daemon, "board");
    cable.say(b"last words");
    wait_for(|| (!is_silent(&port)).then_some(()), || "nothing comes".into());
    cable.unplug();
    let mut reader = port.try_clone().unwrap();
    let rest = within(PATIENCE, move || {
        let mut rest = Vec::new();
        // A program whose terminal is hung up in the middle of a read gets EIO, see tty_ioctl(4).
        let end = reader.read_to_end(&mut rest);
        assert!(end.as_ref().is_ok_and(|n| *n == rest.len()) || end.is_err_and(|e| e.raw_os_error() == Some(5)));
        rest
    });
    assert_eq!(rest, b"last words");
    assert_eq!((&port).write(b"x").unwrap_err().raw_os_error(), Some(5));
    let next = open(&daemon, "board");
    cable.plug();
    (&next).write_all(b"hello").unwrap();
    assert_eq!(cable.hear(5), b"hello");
    cable.say(b"back\n");
    assert_eq!(read_line(&next), "back");
}

#[test]
fn the_name_stands_before_the_device_is_there_and_goes_with_the_daemon() {
    let mut cable = Cable::new();
    cable.unplug();
    let mut daemon = Daemon::run_unattached(&cable.device("mode = 0o640", "outlets = [\"tty\"]"));
    let port = open(&daemon, "board");
    assert_eq!(port.metadata().unwrap().mode() & 0o777, 0o640);
    (&port).write_all(b"early").unwrap();
    cable.plug();
    assert_eq!(cable.hear(5), b"early");
    assert!(!daemon.path("board/serial.rx").exists());
    assert!(daemon.end().success());
    assert_eq!(tty(&daemon, "board").symlink_metadata().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!((&port).write(b"x").unwrap_err().raw_os_error(), Some(5), "programs are hung up");
}

#[test]
fn a_link_that_a_killed_daemon_left_is_replaced() {
    let cable = Cable::new();
    let temp = tempfile::tempdir().unwrap();
    let (dir, config) = (temp.path().join("run"), cable.device("", "outlets = [\"tty\"]"));
    let mut killed = Daemon::run_in(&dir, &config);
    killed.wait_attached();
    let port = open(&killed, "board");
    kill(killed.child.id(), Signal::SIGKILL);
    within(PATIENCE, move || (&port).read_to_end(&mut Vec::new()).map_or(0, |n| n));
    killed.child.wait().unwrap();
    assert!(tty(&killed, "board").symlink_metadata().is_ok());
    // Whatever it leads to by then.
    std::fs::remove_file(tty(&killed, "board")).unwrap();
    symlink("/dev/null", tty(&killed, "board")).unwrap();
    let mut daemon = Daemon::run_in(&dir, &config);
    daemon.wait_attached();
    let port = open(&daemon, "board");
    (&port).write_all(b"here").unwrap();
    assert_eq!(cable.hear(4), b"here");
}

#[test]
fn a_terminal_costs_nothing_while_nothing_happens_open_or_not() {
    let cable = Cable::new();
    let daemon = Daemon::run(&cable.device("", "outlets = [\"tty\"]"));
    for _ in 0..50 {
        let port = open(&daemon, "board");
        (&port).write_all(b"x").unwrap();
        assert_eq!(cable.hear(1), b"x");
    }
    let before = daemon.descriptors();
    wait_asleep(daemon.child.id());
    let port = open(&daemon, "board");
    cable.say(b"y");
    assert_eq!(read_exactly(port.try_clone().unwrap(), 1).1, b"y");
    wait_asleep(daemon.child.id());
    drop(port);
    wait_for(|| (daemon.descriptors() <= before).then_some(()), || format!("{} descriptors", daemon.descriptors()));
}

#[test]
fn the_board_is_reset_when_a_program_opens_its_terminal_if_that_is_asked_for() {
    let board = Board::uno("reset = \"on-open\"\n");
    for expected in ["1", "2"] {
        let port = board.open();
        while read_line(&port) != "READY" {}
        wait_boot(&port);
        assert_eq!(status(&port, "resets"), expected);
        let second = board.open();
        assert_eq!(status(&second, "resets"), expected, "only the first one resets");
        drop((port, second));
        for line in ["serial.rx", "serial.tx"] {
            board.daemon.wait_pipe("uno", line, |pipe| pipe["open"] == false);
        }
    }
}

/// Waits until the daemon has dealt with the end of every program at the terminal.
fn wait_left(daemon: &Daemon, device: &str) {
    let is_tty = |client: &serde_json::Value| client["kind"] == "tty";
    for line in ["serial.rx", "serial.tx"] {
        daemon.wait_pipe(device, line, |pipe| !pipe["clients"].as_array().unwrap().iter().any(is_tty));
    }
}

#[test]
fn a_terminal_can_be_opened_while_others_close_it() {
    let cable = Cable::new();
    let daemon = Daemon::run(&cable.device("", "outlets = [\"tty\"]"));
    let mut busy: Vec<_> =
        (0..3).map(|_| Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap()).collect();
    let (path, each) = (tty(&daemon, "board"), 50 * rounds(50));
    let failures: Vec<String> = thread::scope(|scope| {
        let program = || {
            for round in 0..each {
                let opened = OpenOptions::new().read(true).write(true).custom_flags(O_NOCTTY).open(&path);
                let port = opened.map_err(|e| format!("open, round {round}: {e}"))?;
                let mut settings = tcgetattr(&port).map_err(|e| format!("tcgetattr, round {round}: {e}"))?;
                nix::sys::termios::cfmakeraw(&mut settings);
                tcsetattr(&port, SetArg::TCSANOW, &settings).map_err(|e| format!("tcsetattr, round {round}: {e}"))?;
            }
            Ok(())
        };
        let running: Vec<_> = (0..4).map(|_| scope.spawn(program)).collect();
        running.into_iter().filter_map(|program| program.join().unwrap().err()).collect()
    });
    for child in &mut busy {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(failures.is_empty(), "{failures:?}");
    // And it is a terminal as it was before, of as many as there were at once.
    cable.echo();
    let port = open(&daemon, "board");
    say(&port, "still here");
    assert_eq!(read_line(&port), "still here");
    assert!(daemon.descriptors() < 100, "{} descriptors", daemon.descriptors());
}

#[test]
fn who_followed_the_link_before_it_changed_is_served() {
    let board = Board::uno("baud = 57600\n");
    let before = std::fs::read_link(board.tty()).unwrap();
    let port = board.open();
    wait_boot(&port);
    say(&port, "PING unread");
    wait_for(|| (!is_silent(&port)).then_some(()), || "no answer".into());
    drop(port);
    wait_left(&board.daemon, "uno");
    assert_ne!(std::fs::read_link(board.tty()).unwrap(), before, "the link leads to another one");
    // Twice: the first time it waits to be used again, and then it has been used again.
    for n in 0..2 {
        let late = OpenOptions::new().read(true).write(true).custom_flags(O_NOCTTY).open(&before).unwrap();
        assert_eq!(ask(&late, &format!("PING {n}")), format!("PONG {n}"), "nothing is left of the last program");
        assert_eq!(status(&late, "baud"), "57600");
        drop(late);
        wait_left(&board.daemon, "uno");
    }
}

#[test]
fn programs_that_come_and_go_while_the_board_is_away_leave_nothing_behind() {
    let mut cable = Cable::new();
    cable.unplug();
    let mut daemon = Daemon::run_unattached(&cable.device("", "outlets = [\"tty\"]"));
    // One that waits, and more than may be there at once.
    let waiting = open(&daemon, "board");
    (&waiting).write_all(b"early").unwrap();
    for _ in 0..300 {
        let port = open(&daemon, "board");
        tcsetattr(&port, SetArg::TCSANOW, &tcgetattr(&port).unwrap()).unwrap();
    }
    let clients = |pipe: &serde_json::Value| pipe["clients"].as_array().unwrap().len();
    daemon.wait_pipe("board", "serial.tx", |pipe| clients(pipe) == 1);
    daemon.wait_pipe("board", "serial.rx", |pipe| clients(pipe) == 1);
    cable.plug();
    assert_eq!(cable.hear(5), b"early");
    cable.say(b"late\n");
    assert_eq!(read_line(&waiting), "late");
    assert!(!daemon.said().iter().any(|line| line.contains("refused")), "nobody was one too many");
}

/// Sets a terminal so, and reads back what it has.
fn set_and_get(port: &File, change: impl FnOnce(&mut Termios)) -> (Termios, Termios) {
    let mut set = tcgetattr(port).unwrap();
    change(&mut set);
    // The kernel gives a pseudo-terminal 8 bits without parity, whatever is asked for.
    set.control_flags.insert(ControlFlags::CS8 | ControlFlags::CREAD);
    tcsetattr(port, SetArg::TCSANOW, &set).unwrap();
    (set, tcgetattr(port).unwrap())
}

#[test]
fn what_a_program_sets_it_reads_back_also_later() {
    let board = Board::uno("");
    let lines = || board.daemon.answer(&["serial", "uno", "lines"]);
    let wait_speed = |speed: u32| wait_for(|| lines().contains(&format!(" baud={speed} ")).then_some(()), lines);
    let port = board.open();
    wait_boot(&port);
    let speeds = [(BaudRate::B19200, 19_200), (BaudRate::B57600, 57_600), (BaudRate::B300, 300)];
    for round in 0..rounds(50).div_ceil(10) {
        for (code, speed) in speeds {
            // From nothing, as avrdude and minicom do: EXTPROC is cleared with the rest.
            let from_nothing = |modes: &mut Termios| {
                modes.local_flags = LocalFlags::empty();
                modes.input_flags = InputFlags::IGNBRK;
                nix::sys::termios::cfsetspeed(modes, code).unwrap();
            };
            let (set, got) = set_and_get(&port, from_nothing);
            assert_eq!(got, set, "round {round}");
            // The daemon learns of each, though nothing is written, and changes nothing for that.
            wait_speed(speed);
            assert_eq!(tcgetattr(&port).unwrap(), set, "round {round}, when the board has {speed}");
            assert_eq!(status(&port, "baud"), speed.to_string());
            assert_eq!(tcgetattr(&port).unwrap(), set, "round {round}, after bytes both ways");
        }
    }
    // A program that asks for echo is not echoed, and as soon as bytes come for it, the kernel has to know.
    let sane = |modes: &mut Termios| modes.local_flags = LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG;
    let (set, got) = set_and_get(&port, sane);
    assert_eq!(got, set);
    assert_eq!(ask(&port, "PING echo"), "PONG echo");
    let (_, got) = set_and_get(&port, |modes| nix::sys::termios::cfsetspeed(modes, BaudRate::B4800).unwrap());
    assert!(got.local_flags.contains(LocalFlags::ECHO));
    assert_eq!(status(&port, "baud"), "4800", "and nothing that the board said came back to it");
}

#[test]
fn stty_finds_what_it_has_set() {
    let board = Board::uno("");
    let monitor = board.open();
    wait_boot(&monitor);
    for _ in 0..4 * rounds(50) {
        board.stty(&["sane"]);
    }
    board.stty(&["sane", "57600"]);
    assert_eq!(status(&monitor, "baud"), "57600", "and the daemon has heard of it");
    // Nor do bytes change that which come all the time.
    let cable = Cable::new();
    let daemon = Daemon::run(&cable.device("", "outlets = [\"tty\"]"));
    let (listener, mut far_end) = (open(&daemon, "board"), cable.far_end());
    thread::spawn(move || while far_end.write_all(b"on and on\n").is_ok() {});
    thread::spawn(move || while (&listener).read(&mut [0; 4096]).is_ok_and(|n| n > 0) {});
    for _ in 0..rounds(50) {
        stty(&daemon, "board", &["sane"]);
    }
}

#[test]
fn a_program_that_only_writes_holds_no_reader_up() {
    let cable = Cable::new();
    let daemon = Daemon::run(&cable.device("", "outlets = [\"fifo\", \"tty\"]\npatience = \"forever\""));
    let only_writes = "exec 4>\"$0\"; echo here >&4; read -r _";
    let mut shell =
        Command::new("sh").args(["-c", only_writes]).arg(tty(&daemon, "board")).stdin(Stdio::piped()).spawn().unwrap();
    assert_eq!(cable.hear(5), b"here\n");
    let reader = daemon.reader("board/serial.rx");
    let is_fifo = |client: &serde_json::Value| client["kind"] == "fifo";
    daemon.wait_pipe("board", "serial.rx", |pipe| pipe["clients"].as_array().unwrap().iter().any(is_fifo));
    let sent = random(200_000, 9);
    let mut far_end = cable.far_end();
    let writer = thread::spawn({
        let sent = sent.clone();
        move || far_end.write_all(&sent).unwrap()
    });
    assert_same(&sent, &read_exactly(reader, sent.len()).1, 0);
    writer.join().unwrap();
    let told = daemon.pipe("board", "serial.rx");
    assert!(told["clients"].as_array().unwrap().iter().all(|client| client["kind"] != "tty"), "{told}");
    assert_eq!(told["lost_bytes"], 0);
    let stdin = shell.stdin.take();
    drop(stdin);
    assert!(shell.wait().unwrap().code().is_some());
    wait_left(&daemon, "board");
}

#[test]
fn cat_ends_well_when_the_port_is_pulled_out_where_the_kernel_lets_the_daemon_say_so() {
    let mut cable = Cable::new();
    let daemon = Daemon::run(&cable.device("unplug = \"eof\"", "outlets = [\"tty\"]"));
    let cat =
        Command::new("cat").arg(tty(&daemon, "board")).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    daemon.wait_pipe("board", "serial.rx", |pipe| pipe["open"] == true);
    cable.say(b"last words\n");
    daemon.wait_count("board", "serial.rx", "bytes", 11);
    cable.unplug();
    let output = within(PATIENCE, move || cat.wait_with_output().unwrap());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "last words\n");
    let told = String::from_utf8_lossy(&output.stderr);
    // vhangup(2) is for CAP_SYS_ADMIN; without it the kernel ends a read that waits with EIO.
    match is_admin(daemon.child.id()) {
        true => assert!(output.status.success(), "{told}"),
        false => assert!(told.contains("Input/output error"), "{told}"),
    }
}

/// Whether this process has CAP_SYS_ADMIN, see capabilities(7).
fn is_admin(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(effective.trim(), 16).unwrap() & 1 << 21 != 0
}

#[test]
fn an_upload_beside_a_monitor_is_warned_of() {
    let board = Board::uno("reset = \"on-open\"\n");
    let mut events = Events::of(&board.daemon);
    let monitor = board.open();
    while read_line(&monitor) != "READY" {}
    assert!(board.daemon.status("uno")["problem"].is_null(), "it is alone");
    let second = board.open();
    let told = events.wait("warning", "uno");
    let text = told["text"].as_str().unwrap();
    assert!(
        told["outlet"] == "serial.tty" && text.contains("`usbpipe release`") && text.contains("`lock = false`"),
        "{told}"
    );
    let shown = board.daemon.wait_status("uno", |status| status["problem"].is_string());
    assert!(shown["problem"].as_str().unwrap().contains("`usbpipe release`"), "{shown}");
    let status = board.daemon.ask(&["status"]);
    assert!(String::from_utf8_lossy(&status.stdout).contains("\n  problem: a program is at serial.tty beside others"));
    drop(second);
    board.daemon.wait_status("uno", |status| status["problem"].is_null());
}

/// Runs a program on the terminal of a fresh board; `None`, told as skipped, where it is not installed.
fn run(program: &str, args: impl Fn(&Board) -> Vec<String>, input: &str) -> Option<String> {
    let board = Board::uno("");
    wait_boot(&board.open());
    let heard = board.daemon.count("uno", "serial.rx", "bytes");
    let mut command = Command::new(program);
    command.args(args(&board)).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        println!("skipped: {program} is not installed, so it was not tried on serial.tty");
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    // Some end at the end of their input, though the answer is still to come.
    board.daemon.wait_count("uno", "serial.rx", "bytes", heard + 1);
    drop(stdin);
    let output: Output = within(PATIENCE, move || child.wait_with_output().unwrap());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program}: {text}{}", String::from_utf8_lossy(&output.stderr));
    Some(text)
}

#[test]
fn socat_picocom_and_tio_talk_to_the_board_at_the_speed_they_were_given() {
    let port = |board: &Board| board.tty().display().to_string();
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let socat = run("socat", |board| words(&format!("-t 1 - FILE:{},raw,echo=0,b19200", port(board))), "STATUS\n");
    let arguments = |board: &Board| [words("-q -b 57600 -x 800 -t"), vec!["STATUS\n".into(), port(board)]].concat();
    let picocom = run("picocom", arguments, "");
    let tio = run("tio", |board| words(&format!("-b 38400 {}", port(board))), "STATUS\n");
    for (program, said, speed) in [("socat", socat, 19_200), ("picocom", picocom, 57_600), ("tio", tio, 38_400)] {
        if let Some(said) = said {
            assert!(said.contains(&format!("STATUS led=off baud={speed} dtr=0 resets=0")), "{program}: {said}");
        }
    }
}

#[test]
fn screen_shows_what_the_board_answers() {
    let board = Board::uno("");
    wait_boot(&board.open());
    let temp =
        tempfile::Builder::new().permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700)).tempdir().unwrap();
    let screen = |args: &[&str]| {
        let mut command = Command::new("screen");
        command.env("SCREENDIR", temp.path()).env("TERM", "xterm").args(["-S", "usbpipe"]).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).status()
    };
    let Ok(started) = screen(&["-d", "-m", board.tty().to_str().unwrap(), "4800"]) else {
        println!("skipped: screen is not installed, so it was not tried on serial.tty");
        return;
    };
    assert!(started.success());
    board.daemon.wait_pipe("uno", "serial.tx", |pipe| pipe["open"] == true);
    let copy = temp.path().join("copy");
    let shown = || {
        screen(&["-X", "stuff", "STATUS\n"]).unwrap();
        screen(&["-X", "hardcopy", copy.to_str().unwrap()]).unwrap();
        let text = std::fs::read_to_string(&copy).unwrap_or_default();
        text.contains("STATUS led=off baud=4800 dtr=0").then_some(())
    };
    wait_for(shown, || std::fs::read_to_string(&copy).unwrap_or_default());
    assert!(screen(&["-X", "quit"]).unwrap().success());
}

/// A Python that has pyserial.
fn python() -> Option<&'static str> {
    let has_it =
        |python: &&str| Command::new(python).args(["-c", "import serial"]).output().is_ok_and(|o| o.status.success());
    ["python3", "/usr/bin/python3"].into_iter().find(has_it)
}

#[test]
fn pyserial_sets_any_speed_flushes_breaks_and_reads_as_on_a_port() {
    let Some(python) = python() else {
        println!("skipped: there is no pyserial (python3-serial), so it was not tried on serial.tty");
        return;
    };
    let board = Board::uno("");
    wait_boot(&board.open());
    let tty = board.tty();
    let output = within(PATIENCE, move || Command::new(python).args(["-c", PYSERIAL]).arg(tty).output().unwrap());
    let (said, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{complaint}");
    assert_eq!(said, "LED ON\n0 1 2 3 4\n9600\n250000\n\n57600 8N2\nclosed\n");
}

const PYSERIAL: &str = r#"
import serial, sys
port = serial.Serial(sys.argv[1], 9600, timeout=5, exclusive=True)
def status():
    port.write(b"STATUS\n")
    return dict(word.split("=") for word in port.readline().decode().split()[1:])["baud"]
port.write(b"LED ON\n")
print(port.readline().decode(), end="")
port.timeout = 0
rounds = []
for i in range(5):
    port.write(b"PING %d\n" % i)
    line = b""
    while not line.endswith(b"\n"):
        line += port.readline()
    rounds.append(line.split()[1].decode())
print(*rounds)
port.timeout = 5
print(status())
port.baudrate = 250000
print(status())
port.write(b"PING lost\n")
while port.in_waiting < 10: pass
port.reset_input_buffer()
port.reset_output_buffer()
port.send_break(0.05)
port.flush()
port.timeout = 0.2
print(port.readline().decode())
port.timeout = 5
port.stopbits = serial.STOPBITS_TWO
port.baudrate = 57600
print(status(), "8N2")
port.close()
print("closed")
"#;

#[test]
fn the_line_goes_back_to_the_speed_of_who_remains_when_a_program_closes_and_then_to_the_configurations() {
    let board = Board::uno("baud = 115200\n");
    let set = |port: &File, speed| {
        let mut settings = tcgetattr(port).unwrap();
        cfsetspeed(&mut settings, speed).unwrap();
        tcsetattr(port, SetArg::TCSADRAIN, &settings).unwrap();
    };
    let answers = board.daemon.reader("uno/serial.rx");
    let told = || std::iter::repeat_with(|| read_line(&answers)).find(|line| line.starts_with("STATUS")).unwrap();
    let (stays, silent) = (board.open(), board.open());
    set(&stays, BaudRate::B57600);
    board.wait_line("baud=57600");
    for _ in 0..10 {
        let goes = board.open();
        set(&goes, BaudRate::B9600);
        // What it wrote is still sent at its speed.
        say(&goes, "STATUS");
        drop(goes);
        assert!(told().contains(" baud=9600 "));
        board.wait_line("baud=57600");
    }
    drop(silent);
    say(&stays, "STATUS");
    assert!(told().contains(" baud=57600 "));
    drop(stays);
    board.wait_line("baud=115200");
    board.stty(&["300"]);
    board.wait_line("baud=115200");
}

#[test]
fn a_program_that_sets_1200_baud_and_goes_has_touched_the_board_whatever_is_configured() {
    let board = Board::with(DeviceKind::Leonardo, "leonardo", "", "baud = 9600\n");
    let mut events = Events::of(&board.daemon);
    board.stty(&["1200"]);
    let told = events.wait("attach", "leonardo");
    assert!(told["text"].as_str().unwrap().starts_with("2341:0036"), "the bootloader: {told}");
    events.wait("attach", "leonardo");
    board.wait_line("baud=9600");
}

#[test]
fn flow_control_that_a_program_sets_reaches_the_port_and_goes_with_it() {
    let cable = Cable::new();
    let daemon = Daemon::run(&cable.device("", "outlets = [\"tty\"]\nflow = \"xonxoff\""));
    let wait_flow = |flow| wait_for(|| (cable.flow() == flow).then_some(()), || format!("{:?}", cable.flow()));
    let port = open(&daemon, "board");
    assert_eq!(cable.flow(), (false, true));
    assert!(tcgetattr(&port).unwrap().input_flags.contains(InputFlags::IXON), "a program finds what is configured");
    let mut settings = tcgetattr(&port).unwrap();
    settings.input_flags.remove(InputFlags::IXON);
    settings.control_flags.insert(ControlFlags::CRTSCTS);
    tcsetattr(&port, SetArg::TCSANOW, &settings).unwrap();
    wait_flow((true, false));
    assert_eq!(tcgetattr(&port).unwrap().control_flags & ControlFlags::CRTSCTS, ControlFlags::CRTSCTS);
    settings.control_flags.remove(ControlFlags::CRTSCTS);
    tcsetattr(&port, SetArg::TCSANOW, &settings).unwrap();
    wait_flow((false, false));
    drop(port);
    wait_flow((false, true));
}

#[test]
fn flow_control_is_refused_with_the_reason_where_the_line_is_usb() {
    let board = Board::uno("");
    let port = board.open();
    wait_boot(&port);
    let answer = board.daemon.answer(&["serial", "uno", "flow", "rtscts"]);
    assert!(answer.starts_with("error invalid ") && answer.contains("CDC ACM"), "{answer}");
    assert_eq!(board.daemon.answer(&["serial", "uno", "flow", "none"]), "ok");
    let mut events = Events::of(&board.daemon);
    board.stty(&["ixon"]);
    let told = events.wait("warning", "uno");
    assert!(told["text"].as_str().unwrap().contains("CDC ACM"), "{told}");
    assert_eq!(ask(&port, "PING 1"), "PONG 1");
}

/// As pyserial opens a port: what was there before is of no use to it.
#[test]
fn a_program_that_flushes_what_it_finds_gets_nothing_that_was_kept() {
    let cable = Cable::new();
    let daemon = Daemon::run(&cable.device("", "outlets = [\"tty\"]\n"));
    let mut sent = 0;
    for n in 0..20 {
        cable.say(b"kept\n");
        sent += 5;
        daemon.wait_count("board", "serial.rx", "bytes", sent);
        let port = open(&daemon, "board");
        tcflush(&port, FlushArg::TCIFLUSH).unwrap();
        (&port).write_all(b"?").unwrap();
        assert_eq!(cable.hear(1), b"?");
        cable.say(format!("answer {n}\n").as_bytes());
        sent += 8 + n.to_string().len() as u64;
        assert_eq!(read_line(&port), format!("answer {n}"));
    }
}

#[test]
fn a_reset_at_opening_leaves_nothing_of_what_the_board_said_before() {
    let board = Board::uno("reset = \"on-open\"\n");
    // It greets nobody.
    let before = board.daemon.count("uno", "serial.rx", "bytes");
    assert_eq!(board.daemon.answer(&["serial", "uno", "reset"]), "ok");
    board.daemon.wait_count("uno", "serial.rx", "bytes", before + 6);
    let port = board.open();
    assert_eq!(read_line(&port), "READY", "of the reset");
    assert_eq!(ask(&port, "PING 1"), "PONG 1", "and no other");
    let answer = ask(&port, "STATUS");
    assert!(answer.ends_with(" resets=2"), "{answer}");
    let pipe = board.daemon.pipe("uno", "serial.rx");
    let [bytes, discarded] = ["bytes", "discarded_bytes"].map(|counter| pipe[counter].as_u64().unwrap());
    assert_eq!(bytes - discarded, "READY\nPONG 1\n\n".len() as u64 + answer.len() as u64, "all else is counted");
    assert!(discarded >= 6, "{pipe}");
}

#[test]
fn an_answer_waits_for_the_next_command_of_a_shell() {
    let uno = Board::uno("");
    wait_boot(&uno.open());
    let cable = Cable::new();
    let echo = Daemon::run(&cable.device("", ""));
    cable.echo();
    for (daemon, device, answer) in [(&uno.daemon, "uno", "PONG 1\n"), (&echo, "board", "PING 1\n")] {
        for _ in 0..10 {
            daemon.wait_pipe(device, "serial.rx", |pipe| pipe["open"] == false);
            let script = "echo 'PING 1' >serial.tx; exec head -n1 serial.rx";
            let mut shell = Command::new("sh");
            shell.args(["-c", script]).current_dir(daemon.path(device)).stdout(Stdio::piped());
            let child = shell.spawn().unwrap();
            let output = within(PATIENCE, || child.wait_with_output().unwrap());
            assert_eq!(String::from_utf8_lossy(&output.stdout), answer, "{device}");
        }
    }
}
