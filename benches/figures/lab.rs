//! The set-up: simulated devices in one process, the daemon in another, and a directory for both.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, Stdio};

use tempfile::TempDir;
use usbpipe::selector::Remote;

use crate::process::{OWN, Process, place};

/// All that runs while figures are taken.
pub(crate) struct Lab {
    pub(crate) daemon: Process,
    /// Where the second simulated device is, which the daemon does not have.
    pub(crate) direct: Remote,
    mock: Process,
    dir: TempDir,
    /// Kept open, so that nobody who still says something is ended by it.
    _stderr: [BufReader<ChildStderr>; 2],
}

impl Lab {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().expect("a directory for temporary files");
        let (mock, mock_stderr, port) = start_mock();
        let (daemon, daemon_stderr) = start_daemon(dir.path(), &config(port));
        let direct = Remote { host: "127.0.0.1".into(), port, busid: Some("1-8".into()) };
        Self { daemon, direct, mock, dir, _stderr: [mock_stderr, daemon_stderr] }
    }

    /// Puts the programs of this side, the daemon among them, on some cores and the simulated devices on others.
    pub(crate) fn place(&self, host: &[usize], device: &[usize]) {
        place(OWN, host);
        place(self.daemon.pid(), host);
        place(self.mock.pid(), device);
    }

    /// An outlet of the bridged device.
    pub(crate) fn outlet(&self, name: &str) -> PathBuf {
        self.dir.path().join("run/zero").join(name)
    }

    /// Room for files of the reference.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.daemon.terminate();
        self.mock.terminate();
    }
}

/// Two devices `zero`: 1-3 for the daemon, 1-8 for the direct side.
fn start_mock() -> (Process, BufReader<ChildStderr>, u16) {
    let program = Path::new(env!("CARGO_BIN_EXE_usbpipe")).with_file_name("firmware-mock");
    assert!(program.exists(), "{} is missing: cargo build --release -p firmware-mock", program.display());
    let args = ["serve", "--listen", "127.0.0.1:0", "zero*2"];
    let mut mock = Process::start(Command::new(program).args(args).stderr(Stdio::piped()));
    let mut stderr = BufReader::new(mock.0.stderr.take().expect("it is a pipe"));
    let line = line_with(&mut stderr, "listening on");
    let port = line.trim().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    (mock, stderr, port)
}

/// One device with its defaults, and with sockets.
fn config(port: u16) -> String {
    let remote = format!("[[device]]\nname = \"zero\"\nremote = \"usbip://127.0.0.1:{port}/1-3\"\n");
    let pipes = ["0x81", "0x01", "0x82", "0x02"]
        .map(|ep| format!("[[device.pipe]]\nendpoint = {ep}\noutlets = [\"fifo\", \"socket\"]\n"));
    remote + &pipes.concat()
}

/// The daemon with this configuration, its device attached, in the run dir `run` of this directory.
pub(crate) fn start_daemon(dir: &Path, config: &str) -> (Process, BufReader<ChildStderr>) {
    let file = dir.join("usbpipe.toml");
    std::fs::write(&file, config).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_usbpipe"));
    command.arg("--dir").arg(dir.join("run")).arg("-c").arg(file).arg("run").env_remove("RUST_LOG");
    let mut daemon = Process::start(command.stderr(Stdio::piped()));
    let mut stderr = BufReader::new(daemon.0.stderr.take().expect("it is a pipe"));
    line_with(&mut stderr, "attach");
    (daemon, stderr)
}

fn line_with(stderr: &mut impl BufRead, text: &str) -> String {
    let mut line = String::new();
    while !line.contains(text) {
        line.clear();
        let n = stderr.read_line(&mut line).expect("text");
        assert!(n > 0, "ended before it said {text:?}");
    }
    line
}
