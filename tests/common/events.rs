//! The events of a daemon, as `usbpipe events` prints them.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::spawn;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Daemon, PATIENCE, start_child, usbpipe, wait_child};

/// `usbpipe events`, running.
pub struct Events {
    child: Child,
    lines: Receiver<String>,
    seen: VecDeque<Value>,
}

impl Events {
    /// Listens to this daemon from now on.
    pub fn of(daemon: &Daemon) -> Self {
        let mut command = usbpipe();
        command.arg("--dir").arg(&daemon.dir).args(["-v", "events"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = start_child(&mut command);
        let (said, lines) = (lines_of(child.stderr.take().unwrap()), lines_of(child.stdout.take().unwrap()));
        let listens = || said.recv_timeout(PATIENCE).unwrap().contains("listening");
        while !listens() {}
        Self { child, lines, seen: VecDeque::new() }
    }

    /// The next event that fits, waiting for it; events in between are dropped.
    pub fn wait(&mut self, kind: &str, device: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let event = self.next(deadline.saturating_duration_since(Instant::now()));
            let Some(event) = event else { panic!("no {kind:?} of {device:?}; there were {:#?}", self.seen) };
            if event["event"] == kind && event["device"] == device {
                return event;
            }
        }
    }

    /// The next event, if one comes in time.
    pub fn next(&mut self, time: Duration) -> Option<Value> {
        let line = self.lines.recv_timeout(time).ok()?;
        let event: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e} in {line:?}"));
        self.seen.push_back(event.clone());
        if self.seen.len() > 50 {
            self.seen.pop_front();
        }
        Some(event)
    }

    /// Waits until it has ended.
    pub fn wait_end(&mut self) -> ExitStatus {
        wait_child(&mut self.child)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines on a thread of their own, so that waiting for one can end.
fn lines_of(source: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    spawn(move || BufReader::new(source).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    lines
}
