//! Programs that draw on a console. Wine's console shows what is to move its cursor as if it were text, so that the words
//! and their order are compared here, and whole screens on Unix.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use firmware_mock::DeviceKind::{Knob, Uno, Zero};

use crate::common::{Bus, Daemon, PATIENCE, start_child, wait_child};

/// The program on a console of 80 by 24.
struct Screen {
    child: Child,
    keys: ChildStdin,
    shown: Receiver<Vec<u8>>,
    bytes: Vec<u8>,
}

impl Screen {
    fn of(daemon: &Daemon, words: &[&str]) -> Self {
        let console = PathBuf::from(std::env::var("USBPIPE_TEST_CLIENT").unwrap()).with_file_name("console.exe");
        let mut command = Command::new(console);
        command.arg(env!("CARGO_BIN_EXE_usbpipe")).arg("--dir").arg(&daemon.dir).args(words);
        let mut child = start_child(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let (keys, mut out) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, shown) = channel();
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(n @ 1..) = out.read(&mut chunk) {
                let _ = sender.send(chunk[..n].to_vec());
            }
        });
        Self { child, keys, shown, bytes: Vec::new() }
    }

    fn press(&mut self, keys: &[u8]) {
        self.keys.write_all(keys).unwrap();
    }

    /// Waits until these words have been shown, one after the other, since the last time.
    fn wait_for(&mut self, words: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        while !are_in_order(&text(&self.bytes), words) {
            let left = deadline.saturating_duration_since(Instant::now());
            let more = self.shown.recv_timeout(left);
            self.bytes.extend(more.unwrap_or_else(|e| panic!("{e}: {words:?} are not in {}", text(&self.bytes))));
        }
        self.bytes.clear();
    }

    fn code(&mut self) -> Option<i32> {
        wait_child(&mut self.child).code()
    }
}

fn are_in_order(text: &str, words: &[&str]) -> bool {
    let mut rest = text;
    words.iter().all(|word| match rest.find(word) {
        Some(at) => {
            rest = &rest[at + word.len()..];
            true
        }
        None => false,
    })
}

/// What was shown without what moves and colours: escape sequences become blanks, ends of lines nothing.
fn text(shown: &[u8]) -> String {
    let shown = String::from_utf8_lossy(shown).replace("\r\n", "");
    let mut parts = shown.split('\x1b');
    let first = parts.next().unwrap_or_default().to_owned();
    let rest = parts.map(|part| part.trim_start_matches(|c: char| "[?;".contains(c) || c.is_ascii_digit()).get(1..));
    rest.fold(first, |text, part| text + " " + part.unwrap_or_default())
}

#[test]
fn top_draws_on_a_console_takes_keys_and_ends_by_q() {
    let bus = Bus::with(&[Knob, Zero]);
    let daemon = Daemon::run(&[bus.device("knob", ""), bus.device("zero", "")].concat());
    let mut screen = Screen::of(&daemon, &["top"]);
    screen.wait_for(&["usbpipe", "devices,", "DEVICE", "PIPE", "knob", "ep_81", "intr", "zero", "ep_82", "bulk"]);
    let _reader = daemon.reader("knob/ep_81");
    screen.wait_for(&["transfers", "1 opens"]);
    screen.press(b"q");
    assert_eq!(screen.code(), Some(0));
}

#[test]
fn plot_draws_what_a_board_says_and_ends_by_ctrl_c() {
    let bus = Bus::with(&[Uno]);
    let daemon = Daemon::run(&bus.device("uno", "[device.serial]\n"));
    let mut screen = Screen::of(&daemon, &["plot", "uno"]);
    screen.wait_for(&["uno"]);
    screen.press(&[3]);
    assert_eq!(screen.code(), Some(0));
}

#[test]
fn without_a_console_they_say_what_to_do_instead() {
    let bus = Bus::with(&[Uno]);
    let daemon = Daemon::run(&bus.device("uno", "[device.serial]\n"));
    for (words, instead) in [(&["top"][..], "`usbpipe status`"), (&["plot", "uno"], "usbpipe")] {
        let output = daemon.ask(words);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("terminal") && said.contains(instead), "{said}");
    }
}
