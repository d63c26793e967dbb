//! A person's terminal: a shell in tmux, whose screen a test can look at.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "each test binary uses its own part of it, and tests may print"
)]

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::common::{usbpipe, wait_for};

/// A terminal with a shell in it.
pub struct Terminal {
    name: String,
    /// Where the server's socket is.
    dir: TempDir,
    size: (usize, usize),
}

impl Terminal {
    /// One of this size in characters; `None`, and said so, where tmux is missing.
    pub fn of_size(width: usize, height: usize) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if Command::new("tmux").arg("-V").output().is_err() {
            println!("skipped: tmux is not installed, so nothing was looked at on a terminal");
            return None;
        }
        let name = format!("usbpipe-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let terminal = Self { name, dir: TempDir::new().unwrap(), size: (width, height) };
        let (x, y) = (width.to_string(), height.to_string());
        let shell = "PS1='$ ' exec sh -i";
        let output =
            terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-s", &terminal.name, "-x", &x, "-y", &y, shell]);
        assert!(output.status.success(), "{output:?}");
        terminal.wait("the prompt", |screen| screen[0].starts_with('$'));
        Some(terminal)
    }

    /// Types a command of the program, and Enter.
    pub fn run(&self, args: &[&str]) {
        let program = usbpipe().get_program().to_str().unwrap().to_owned();
        let line = [&[program.as_str()], args].concat().join(" ");
        self.press(&["-l", &line]);
        self.press(&["Enter"]);
    }

    /// Presses keys, by the names that tmux has for them.
    pub fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys", "-t", &self.name], keys].concat());
    }

    /// The lines of the screen, without blanks at their ends.
    pub fn screen(&self) -> Vec<String> {
        let text = String::from_utf8(self.tmux(&["capture-pane", "-p", "-t", &self.name]).stdout).unwrap();
        let lines: Vec<String> = text.lines().map(|line| line.trim_end().to_owned()).collect();
        assert!(lines.len() <= self.size.1 && lines.iter().all(|line| line.chars().count() <= self.size.0));
        lines
    }

    /// Waits until the screen is as wanted, and nothing is being drawn.
    pub fn wait(&self, what: &str, fits: impl Fn(&[String]) -> bool) -> Vec<String> {
        let mut last = Vec::new();
        let look = || {
            let before = std::mem::replace(&mut last, self.screen());
            (before == last && fits(&last)).then(|| last.clone())
        };
        wait_for(look, || format!("no {what} on\n{}", self.screen().join("\n")))
    }

    /// Waits until a line of the screen has this text.
    pub fn wait_text(&self, text: &str) -> Vec<String> {
        self.wait(text, |screen| screen.iter().any(|line| line.contains(text)))
    }

    /// The shell's process number.
    fn shell(&self) -> String {
        let pid = String::from_utf8(self.tmux(&["display", "-p", "-t", &self.name, "#{pane_pid}"]).stdout).unwrap();
        pid.trim().to_owned()
    }

    /// Waits until what the shell has started has the terminal, and so the keys that are pressed: proc_pid_stat(5).
    pub fn wait_foreground(&self) {
        let shell = self.shell();
        let stat = || std::fs::read_to_string(format!("/proc/{shell}/stat")).unwrap();
        let is_with_another = || {
            let stat = stat();
            let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
            // Its process group, and that which the terminal belongs to.
            (fields[2] != fields[5]).then_some(())
        };
        wait_for(is_with_another, stat);
    }

    /// The process that runs in the shell.
    pub fn child(&self) -> u32 {
        let pid = self.shell();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        children.trim().parse().unwrap_or_else(|_| panic!("one child, not {children:?}"))
    }

    /// Makes the window larger or smaller.
    pub fn resize(&mut self, width: usize, height: usize) {
        self.size = (width.max(self.size.0), height.max(self.size.1));
        self.tmux(&["resize-window", "-t", &self.name, "-x", &width.to_string(), "-y", &height.to_string()]);
        self.size = (width, height);
    }

    /// Fails unless the program has ended with this status and the terminal is as it was before.
    pub fn assert_given_back(&self, status: u8) {
        let screen =
            self.wait("prompt", |screen| screen.iter().rfind(|line| !line.is_empty()).is_some_and(|l| l == "$"));
        let is_there = screen.iter().any(|line| line.starts_with("$ /"));
        assert!(is_there, "what was on the screen before is there again: {screen:#?}");
        self.press(&["-l", "status=$?; clear; echo status=$status; stty -a"]);
        self.press(&["Enter"]);
        let screen = self.wait_text("iexten").join(" ");
        assert!(screen.starts_with(&format!("status={status} ")), "{screen}");
        for setting in [" icanon", " echo ", " isig", " icrnl", " opost"] {
            assert!(screen.contains(setting), "{setting} is not in {screen}");
        }
        let flags =
            ["display", "-p", "-t", &self.name, "#{cursor_flag}#{alternate_on}#{mouse_any_flag}#{keypad_cursor_flag}"];
        assert_eq!(self.tmux(&flags).stdout, b"1000\n", "cursor, alternate screen, mouse, cursor keys");
    }

    fn tmux(&self, args: &[&str]) -> Output {
        // -u: the screen holds UTF-8, whatever the locale.
        Command::new("tmux")
            .args(["-u", "-S"])
            .arg(self.dir.path().join("socket"))
            .args(args)
            .env_remove("TMUX")
            .output()
            .unwrap()
    }
}

/// Fails unless a screen is that of `tests/screens`. `LOOK_ANEW=1` writes it there, for somebody to look at.
pub fn assert_looks(name: &str, screen: &str) {
    let path = format!("{}/tests/screens/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let screen = format!("{screen}\n");
    if std::env::var_os("LOOK_ANEW").is_some() {
        std::fs::write(&path, &screen).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert!(screen == expected, "LOOK_ANEW=1 takes this as what is wanted:\n{screen}instead of\n{expected}");
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}
