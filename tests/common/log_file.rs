//! A log of a serial line while it is written.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, reason = "each test uses its own part of it")]

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use tempfile::TempDir;

use crate::common::{Daemon, start_child, usbpipe, wait_for, with_console};

/// `usbpipe log echo` into a file, and a way to let the device say something.
pub struct Log {
    pub child: Child,
    pub file: PathBuf,
    pub to: File,
    pub dir: TempDir,
}

impl Log {
    pub fn of(daemon: &Daemon, more: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("echo.log");
        let mut command = usbpipe();
        command.arg("--dir").arg(&daemon.dir).args(["log", "echo", "-o"]).arg(&file).args(more);
        let child = start_child(with_console(&mut command).stderr(Stdio::piped()));
        daemon.wait_pipe("echo", "serial.rx", |pipe| pipe["open"] == true);
        Self { child, file, to: daemon.writer("echo/serial.tx"), dir }
    }

    /// Lets the device say this.
    pub fn say(&mut self, text: impl AsRef<[u8]>) {
        self.to.write_all(text.as_ref()).unwrap();
    }

    pub fn text(&self) -> String {
        std::fs::read_to_string(&self.file).unwrap_or_default()
    }

    /// The lines so far, without their times.
    pub fn lines(&self) -> Vec<String> {
        self.text().lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }

    /// Waits for a line, and gives those that are there then.
    pub fn wait(&self, wanted: &str) -> Vec<String> {
        let found = || Some(self.lines()).filter(|lines| lines.iter().any(|line| line.starts_with(wanted)));
        wait_for(found, || format!("{wanted:?} is not in {:?}", self.text()))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
