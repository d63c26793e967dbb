//! The set-up of the black-box tests: simulated devices, the real program, and the far ends of both.
//!
//! Everything is waited for; nothing sleeps to make a test pass.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "each test binary uses its own part of it, and tests may print"
)]

#[cfg(unix)]
#[path = "bus_unix.rs"]
mod bus;
#[cfg(windows)]
#[path = "bus_windows.rs"]
mod bus;
pub mod bytes;
pub mod events;
#[cfg(unix)]
#[path = "messages_unix.rs"]
mod messages;
#[cfg(windows)]
#[path = "messages_windows.rs"]
mod messages;
#[cfg(unix)]
#[path = "system_unix.rs"]
mod system;
#[cfg(windows)]
#[path = "system_windows.rs"]
mod system;
pub mod witness;
pub mod zero;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread::spawn;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub use bus::Bus;
#[allow(unused_imports, reason = "each test binary uses its own part of it")]
pub use messages::*;
pub use system::*;

/// How long anything may take that takes no time on an idle machine. It limits silence: whatever takes long reports its
/// [`Progress`], and may take as long as it does.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often a test repeats what it repeats: `daily`, or `$USBPIPE_ROUNDS`.
pub fn rounds(daily: usize) -> usize {
    match std::env::var("USBPIPE_ROUNDS") {
        Ok(rounds) if !rounds.is_empty() => rounds.parse().expect("$USBPIPE_ROUNDS is a number"),
        _ => daily,
    }
}

/// Reports to whoever watches over this test that it goes on, by the file `$USBPIPE_TEST_PROGRESS`.
pub fn progressed() {
    if let Some(file) = std::env::var_os("USBPIPE_TEST_PROGRESS") {
        let _ = std::fs::write(file, "progress\n");
    }
}

/// How far some work has come, for [`while_progressing`].
#[derive(Clone, Default)]
pub struct Progress(Arc<AtomicU64>);

impl Progress {
    /// Reports that the work has come further.
    pub fn made(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// Fills `bytes` from a source that may take long, but is never silent for long.
    pub fn read_exact(&self, source: &mut impl Read, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(65536) {
            source.read_exact(part).unwrap();
            self.made();
        }
    }
}

/// Runs `work` on a thread and fails the test if it makes no progress for [`PATIENCE`].
pub fn while_progressing<T: Send + 'static>(work: impl FnOnce(&Progress) -> T + Send + 'static) -> T {
    let (sender, receiver) = channel();
    let progress = Progress::default();
    let reported = progress.clone();
    spawn(move || sender.send(work(&progress)));
    let mut last = 0;
    loop {
        match receiver.recv_timeout(PATIENCE) {
            Ok(done) => {
                progressed();
                return done;
            }
            Err(RecvTimeoutError::Timeout) if reported.0.load(Relaxed) > last => {
                last = reported.0.load(Relaxed);
                progressed();
            }
            Err(e) => panic!("no progress for {PATIENCE:?}, after {last} steps: {e}"),
        }
    }
}

impl Bus {
    /// The bus id of the device with this name.
    pub fn busid(&self, name: &str) -> &str {
        &self.busids.iter().find(|(n, _)| n == name).unwrap().1
    }

    /// `remote = "…"` for the configuration of the device with this name.
    pub fn remote(&self, name: &str) -> String {
        format!("remote = \"usbip://127.0.0.1:{}/{}\"\n", self.port, self.busid(name))
    }

    /// A `[[device]]` for the device with this name, under its own name, followed by `rest`.
    pub fn device(&self, name: &str, rest: &str) -> String {
        format!("[[device]]\nname = \"{name}\"\n{}{rest}\n", self.remote(name))
    }
}

/// The real program as a daemon.
pub struct Daemon {
    pub child: Child,
    pub dir: PathBuf,
    /// In a lock only so that threads of a test can share the daemon.
    stderr: Mutex<Receiver<String>>,
    said: Vec<String>,
    _temp: Option<TempDir>,
}

/// The program under test.
pub fn usbpipe() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_usbpipe"));
    command.env_remove("RUST_LOG").env_remove("USBPIPE_DIR").stdin(Stdio::null());
    #[cfg(unix)]
    with_signals(&mut command);
    command
}

impl Daemon {
    /// `usbpipe run` with this configuration, once its outlets stand and every device is attached.
    pub fn run(config: &str) -> Self {
        let mut daemon = Self::run_unattached(config);
        daemon.wait_attached();
        daemon
    }

    /// The same, not waiting for devices.
    pub fn run_unattached(config: &str) -> Self {
        let temp = TempDir::new().unwrap();
        let mut daemon = Self::run_in(&run_dir(&temp, "run"), config);
        daemon._temp = Some(temp);
        daemon
    }

    /// The same in this run dir, which may be an earlier daemon's.
    pub fn run_in(dir: &Path, config: &str) -> Self {
        let file = config_beside(dir);
        std::fs::write(&file, config).unwrap();
        let mut command = usbpipe();
        command.arg("run").arg("--dir").arg(dir).arg("-c").arg(&file);
        let mut daemon = Self::start(command, dir);
        daemon.wait_said("ready");
        daemon
    }

    /// `usbpipe demo`, once it says that it is ready.
    pub fn demo() -> Self {
        let temp = TempDir::new().unwrap();
        let dir = run_dir(&temp, "demo");
        let mut command = usbpipe();
        command.arg("demo").arg("--dir").arg(&dir).stdout(Stdio::piped());
        let mut daemon = Self::start(command, &dir);
        let mut stdout = BufReader::new(daemon.child.stdout.take().unwrap());
        let mut text = String::new();
        while !text.contains("Ctrl-C") {
            assert!(stdout.read_line(&mut text).unwrap() > 0, "the demo ended: {:?}", daemon.said());
        }
        daemon._temp = Some(temp);
        daemon
    }

    /// Any command that becomes a daemon in `dir`.
    pub fn start(mut command: Command, dir: &Path) -> Self {
        let mut child = start_child(with_console(&mut command).stderr(Stdio::piped()));
        let (sender, stderr) = channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, dir: dir.to_owned(), stderr: Mutex::new(stderr), said: Vec::new(), _temp: None }
    }

    /// A daemon whose stderr is somewhere else.
    pub fn of(child: Child, dir: &Path) -> Self {
        let (_, stderr) = channel();
        Self { child, dir: dir.to_owned(), stderr: Mutex::new(stderr), said: Vec::new(), _temp: None }
    }

    /// A path below the run dir, such as `zero/ep_81`.
    pub fn path(&self, name: &str) -> PathBuf {
        outlet(&self.dir, name)
    }

    /// Opens an outlet for reading, as `cat` does.
    pub fn reader(&self, name: &str) -> File {
        open_reader(&self.path(name)).unwrap()
    }

    /// Opens an outlet for writing, as `cat >` does.
    pub fn writer(&self, name: &str) -> File {
        open_writer(&self.path(name)).unwrap()
    }

    /// Opens an outlet in packet framing for reading: one read is one message.
    pub fn packets(&self, name: &str) -> File {
        open_packets(&self.path(name)).unwrap()
    }

    /// Opens an outlet that goes both ways, such as `uno/serial.ctl`.
    pub fn both(&self, name: &str) -> File {
        open_both(&self.path(name)).unwrap()
    }

    /// A program of its own at an outlet that is `SHARED`, once the daemon has it.
    pub fn guest(&self, name: &str) -> File {
        self.one_more(name, || open_guest(&self.path(name)).unwrap())
    }

    /// The same at an outlet of `MESSAGES`.
    pub fn messages(&self, name: &str) -> Messages {
        self.one_more(name, || Messages::of_guest(&self.path(name)))
    }

    fn one_more<T>(&self, name: &str, open: impl FnOnce() -> T) -> T {
        let (device, outlet) = name.split_once('/').unwrap();
        let count = |pipe: &Value| pipe["clients"].as_array().unwrap().len();
        let before = count(&self.pipe(device, outlet));
        let opened = open();
        self.wait_pipe(device, outlet, |pipe| count(pipe) > before);
        opened
    }

    /// Opens the text control pipe of a device: where requests go, and where answers come from.
    pub fn control(&self, device: &str) -> (File, File) {
        open_control(&self.dir, device).unwrap()
    }

    /// Runs a command of the program against this daemon.
    pub fn ask(&self, args: &[&str]) -> Output {
        output(usbpipe().arg("--dir").arg(&self.dir).args(args))
    }

    /// The answer line of `usbpipe control` or `usbpipe serial`.
    pub fn answer(&self, args: &[&str]) -> String {
        String::from_utf8(self.ask(args).stdout).unwrap().trim_end().to_owned()
    }

    /// The status of one device.
    pub fn status(&self, device: &str) -> Value {
        let output = self.ask(&["status", "--json"]);
        let all: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
        all.as_array().unwrap().iter().find(|d| d["name"] == device).unwrap_or(&Value::Null).clone()
    }

    /// The status of one outlet of a device.
    pub fn pipe(&self, device: &str, outlet: &str) -> Value {
        let status = self.status(device);
        status["pipes"].as_array().unwrap().iter().find(|p| p["outlet"] == outlet).unwrap().clone()
    }

    /// A counter of an outlet.
    pub fn count(&self, device: &str, outlet: &str, counter: &str) -> u64 {
        self.pipe(device, outlet)[counter].as_u64().unwrap()
    }

    /// Asks for a device's status until `fits`.
    pub fn wait_status(&self, device: &str, fits: impl Fn(&Value) -> bool) -> Value {
        wait_for(|| Some(self.status(device)).filter(|status| fits(status)), || self.status(device).to_string())
    }

    /// Asks for the status of an outlet until `fits`.
    pub fn wait_pipe(&self, device: &str, outlet: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let ask = || self.pipe(device, outlet);
        wait_for(|| Some(ask()).filter(|pipe| fits(pipe)), || ask().to_string())
    }

    /// Waits until a counter of an outlet has reached `least`, and gives its value.
    pub fn wait_count(&self, device: &str, outlet: &str, counter: &str, least: u64) -> u64 {
        let pipe = self.wait_pipe(device, outlet, |pipe| pipe[counter].as_u64().unwrap() >= least);
        pipe[counter].as_u64().unwrap()
    }

    /// Waits until every device is attached.
    pub fn wait_attached(&mut self) {
        let all = || -> Option<Value> {
            let output = self.ask(&["status", "--json"]);
            let all: Value = serde_json::from_slice(&output.stdout).ok()?;
            all.as_array()?.iter().all(|d| d["state"] == "attached").then_some(all)
        };
        wait_for(all, || String::from_utf8_lossy(&self.ask(&["status"]).stdout).into_owned());
    }

    /// Waits until the daemon says a line that contains `text` on stderr, and returns it.
    pub fn wait_said(&mut self, text: &str) -> String {
        if let Some(line) = self.said.iter().find(|l| l.contains(text)) {
            return line.clone();
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.stderr.get_mut().unwrap().recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("it never said {text:?}, only {:#?}", self.said),
                Err(RecvTimeoutError::Disconnected) => panic!("it ended; it had said {:#?}", self.said),
            }
        }
    }

    /// All that was said on stderr so far.
    pub fn said(&mut self) -> &[String] {
        self.said.extend(self.stderr.get_mut().unwrap().try_iter());
        &self.said
    }

    /// All that was said on stderr by a daemon that has ended.
    pub fn all_said(&mut self) -> &[String] {
        self.said.extend(self.stderr.get_mut().unwrap().iter());
        &self.said
    }

    /// Asks it to end in order and waits.
    pub fn end(&mut self) -> ExitStatus {
        ask_to_end(self.child.id());
        self.wait_end()
    }

    /// Waits until it has ended.
    pub fn wait_end(&mut self) -> ExitStatus {
        wait_child(&mut self.child)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            self.said().iter().for_each(|line| println!("daemon: {line}"));
        }
    }
}

/// Waits for the end of a child; one that does not end is killed and the test fails.
pub fn wait_child(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    panic!("process {} did not end", child.id());
}

/// Output of a command that must end by itself.
pub fn ended(command: &mut Command) -> Output {
    let child = start_child(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    within(PATIENCE, move || child.wait_with_output().unwrap())
}

/// Asks again and again until there is something, and says what there was if there never is.
pub fn wait_for<T>(mut ask: impl FnMut() -> Option<T>, describe: impl Fn() -> String) -> T {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(found) = ask() {
            progressed();
            return found;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("waited in vain; at last: {}", describe());
}

/// Reads exactly `n` bytes; fails the test instead of waiting forever.
pub fn read_exactly(source: File, n: usize) -> (File, Vec<u8>) {
    while_progressing(move |progress| {
        let mut source = source;
        let mut bytes = vec![0; n];
        progress.read_exact(&mut source, &mut bytes);
        (source, bytes)
    })
}

/// Reads one line; fails the test instead of waiting forever. Bytes after the line may be lost.
pub fn read_line(source: &File) -> String {
    let mut source = source.try_clone().unwrap();
    within(PATIENCE, move || {
        let mut line = Vec::new();
        let mut byte = [0];
        while source.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    })
}

/// Runs `work` on a thread and fails the test if it takes longer than `time`.
pub fn within<T: Send + 'static>(time: Duration, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = channel();
    spawn(move || sender.send(work()));
    let done = receiver.recv_timeout(time).unwrap_or_else(|e| panic!("the work was not done within {time:?}: {e}"));
    progressed();
    done
}
