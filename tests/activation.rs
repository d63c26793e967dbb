//! The listening socket as systemd passes it: descriptor 3, with LISTEN_FDS and LISTEN_PID in the environment.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "common/vitals.rs"]
mod vitals;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use common::{Bus, Daemon, within};
use firmware_mock::DeviceKind::Zero;
use nix::sys::signal::Signal::SIGKILL;
use tempfile::TempDir;
use vitals::inode;

#[test]
fn commands_are_served_on_the_passed_socket_which_stays() {
    let (bus, place) = (Bus::with(&[Zero]), Place::new());
    let listener = place.listen();
    let socket = inode(&place.socket());
    // A command that was there first, as one that starts the service is.
    let mut early = UnixStream::connect(place.socket()).unwrap();
    early.write_all(b"{\"cmd\":\"status\"}\n").unwrap();
    for _ in 0..2 {
        let mut daemon = place.daemon(&bus, &listener);
        daemon.wait_attached();
        assert_eq!(inode(&place.socket()), socket, "it binds nothing");
        assert!(daemon.end().success());
        assert_eq!(inode(&place.socket()), socket, "it removes nothing of systemd's");
        let left: Vec<_> = fs::read_dir(&place.dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["admin.sock"], "and everything of its own");
    }
    let mut answer = String::new();
    BufReader::new(early).read_line(&mut answer).unwrap();
    assert!(answer.contains("\"name\":\"zero\""), "{answer}");
}

#[test]
fn a_daemon_started_again_after_a_kill_keeps_names_and_socket() {
    let (bus, place) = (Bus::with(&[Zero]), Place::new());
    let listener = place.listen();
    let mut killed = place.daemon(&bus, &listener);
    killed.wait_attached();
    let names = ["admin.sock", "zero/ep_81", "zero/ep_02", "zero/ep_00.request"].map(|name| place.dir.join(name));
    let before = names.each_ref().map(|name| inode(name));
    killed.signal(SIGKILL);
    killed.wait_end();
    let mut next = place.daemon(&bus, &listener);
    next.wait_attached();
    assert_eq!(names.each_ref().map(|name| inode(name)), before);
    assert_eq!(common::read_exactly(next.reader("zero/ep_81"), 3).1, [0, 1, 2]);
}

#[test]
fn a_socket_that_was_removed_is_told_and_the_devices_are_bridged_all_the_same() {
    let (bus, place) = (Bus::with(&[Zero]), Place::new());
    let listener = place.listen();
    fs::remove_file(place.socket()).unwrap();
    let mut daemon = place.daemon(&bus, &listener);
    assert!(daemon.wait_said("was removed").contains("systemctl restart usbpipe.socket"));
    let source = daemon.path("zero/ep_81");
    common::wait_for(|| source.exists().then_some(()), || "the device was never bridged".into());
    assert_eq!(common::read_exactly(daemon.reader("zero/ep_81"), 3).1, [0, 1, 2]);
    assert!(!place.socket().exists());
}

#[test]
fn what_is_no_socket_for_commands_is_refused() {
    let place = Place::new();
    let elsewhere = UnixListener::bind(place.temp.path().join("other.sock")).unwrap();
    assert_refused(&place.refused(elsewhere.into(), 1), &["other.sock, where no command looks", "ListenStream="]);
    let datagrams = UnixDatagram::bind(place.temp.path().join("datagrams")).unwrap();
    assert_refused(&place.refused(datagrams.into(), 1), &["no listening Unix stream socket"]);
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    assert_refused(&place.refused(tcp.into(), 1), &["no listening Unix stream socket", "no path"]);
    let (connected, _other) = UnixStream::pair().unwrap();
    assert_refused(&place.refused(connected.into(), 1), &["no listening Unix stream socket"]);
    let file = fs::File::open("/dev/null").unwrap();
    assert_refused(&place.refused(file.into(), 1), &["no listening Unix stream socket"]);
    let listener = place.listen();
    assert_refused(&place.refused(listener.into(), 2), &["2 descriptors"]);
}

#[test]
fn what_was_passed_to_another_process_is_left_alone() {
    let (bus, place) = (Bus::with(&[Zero]), Place::new());
    fs::create_dir(&place.dir).unwrap();
    fs::write(place.config(), bus.device("zero", "")).unwrap();
    let mut command = common::usbpipe();
    command.env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
    command.arg("run").arg("--dir").arg(&place.dir).arg("-c").arg(place.config());
    let mut daemon = Daemon::start(command, &place.dir);
    daemon.wait_said("ready");
    daemon.wait_attached();
    assert!(daemon.end().success());
    assert!(!place.socket().exists(), "the socket was its own");
}

/// A run dir as tmpfiles.d makes it, before any daemon.
struct Place {
    temp: TempDir,
    dir: PathBuf,
}

impl Place {
    fn new() -> Self {
        let temp = TempDir::new().unwrap();
        let dir = temp.path().join("run");
        Self { temp, dir }
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("admin.sock")
    }

    fn config(&self) -> PathBuf {
        self.temp.path().join("usbpipe.toml")
    }

    fn listen(&self) -> UnixListener {
        fs::create_dir_all(&self.dir).unwrap();
        UnixListener::bind(self.socket()).unwrap()
    }

    /// The service, once it says that it is ready.
    fn daemon(&self, bus: &Bus, listener: &UnixListener) -> Daemon {
        fs::write(self.config(), bus.device("zero", "")).unwrap();
        let listener = listener.try_clone().unwrap();
        let mut daemon = Daemon::start(self.service(listener.into(), 1), &self.dir);
        daemon.wait_said("ready");
        daemon
    }

    /// What a service says that must not start.
    fn refused(&self, passed: OwnedFd, count: u32) -> Output {
        fs::write(self.config(), "[[device]]\nname = \"zero\"\nremote = \"usbip://127.0.0.1:1/1-1\"\n").unwrap();
        let child = self.service(passed, count).stderr(Stdio::piped()).spawn().unwrap();
        within(common::PATIENCE, move || child.wait_with_output().unwrap())
    }

    /// `usbpipe run` with `passed` as its descriptor 3. The shell is what knows the number of the process beforehand.
    fn service(&self, passed: OwnedFd, count: u32) -> Command {
        let script = "exec 3<&0 4<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=$0 exec \"$@\"";
        let mut command = Command::new("sh");
        command.env_remove("RUST_LOG").args(["-c", script, &count.to_string(), env!("CARGO_BIN_EXE_usbpipe")]);
        command.arg("run").arg("--dir").arg(&self.dir).arg("-c").arg(self.config()).stdin(Stdio::from(passed));
        command
    }
}

fn assert_refused(output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for word in words.iter().chain(&["admin.sock", "systemd"]) {
        assert!(said.contains(word), "{word:?} is not in {said}");
    }
    assert!(!said.contains("ready"), "{said}");
}
