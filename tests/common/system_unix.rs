//! Where outlets stand and how programs are ended, on Unix.

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};

use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use super::Daemon;

/// A run dir for a daemon, to be gone with `temp`.
pub fn run_dir(temp: &TempDir, name: &str) -> PathBuf {
    temp.path().join(name)
}

/// Where the configuration of the daemon in this run dir is written.
pub fn config_beside(dir: &Path) -> PathBuf {
    dir.with_extension("toml")
}

/// The path of an outlet such as `uno/serial.rx`.
pub fn outlet(dir: &Path, name: &str) -> PathBuf {
    dir.join(name)
}

/// Opens an outlet for reading, as `cat` does.
pub fn open_reader(path: &Path) -> std::io::Result<File> {
    File::open(path)
}

/// Opens an outlet for writing, as `cat >` does.
pub fn open_writer(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).open(path)
}

/// Opens an outlet that goes both ways: connects to its socket.
pub fn open_both(path: &Path) -> std::io::Result<File> {
    Ok(OwnedFd::from(UnixStream::connect(path)?).into())
}

/// In the configuration of a pipe: any number of programs, each with its own copy or its own turn.
pub const SHARED: &str = "outlets = [\"fifo\", \"socket\"]";

/// Opens an outlet that is `SHARED`: its socket.
pub fn open_guest(outlet: &Path) -> std::io::Result<File> {
    open_both(&outlet.with_extension("sock"))
}

/// Whether nobody has `serial.tx` open, while so many have `serial.rx`.
pub fn is_left(tx: &Value, _readers: usize) -> bool {
    tx["open"] == false
}

/// Opens the two FIFOs of a device's text control pipe: for requests, and for answers.
pub fn open_control(dir: &Path, device: &str) -> std::io::Result<(File, File)> {
    let end = |name: &str| dir.join(device).join(name);
    Ok((open_writer(&end("ep_00.request"))?, open_reader(&end("ep_00.response"))?))
}

/// Whether an outlet is there.
pub fn stands(path: &Path) -> bool {
    path.exists()
}

/// What tells an outlet from one that was made anew in its place: device and inode.
pub fn identity(path: &Path) -> (u64, u64) {
    let m = std::fs::symlink_metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    (m.dev(), m.ino())
}

/// Runs a command to its end.
pub fn output(command: &mut Command) -> Output {
    command.output().unwrap()
}

/// Starts a command.
pub fn start_child(command: &mut Command) -> Child {
    command.spawn().unwrap()
}

/// What lets [`ask_to_end`] reach a program.
pub fn with_console(command: &mut Command) -> &mut Command {
    command
}

/// Has a program start with the signals that a shell's foreground has. Who runs tests by nohup(1) or in the background
/// ignores some, and so would every program that they start.
pub fn with_signals(command: &mut Command) {
    let reset = || {
        for ignored in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
            // SAFETY: no handler is installed, so none can do what a handler must not.
            unsafe { signal(ignored, SigHandler::SigDfl) }?;
        }
        Ok(())
    };
    // SAFETY: signal(2) alone is called, which may be between fork and exec.
    unsafe { command.pre_exec(reset) };
}

/// SIGTERM.
pub fn ask_to_end(pid: u32) {
    kill(pid, Signal::SIGTERM);
}

/// Sends a signal to a process.
pub fn kill(pid: u32, signal: Signal) {
    nix::sys::signal::kill(Pid::from_raw(pid as i32), signal).unwrap();
}

impl Daemon {
    /// Sends a signal to the daemon.
    pub fn signal(&self, signal: Signal) {
        kill(self.child.id(), signal);
    }

    /// How many descriptors it has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// A line of `/proc/PID/status` as a number: `VmRSS` in KiB, `Threads`.
    pub fn proc_status(&self, key: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find(|l| l.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}
