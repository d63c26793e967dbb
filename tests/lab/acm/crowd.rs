//! A board that speaks when its port is opened, on a machine where everything takes long: a port that is not raw at once
//! sends what the board says back to it.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};

use super::{Guest, KERNEL, Uno, configured, read_line};
use crate::common::{Daemon, rounds, wait_child};

/// Processes that only wait: they make a look through /proc slow.
const IDLE: usize = 250;

#[test]
fn a_board_that_speaks_when_its_port_is_opened_hears_only_what_is_written() {
    let Some(guest) = Guest::here() else { return };
    let _crowd = Crowd::gathered();
    for round in 0..rounds(3) {
        let (_bus, _attached) = Uno::attach(&guest);
        let daemon = Daemon::run(&configured(Uno::IDS, KERNEL));
        let (answers, lines) = (daemon.reader("board/serial.rx"), daemon.writer("board/serial.tx"));
        let board = Uno { daemon, answers, lines };
        board.say(&format!("PING {round}"));
        let mut heard = read_line(&board.answers);
        if heard == "READY" {
            heard = read_line(&board.answers);
        }
        assert_eq!(heard, format!("PONG {round}"), "the first answer, round {round}");
        assert_eq!(board.status(), "9600 dtr=1 resets=1", "the second answer, round {round}");
    }
}

/// Processes that wait, and two that do not.
struct Crowd {
    shell: Child,
    stdin: Option<ChildStdin>,
}

impl Crowd {
    /// The processes that wait read from the shell's stdin, so that all of them end however this one does.
    fn gathered() -> Self {
        let script = format!(
            "exec 9<&0; for ((i = 0; i < {IDLE}; i++)); do read -r _ <&9 & done; \
             for i in 1 2; do while :; do :; done & busy+=($!); done; echo; read -r _ <&9; kill \"${{busy[@]}}\""
        );
        let mut command = Command::new("bash");
        let mut shell = command.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(shell.stdout.take().unwrap());
        assert_eq!(said.read_line(&mut String::new()).unwrap(), 1, "the crowd did not gather");
        let stdin = shell.stdin.take();
        Self { shell, stdin }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        drop(self.stdin.take());
        wait_child(&mut self.shell);
    }
}
