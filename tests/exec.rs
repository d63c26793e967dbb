//! `usbpipe exec`: a command with a device's pipes as its stdin, stdout and further descriptors.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on fails, and says why")]

#[path = "common/board.rs"]
mod board;
#[path = "common/cable.rs"]
mod cable;
mod common;
#[path = "common/tmux.rs"]
mod tmux;
#[path = "common/vitals.rs"]
mod vitals;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::Duration;

use board::Board;
use cable::Cable;
use common::bytes::{assert_same, pattern, random};
use common::{Bus, Daemon, PATIENCE, kill, read_line, usbpipe, wait_child, wait_for, within};
use firmware_mock::DeviceKind::{Echo, Knob, Leonardo, Uno, Zero};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use tmux::Terminal;
use vitals::Events;

/// `usbpipe --dir DIR exec WORDS…`.
fn exec(dir: &Path, words: &[&str]) -> Command {
    let mut command = usbpipe();
    command.arg("--dir").arg(dir).arg("exec").args(words);
    command
}

fn output(mut command: Command) -> Output {
    within(PATIENCE, move || command.output().unwrap())
}

/// What it said on stderr, after its end with status 0.
fn said(command: Command) -> String {
    let output = output(command);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    said
}

/// A command that runs, once it has said a line on stderr.
struct Running {
    child: Child,
    said: BufReader<ChildStderr>,
}

impl Running {
    /// In a group of its own: where these stories run on a terminal, what is sent to one in its foreground is taken for typed.
    fn start(mut command: Command) -> Self {
        let mut child = command.process_group(0).stderr(Stdio::piped()).spawn().unwrap();
        let mut running = Self { said: BufReader::new(child.stderr.take().unwrap()), child };
        running.line();
        running
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line
    }

    fn code(&mut self) -> Option<i32> {
        wait_child(&mut self.child).code()
    }
}

/// What holds a script up until the test goes on.
struct Gate {
    dir: TempDir,
}

impl Gate {
    fn new() -> Self {
        let gate = Self { dir: tempfile::tempdir().unwrap() };
        nix::unistd::mkfifo(&gate.path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
        gate
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("gate")
    }

    /// The script's command.
    fn wait(&self) -> String {
        format!("read -r go <{}", self.path().display())
    }

    fn open(&self) {
        fs::write(self.path(), "go\n").unwrap();
    }
}

/// What a board says that has just come up is not what a script waits for.
const ASK: &str = "ask() { echo \"$1\"; while read -r answer; do case $answer in $2*) break; esac; done; }; ";

fn is_python_there() -> bool {
    let version = Command::new("python3").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

#[test]
fn a_python_program_talks_to_the_board_over_stdin_and_stdout() {
    if !is_python_there() {
        println!("skipped: a_python_program_talks_to_the_board_over_stdin_and_stdout: python3 is not installed");
        return;
    }
    let board = Board::uno();
    let script = "import sys\nprint('PING 7', flush=True)\nsys.stderr.write(sys.stdin.readline())";
    assert_eq!(said(exec(&board.daemon.dir, &["uno", "--serial", "--", "python3", "-c", script])), "PONG 7\n");
    assert_eq!(read_line(&board.answers), "PONG 7", "other programs at the line hear it too");
}

#[test]
fn a_seqpacket_socketpair_on_an_inherited_descriptor_talks_to_the_board() {
    if !is_python_there() {
        println!("skipped: a_seqpacket_socketpair_on_an_inherited_descriptor_talks_to_the_board: no python3");
        return;
    }
    let board = Board::uno();
    let script = "import socket, sys\nboard = socket.socket(fileno=3)\nassert board.type == socket.SOCK_SEQPACKET\n\
                  board.send(b'SUM 1 2 39\\n')\nanswer = b''\n\
                  while not answer.endswith(b'\\n'): answer += board.recv(100)\nsys.stderr.write(answer.decode())";
    let words = ["uno", "--fd", "3=serial:packet", "--", "python3", "-c", script];
    assert_eq!(said(exec(&board.daemon.dir, &words)), "SUM 42\n");
}

/// Also of a pipe in the stream framing, which knows no boundaries by itself.
#[test]
fn each_transfer_is_a_message_of_a_seqpacket_socketpair_a_zlp_an_empty_one() {
    if !is_python_there() {
        println!("skipped: each_transfer_is_a_message_of_a_seqpacket_socketpair_a_zlp_an_empty_one: no python3");
        return;
    }
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", ""));
    let script = "import socket, sys\nback, out = (socket.socket(fileno=n) for n in (3, 4))\nback.settimeout(10)\n\
                  for n in (1, 512, 0, 600, 0, 0, 5):\n    out.send(bytes(n))\n    print(len(back.recv(9999)), file=sys.stderr)";
    let words = ["zero", "--fd", "3=ep_82:packet", "--fd", "4=ep_02:packet", "--", "python3", "-c", script];
    assert_eq!(said(exec(&daemon.dir, &words)), "1\n512\n0\n600\n0\n0\n5\n");
}

/// Runs a command and waits until these are its descriptors, by number, as `ls -l /proc/PID/fd` shows them: while it starts,
/// it opens and closes libraries.
fn wait_descriptors(mut command: Command, words: &[&str], wanted: &[(u32, &str)]) {
    command.args(["--", "sh", "-c", "echo $$ >&2; exec sleep 100", "sh"]).args(words);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pid = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut pid).unwrap();
    let pid: u32 = pid.trim().parse().unwrap();
    let command = || fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    let fits = |open: &Vec<(u32, String)>| open.iter().map(|(n, kind)| (*n, kind.as_str())).eq(wanted.iter().copied());
    let look = || Some(descriptors(pid)).filter(|open| command() == "sleep\n" && fits(open));
    wait_for(look, || format!("{} has {:?}, not {wanted:?}", command(), descriptors(pid)));
    kill(pid, Signal::SIGTERM);
    assert_eq!(wait_child(&mut child).code(), Some(128 + 15));
}

fn descriptors(pid: u32) -> Vec<(u32, String)> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().filter_map(Result::ok);
    let mut open: Vec<(u32, String)> = open
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?.display().to_string();
            Some((entry.file_name().to_str()?.parse().ok()?, target.split(':').next()?.to_owned()))
        })
        .collect();
    open.sort();
    open
}

#[test]
fn nothing_but_what_was_asked_for_is_inherited() {
    let board = Board::uno();
    let wait = |words: &[&str], wanted| wait_descriptors(exec(&board.daemon.dir, words), &[], wanted);
    // stderr is this test's pipe.
    wait(&["uno", "--serial"], &[(0, "pipe"), (1, "pipe"), (2, "pipe")]);
    wait(
        &["uno", "--in", "serial", "--fd", "3=serial:packet", "--fd", "7=serial.tx"],
        &[(0, "pipe"), (1, "/dev/null"), (2, "pipe"), (3, "socket"), (7, "pipe")],
    );
}

#[test]
fn what_a_shell_left_open_stays_outside_unless_the_command_names_it() {
    let board = Board::uno();
    let wait_from_shell = |words: &[&str], wanted| {
        let mut shell = Command::new("sh");
        let program = env!("CARGO_BIN_EXE_usbpipe");
        shell.args(["-c", "exec 8</dev/zero 9</dev/zero; exec \"$@\"", "sh", program]);
        shell.arg("--dir").arg(&board.daemon.dir).args(["exec", "uno", "--serial"]);
        wait_descriptors(shell, words, wanted);
    };
    wait_from_shell(&[], &[(0, "pipe"), (1, "pipe"), (2, "pipe")]);
    wait_from_shell(&["--keep=/dev/fd/9"], &[(0, "pipe"), (1, "pipe"), (2, "pipe"), (9, "/dev/zero")]);
}

#[test]
fn endpoints_are_stdin_and_stdout() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", ""));
    for endpoint in ["ep_81", "0x81", "81"] {
        let head = output(exec(&daemon.dir, &["zero", "--in", endpoint, "--", "head", "-c", "300000"]));
        assert_same(&pattern(300_000), &head.stdout, 0);
    }
    let words = ["zero", "--in", "82", "--out", "2", "--", "sh", "-c", "printf hello; head -c 5 >&2"];
    assert_eq!(said(exec(&daemon.dir, &words)), "hello");
    let mut cat = exec(&daemon.dir, &["zero", "--out", "ep_01", "--", "cat"]);
    let mut cat = cat.stdin(Stdio::piped()).spawn().unwrap();
    let mut input = cat.stdin.take().unwrap();
    within(PATIENCE, move || input.write_all(&pattern(1_000_000)).unwrap());
    assert_eq!(wait_child(&mut cat).code(), Some(0));
    daemon.wait_count("zero", "ep_01", "bytes", 1_000_000);
    assert_eq!(daemon.count("zero", "ep_01", "stalls"), 0);
}

/// Whichever numbers the program itself has in use while it starts the command.
#[test]
fn any_number_can_be_a_descriptor_and_a_command_that_is_not_there_is_told_all_the_same() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", ""));
    for number in (3..=24).step_by(3) {
        let fds: Vec<String> = (number..number + 3).map(|n| format!("--fd={n}=ep_81:socket")).collect();
        let mut words = vec!["zero", &fds[0], &fds[1], &fds[2], "--"];
        let missing = output(exec(&daemon.dir, &[&words[..], &["/nowhere/command"]].concat()));
        assert_eq!(missing.status.code(), Some(127), "{number}: {}", String::from_utf8_lossy(&missing.stderr));
        let script =
            format!("for n in {0} {1} {2}; do test -S /dev/fd/$n || exit 9; done", number, number + 1, number + 2);
        words.extend(["sh", "-c", &script]);
        assert_eq!(output(exec(&daemon.dir, &words)).status.code(), Some(0), "{number}");
    }
    let high = output(exec(&daemon.dir, &["zero", "--fd", "1023=ep_81", "--", "head", "-c", "3", "/dev/fd/1023"]));
    assert_eq!(high.stdout, [0, 1, 2], "{}", String::from_utf8_lossy(&high.stderr));
}

#[test]
fn words_in_braces_are_paths() {
    let board = Board::uno();
    let talk = format!("exec <\"$1\" >\"$1\"; {ASK}ask 'PING port' PONG; echo \"$answer\" >&2");
    assert_eq!(said(exec(&board.daemon.dir, &["uno", "--", "sh", "-c", &talk, "sh", "{port}"])), "PONG port\n");
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", ""));
    let head = output(exec(&daemon.dir, &["zero", "--", "head", "-q", "-c", "100", "{ep_81}", "{ep_81}"]));
    assert_eq!(head.stdout.len(), 200);
    let told = output(exec(&daemon.dir, &["zero", "--", "cat", "{port}"]));
    assert!(String::from_utf8_lossy(&told.stderr).contains("zero has no serial line"));
}

#[test]
fn the_exit_status_is_the_commands() {
    let board = Board::uno();
    let code = |words: &[&str]| {
        let output = output(exec(&board.daemon.dir, &[&["uno", "--serial", "--"], words].concat()));
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(code(&["true"]), (0, String::new()));
    assert_eq!(code(&["sh", "-c", "exit 77"]), (77, String::new()));
    assert_eq!(code(&["sh", "-c", "kill -KILL $$"]).0, 128 + 9);
    let (missing, why) = code(&["/nowhere/command"]);
    assert!(missing == 127 && why.contains("/nowhere/command cannot be started"), "{why}");
    assert_eq!(code(&["/etc"]).0, 126);
    assert_eq!(board.ask("PING 1"), "PONG 1");
}

#[test]
fn signals_reach_the_command() {
    let board = Board::uno();
    for (name, signal) in [
        ("TERM", Signal::SIGTERM),
        ("INT", Signal::SIGINT),
        ("HUP", Signal::SIGHUP),
        ("QUIT", Signal::SIGQUIT),
        ("USR1", Signal::SIGUSR1),
        ("USR2", Signal::SIGUSR2),
    ] {
        let script = format!("trap 'exit 5' {name}; echo ready >&2; for i in $(seq 3000); do sleep 0.01; done");
        let mut running = Running::start(exec(&board.daemon.dir, &["uno", "--serial", "--", "sh", "-c", &script]));
        kill(running.child.id(), signal);
        assert_eq!(running.code(), Some(5), "{name}");
    }
    let mut running = Running::start(exec(
        &board.daemon.dir,
        &["uno", "--serial", "--", "sh", "-c", "echo ready >&2; exec sleep 100"],
    ));
    kill(running.child.id(), Signal::SIGTERM);
    assert_eq!(running.code(), Some(128 + 15));
}

#[test]
fn what_it_was_started_to_ignore_the_command_ignores_too() {
    let board = Board::uno();
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_usbpipe"), "--dir"]).arg(&board.daemon.dir);
    shell.args(["exec", "uno", "--serial", "--", "sh", "-c", "echo ready >&2; read -r answer; exit 3"]);
    let mut running = Running::start(shell);
    kill(running.child.id(), Signal::SIGHUP);
    board.say("PING 1");
    assert_eq!(running.code(), Some(3));
}

#[test]
fn on_a_terminal_it_stops_goes_on_and_is_interrupted_like_the_command_alone() {
    let board = Board::uno();
    let Some(terminal) = Terminal::of_size(120, 40) else { return };
    let dir = board.daemon.dir.display().to_string();
    let script = "'trap \"echo interrupted; exit 9\" INT; echo begun; while :; do sleep 0.1; done'";
    terminal.run(&["--dir", &dir, "exec", "uno", "--in", "serial", "--", "sh", "-c", script]);
    terminal.wait("begin", |screen| screen.iter().any(|line| line == "begun"));
    terminal.press(&["C-z"]);
    terminal.wait_text("Stopped");
    terminal.press(&["-l", "fg; echo status=$?"]);
    terminal.press(&["Enter"]);
    terminal.wait_foreground();
    terminal.press(&["C-c"]);
    let screen = terminal.wait("the end", |screen| screen.iter().any(|line| line == "status=9"));
    assert_eq!(screen.iter().filter(|line| line.ends_with("interrupted")).count(), 1, "{screen:#?}");
}

#[test]
fn a_command_that_opens_the_line_first_resets_the_board_as_configured() {
    let bus = Bus::with(&[Uno]);
    let daemon = Daemon::run(&bus.device("uno", "[device.serial]\nreset = \"on-open\"\n"));
    for resets in 1..=2 {
        let script = format!("read -r first; {ASK}ask STATUS STATUS; echo \"$first $answer\" >&2");
        let said = said(exec(&daemon.dir, &["uno", "--serial", "--", "sh", "-c", &script]));
        assert!(said.starts_with("READY STATUS") && said.ends_with(&format!(" resets={resets}\n")), "{said}");
        for line in ["serial.rx", "serial.tx"] {
            daemon.wait_pipe("uno", line, |pipe| pipe["open"] == false);
        }
    }
}

#[test]
fn status_names_the_command_and_it_leaves_with_it() {
    let board = Board::uno();
    let before = board.daemon.pipe("uno", "serial.tx")["clients"].as_array().unwrap().len();
    let mut running = Running::start(exec(
        &board.daemon.dir,
        &["uno", "--serial", "--", "sh", "-c", "echo ready >&2; exec sleep 100"],
    ));
    let pipe = board.daemon.wait_pipe("uno", "serial.rx", |pipe| pipe["clients"].as_array().unwrap().len() == 2);
    assert_eq!((&pipe["clients"][1]["kind"], &pipe["clients"][1]["command"]), (&"descriptor".into(), &"sh".into()));
    assert_eq!(pipe["clients"][1]["pid"], running.child.id());
    kill(running.child.id(), Signal::SIGTERM);
    running.code();
    for line in ["serial.rx", "serial.tx"] {
        let clients = if line == "serial.rx" { 1 } else { before };
        board.daemon.wait_pipe("uno", line, |pipe| pipe["clients"].as_array().unwrap().len() == clients);
    }
}

#[test]
fn a_command_waits_while_the_device_is_away_and_goes_on() {
    let bus = Bus::with(&[Echo]);
    let daemon = Daemon::run(&bus.device("echo", "[device.serial]\n"));
    let mut events = Events::of(&daemon);
    let gate = Gate::new();
    let ask = |text: &str| format!("echo {text}; read -r a; echo \"$a\" >&2");
    let script = format!("{}; {}; {}", ask("one"), gate.wait(), ask("two"));
    let mut running = Running::start(exec(&daemon.dir, &["echo", "--serial", "--", "sh", "-c", &script]));
    bus.command("unplug echo 200");
    events.wait("detach", "echo");
    gate.open();
    events.wait("attach", "echo");
    assert_eq!(running.line(), "two\n");
    assert_eq!(running.code(), Some(0));
}

#[test]
fn with_eof_a_command_sees_the_unplug_as_the_end() {
    let bus = Bus::with(&[Echo]);
    let daemon = Daemon::run(&bus.device("echo", "unplug = \"eof\"\n[device.serial]\n"));
    let script = "echo one; read -r a; echo \"$a\" >&2; cat >&2; exit 6";
    let mut running = Running::start(exec(&daemon.dir, &["echo", "--serial", "--", "sh", "-c", script]));
    bus.command("unplug echo 200");
    assert_eq!(running.code(), Some(6));
}

#[test]
fn a_monitor_in_a_command_stays_through_touch_bootloader_and_return() {
    let board = Board::with(Leonardo, "leonardo", "");
    let script = format!("{ASK}ask 'PING 1' PONG; echo ready >&2; cat >&2");
    let mut running = Running::start(exec(&board.daemon.dir, &["leonardo", "--serial", "--", "sh", "-c", &script]));
    assert_eq!(board.serial(&["touch"]), "ok");
    board.daemon.wait_status("leonardo", |s| s["state"] == "attached" && s["id"] == "2341:8036" && s["sessions"] == 3);
    board.say("PING back");
    while running.line() != "PONG back\n" {}
    kill(running.child.id(), Signal::SIGTERM);
    assert_eq!(running.code(), Some(128 + 15));
}

#[test]
fn a_command_outlives_its_daemon_and_is_told() {
    let bus = Bus::with(&[Echo]);
    let mut daemon = Daemon::run(&bus.device("echo", "[device.serial]\n"));
    let gate = Gate::new();
    let script = format!("echo one; read -r a; echo ready >&2; cat >&2; echo end of file >&2; {}; exit 8", gate.wait());
    let mut running = Running::start(exec(&daemon.dir, &["echo", "--serial", "--", "sh", "-c", &script]));
    daemon.signal(Signal::SIGKILL);
    daemon.wait_end();
    let mut said = [running.line(), running.line()];
    said.sort();
    assert_eq!(said, ["end of file\n", "usbpipe: the daemon has ended, and with it the pipes of the command\n"]);
    gate.open();
    assert_eq!(running.code(), Some(8));
}

#[test]
fn what_cannot_be_is_refused_in_words() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", ""));
    let refusal = |code: i32, words: &[&str]| {
        let output = output(exec(&daemon.dir, words));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        said
    };
    assert!(refusal(2, &["zero", "--in", "ep_02", "--", "cat"]).contains("it can be --out"));
    assert!(refusal(2, &["zero", "--in", "bulk", "--", "cat"]).contains("write ep_81, 0x81 or 81"));
    assert!(refusal(2, &["zero", "--serial", "--in", "81", "--", "cat"]).contains("cannot be used with"));
    assert!(refusal(2, &["zero", "--fd", "3=serial:pipe", "--", "cat"]).contains("serial:socket"));
    assert!(refusal(2, &["zero", "--fd", "3=81", "--fd", "3=82", "--", "cat"]).contains("--fd 3 is given twice"));
    assert!(refusal(2, &["zero", "--", "cat"]).contains("no pipe is given"));
    assert!(refusal(2, &["zero", "--in", "81"]).contains("CMD"));
    assert!(refusal(1, &["zero", "--in", "85", "--", "cat"]).contains("it has ep_81, ep_01, ep_82, ep_02"));
    assert!(refusal(1, &["zero", "--serial", "--", "cat"]).contains("has no outlet \"serial.rx\""));
    assert!(refusal(1, &["nobody", "--serial", "--", "cat"]).contains("it has zero"));
    let absent = Daemon::run_unattached("[[device]]\nname = \"absent\"\nmatch = { vid = 1 }\n");
    let unknown = output(exec(&absent.dir, &["absent", "--in", "81", "--", "cat"]));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("plug it in"));
    let nowhere = output(exec(Path::new("/nowhere"), &["uno", "--serial", "--", "cat"]));
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("no daemon runs in /nowhere"));
}

/// `usbpipe exec SELECTOR WORDS…` where no daemon runs.
fn alone(bus: &Bus, device: &str, temp: &Path, words: &[&str]) -> Command {
    let selector = format!("usbip://127.0.0.1:{}/{}", bus.port, bus.busid(device));
    let mut command = exec(&temp.join("run"), &[&[&selector[..]], words].concat());
    command.env("TMPDIR", temp);
    command
}

#[test]
fn without_a_daemon_a_selector_will_do() {
    let bus = Bus::with(&[Uno, Zero]);
    let temp = tempfile::tempdir().unwrap();
    let script = format!("{ASK}ask 'PING alone' PONG; echo \"$answer\" >&2; exit 4");
    let talk = output(alone(&bus, "uno", temp.path(), &["--serial", "--", "sh", "-c", &script]));
    assert_eq!((talk.status.code(), &talk.stderr[..]), (Some(4), &b"PONG alone\n"[..]));
    let head = output(alone(&bus, "zero", temp.path(), &["--in", "ep_81", "--", "head", "-c", "100000"]));
    assert_same(&pattern(100_000), &head.stdout, 0);
    let port = format!("exec <\"$1\" >\"$1\"; {script}");
    let talk = output(alone(&bus, "uno", temp.path(), &["--", "sh", "-c", &port, "sh", "{port}"]));
    assert_eq!(String::from_utf8_lossy(&talk.stderr), "PONG alone\n");
    let wrong = output(alone(&bus, "zero", temp.path(), &["--in", "ep_83", "--", "cat"]));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("it has ep_81, ep_01, ep_82, ep_02"));
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0, "nothing is left behind");
    let gone = output(exec(temp.path(), &["usbip://127.0.0.1:1/1-1", "--serial", "--", "cat"]));
    assert_eq!(gone.status.code(), Some(1), "{}", String::from_utf8_lossy(&gone.stderr));
}

#[test]
fn without_a_daemon_a_serial_port_of_this_machine_is_taken_too() {
    let (cable, temp) = (Cable::new(), tempfile::tempdir().unwrap());
    let mut end = cable.far_end();
    std::thread::spawn(move || {
        let mut bytes = [0; 100];
        loop {
            match end.read(&mut bytes) {
                Ok(n) => end.write_all(&bytes[..n]).unwrap(),
                // Nobody has the port open just now; there is no event for when somebody has.
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    });
    let port = cable.port.display().to_string();
    let script = "echo over the cable; read -r line; echo \"$line\" >&2";
    let mut command = exec(&temp.path().join("run"), &[&port, "--serial", "--", "sh", "-c", script]);
    command.env("TMPDIR", temp.path());
    assert_eq!(said(command), "over the cable\n");
}

#[test]
fn without_a_daemon_what_was_written_reaches_a_slow_device_before_the_end() {
    let bus = Bus::with(&[Uno]);
    let temp = tempfile::tempdir().unwrap();
    // More than is in flight at once, in a line that makes no sense to the board, and behind it one that does.
    let write = ["--out", "serial", "--", "sh", "-c", "head -c 120000 /dev/zero | tr '\\0' x; echo; echo LED ON"];
    bus.command("delay uno ep_01 1100");
    assert_eq!(output(alone(&bus, "uno", temp.path(), &write)).status.code(), Some(0));
    bus.command("delay uno ep_01 0");
    let script = format!("{ASK}ask STATUS STATUS; echo \"$answer\" >&2");
    let status = said(alone(&bus, "uno", temp.path(), &["--serial", "--", "sh", "-c", &script]));
    assert!(status.starts_with("STATUS led=on"), "{status}");
}

#[test]
fn without_a_daemon_a_signal_ends_the_command_and_then_everything() {
    let bus = Bus::with(&[Uno]);
    let temp = tempfile::tempdir().unwrap();
    let script = "trap 'exit 5' INT; echo ready >&2; for i in $(seq 3000); do sleep 0.01; done";
    let mut running = Running::start(alone(&bus, "uno", temp.path(), &["--serial", "--", "sh", "-c", script]));
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    kill(running.child.id(), Signal::SIGINT);
    assert_eq!(running.code(), Some(5));
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
}

#[test]
fn a_selector_finds_the_daemon_that_has_the_device() {
    let board = Board::uno();
    let script = format!("{ASK}ask 'PING by id' PONG; echo $USBPIPE_DEVICE in $USBPIPE_DIR >&2");
    let said = said(exec(&board.daemon.dir, &["2341:0043:MOCK-UNO-1", "--serial", "--", "sh", "-c", &script]));
    assert_eq!(said, format!("uno in {}\n", board.daemon.dir.display()));
    assert_eq!(board.daemon.status("uno")["sessions"], 1);
}

#[test]
fn a_device_that_the_daemon_has_not_is_taken_beside_it() {
    let bus = Bus::with(&[Uno, Knob]);
    let daemon = Daemon::run(&bus.device("uno", "[device.serial]\n"));
    let selector = format!("usbip://127.0.0.1:{}/{}", bus.port, bus.busid("knob"));
    let head = output(exec(&daemon.dir, &[&selector, "--in", "81", "--", "head", "-c", "80"]));
    assert_eq!(head.stdout.len(), 80, "{}", String::from_utf8_lossy(&head.stderr));
}

#[test]
fn many_commands_share_a_device_and_the_daemon_forgets_them() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", ""));
    let before = daemon.descriptors();
    let sent = random(40_000, 4);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sent");
    fs::write(&file, &sent).unwrap();
    let words = |n: usize| -> Vec<String> {
        let head = format!("head -c {} {} && head -c 1 >/dev/null", n * 1000, file.display());
        ["zero", "--in", "81", "--out", "2", "--", "sh", "-c", &head].map(str::to_owned).to_vec()
    };
    let mut all: Vec<Child> = (1..=8)
        .map(|n| exec(&daemon.dir, &words(n).iter().map(String::as_str).collect::<Vec<_>>()).spawn().unwrap())
        .collect();
    assert!(all.iter_mut().all(|child| wait_child(child).success()));
    let is_rid = || (daemon.descriptors() <= before).then_some(());
    wait_for(is_rid, || format!("{} descriptors, before {before}", daemon.descriptors()));
}
