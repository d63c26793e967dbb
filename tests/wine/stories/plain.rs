//! Programs as users have them: one in C that knows only CreateFile, ReadFile, WriteFile and WaitNamedPipe, and Python.

use std::env;
use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};

use firmware_mock::DeviceKind::{Echo, Knob, Regs, Uno, Zero};

use crate::common::bytes::{assert_same, pattern, random};
use crate::common::{Bus, Daemon, output, start_child, wait_for};

/// The C program of `client.c`.
pub(crate) fn client() -> Command {
    Command::new(env::var("USBPIPE_TEST_CLIENT").unwrap())
}

/// The same at an outlet.
fn client_at(verb: &str, daemon: &Daemon, outlet: &str, rest: &[&str]) -> Command {
    let mut command = client();
    command.arg(verb).arg(daemon.path(outlet)).args(rest);
    command
}

/// Closes the console of a program, as far as that is told of it.
pub(crate) fn close_console(pid: u32) {
    let output = output(client().arg("close").arg(pid.to_string()));
    assert!(output.status.success(), "{output:?}");
}

fn stdout(output: Output) -> Vec<u8> {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn text(output: Output) -> String {
    String::from_utf8(stdout(output)).unwrap().replace("\r\n", "\n")
}

#[test]
fn a_c_program_reads_the_source_and_writes_through_the_loopback() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", ""));
    let read = stdout(output(&mut client_at("read", &daemon, "zero/ep_81", &["4194304"])));
    assert_same(&pattern(4 << 20), &read, 0);

    let sent = random(1 << 20, 7);
    let mut back = start_child(client_at("read", &daemon, "zero/ep_82", &["1048576"]).stdout(Stdio::piped()));
    let mut out = start_child(client_at("write", &daemon, "zero/ep_02", &[]).stdin(Stdio::piped()));
    out.stdin.take().unwrap().write_all(&sent).unwrap();
    let mut came = Vec::new();
    back.stdout.take().unwrap().read_to_end(&mut came).unwrap();
    assert_same(&sent, &came, 0);
    assert!(out.wait().unwrap().success() && back.wait().unwrap().success());
}

#[test]
fn a_c_program_gets_reports_as_messages_of_eight_bytes() {
    let bus = Bus::with(&[Knob]);
    let daemon = Daemon::run(&bus.device("knob", "[[device.pipe]]\nendpoint = 0x81\nframing = \"packet\"\n"));
    let lengths = text(output(&mut client_at("messages", &daemon, "knob/ep_81", &["50"])));
    assert_eq!(lengths, "8\n".repeat(50));
}

#[test]
fn a_c_program_asks_the_board_and_the_control_pipe() {
    let bus = Bus::with(&[Uno, Regs]);
    let daemon = Daemon::run(&[bus.device("uno", "[device.serial]\n"), bus.device("regs", "")].concat());
    let ask = |outlet: &str, line: &str| text(output(&mut client_at("ask", &daemon, outlet, &[line])));
    wait_for(|| (ask("uno/serial", "PING 1") == "PONG 1\n").then_some(()), || "the board never answers".into());
    assert!(ask("uno/serial", "STATUS").starts_with("STATUS led=off baud="));
    assert_eq!(ask("regs/ep_00", "out 0x40 1 0 0 cafe"), "ok\n");
    assert_eq!(ask("regs/ep_00", "in 0xc0 2 0 0 2"), "ok cafe\n");
}

#[test]
fn python_reads_the_source_and_talks_to_the_board() {
    let Some(python) = env::var_os("USBPIPE_TEST_PYTHON").filter(|path| !path.is_empty()) else {
        println!("skipped: python_reads_the_source_and_talks_to_the_board: no Python for Windows could be had");
        return;
    };
    let bus = Bus::with(&[Zero, Echo]);
    let daemon = Daemon::run(&[bus.device("zero", ""), bus.device("echo", "[device.serial]\n")].concat());
    let program = "import sys\n\
        source = open(sys.argv[1], 'rb')\n\
        data = source.read(1 << 20)\n\
        packet = bytes(n % 63 for n in range(512))\n\
        assert data == packet * 2048, len(data)\n\
        with open(sys.argv[2], 'r+b', buffering=0) as line:\n\
        \x20   for n in range(20):\n\
        \x20       line.write(b'line %d\\n' % n)\n\
        \x20       said = b''\n\
        \x20       while not said.endswith(b'\\n'):\n\
        \x20           said += line.read(100)\n\
        \x20       assert said == b'line %d\\n' % n, said\n\
        print('done')\n";
    let mut command = Command::new(python);
    command.args(["-c", program]).arg(daemon.path("zero/ep_81")).arg(daemon.path("echo/serial"));
    assert_eq!(text(output(&mut command)), "done\n");
}
