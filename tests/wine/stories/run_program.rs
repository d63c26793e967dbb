//! `run = […]` on Windows: a program that has a serial line as its stdin and stdout, with all that it starts.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use firmware_mock::DeviceKind::Uno;
use tempfile::TempDir;
use windows_sys::Win32::Foundation::{CloseHandle, WAIT_TIMEOUT};
use windows_sys::Win32::System::Threading::{OpenProcess, PROCESS_SYNCHRONIZE, WaitForSingleObject};

use crate::common::{Bus, Daemon, usbpipe, wait_for};
use crate::plain::client;

/// A daemon in a folder of its own, with a board that has this program.
struct Bench {
    bus: Bus,
    daemon: Daemon,
    folder: TempDir,
}

impl Bench {
    fn new(name: &str, run: &str) -> Self {
        let (bus, folder) = (Bus::with(&[Uno]), TempDir::new().unwrap());
        fs::create_dir(folder.path().join("my tools")).unwrap();
        for place in [r"my tools\the client.exe", "client.exe"] {
            fs::copy(client().get_program(), folder.path().join(place)).unwrap();
        }
        let config = bus.device("uno", &format!("[device.serial]\nrun = {run}\n"));
        fs::write(folder.path().join("usbpipe.toml"), config).unwrap();
        let dir = PathBuf::from(format!(r"\\.\pipe\usbpipe-test-{}-{name}", std::process::id()));
        let mut command = usbpipe();
        command.arg("--dir").arg(&dir).arg("run").current_dir(folder.path());
        let daemon = Daemon::start(command, &dir);
        Self { bus, daemon, folder }
    }

    /// Waits until the program has heard the board. What it asked while that booted was heard by nobody.
    fn wait_heard(&self, file: &str) {
        let heard = || fs::read_to_string(self.folder.path().join(file)).unwrap_or_default();
        let answer = || {
            self.daemon.writer("uno/serial.tx").write_all(b"PING 2\n").unwrap();
            heard().contains("PONG 2\n").then_some(())
        };
        wait_for(answer, heard);
    }

    /// The number that a stubborn program said.
    fn stubborn(&mut self) -> u32 {
        let line = self.daemon.wait_said(": stubborn ");
        line.rsplit(' ').next().unwrap().trim().parse().unwrap()
    }
}

fn is_running(pid: u32) -> bool {
    // SAFETY: opens a handle of this process's own, which is closed below.
    let process = unsafe { OpenProcess(PROCESS_SYNCHRONIZE, 0, pid) };
    if process.is_null() {
        return false;
    }
    // SAFETY: the handle is open.
    let waited = unsafe { WaitForSingleObject(process, 0) };
    // SAFETY: it was opened above.
    unsafe { CloseHandle(process) };
    waited == WAIT_TIMEOUT
}

fn wait_gone(pid: u32) {
    wait_for(|| (!is_running(pid)).then_some(()), || format!("process {pid} still runs"));
}

#[test]
fn a_program_whose_path_and_words_have_blanks_and_backslashes_starts_at_every_attach() {
    let mut bench = Bench::new("run", r"['my tools\the client.exe', 'logger', 'what it heard.txt']");
    bench.daemon.wait_said("the client.exe: logging");
    bench.wait_heard("what it heard.txt");
    assert!(Path::new(&bench.folder.path().join("what it heard.txt")).is_file(), "it runs beside its configuration");
    bench.bus.command("unplug uno 100");
    bench.daemon.wait_said("the client.exe: end of file");
    bench.daemon.wait_said("ended with status 0: the device has gone");
    bench.daemon.wait_status("uno", |s| s["state"] == "attached" && s["sessions"] == 2);
    bench.wait_heard("what it heard.txt");
    assert!(bench.daemon.end().success());
}

#[test]
fn ctrl_c_in_the_daemons_console_is_not_for_the_program_which_hears_the_end_of_its_stdin() {
    let mut bench = Bench::new("ctrl-c", r"['my tools/the client.exe', 'logger', 'heard.txt']");
    bench.daemon.wait_said("the client.exe: logging");
    bench.wait_heard("heard.txt");
    assert!(bench.daemon.end().success());
    bench.daemon.wait_said("the client.exe: end of file");
    bench.daemon.wait_said("ended with status 0: the daemon lets go of the device");
}

#[test]
fn a_program_that_heeds_nothing_is_killed_with_all_that_it_has_started() {
    let mut bench = Bench::new("stubborn", r"['cmd', '/c', 'client.exe stubborn forever']");
    let pid = bench.stubborn();
    assert!(is_running(pid));
    bench.bus.command("unplug uno 60000");
    bench.daemon.wait_said("was killed, because it had not ended 2 s after Ctrl-Break");
    wait_gone(pid);
}

#[test]
fn nothing_of_a_program_outlives_a_daemon_that_is_killed() {
    let mut bench = Bench::new("killed", r"['cmd', '/c', 'client.exe stubborn forever']");
    let pid = bench.stubborn();
    bench.daemon.child.kill().unwrap();
    wait_gone(pid);
}

#[test]
fn a_program_that_is_not_there_is_said_so_with_its_path() {
    let mut bench = Bench::new("missing", r"['my tools\another.exe']");
    let said = bench.daemon.wait_said("cannot be started");
    assert!(said.contains(r"my tools\another.exe is not there; put it there"), "{said}");
}
