//! What stands on disk: who may use it, what is in the way, and what is left at the end.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "common/vitals.rs"]
mod vitals;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use common::{Bus, Daemon, read_exactly, usbpipe, wait_for, within};
use firmware_mock::DeviceKind::{Uno, Zero};
use nix::sys::signal::Signal::{SIGINT, SIGKILL, SIGTERM};
use tempfile::TempDir;
use vitals::{inode, mode};

#[test]
fn outlets_are_for_their_owner_and_their_group() {
    let bus = Bus::with(&[Zero, Uno]);
    let daemon = Daemon::run(&format!("{}{}", bus.device("zero", ""), bus.device("uno", "")));
    let expected = [
        ("", 0o711),
        ("admin.sock", 0o660),
        ("zero", 0o750),
        ("zero/ep_81", 0o640),
        ("zero/ep_02", 0o620),
        ("zero/ep_00.request", 0o620),
        ("zero/ep_00.response", 0o640),
        ("zero/ep_00.sock", 0o660),
        ("zero/device.json", 0o640),
        ("uno/serial.rx", 0o640),
        ("uno/serial.tx", 0o620),
        ("uno/serial.ctl", 0o660),
    ];
    for (name, bits) in expected {
        assert_eq!(format!("{:o}", mode(&daemon.path(name))), format!("{bits:o}"), "{name}");
    }
}

#[test]
fn a_mode_in_the_configuration_is_that_of_the_outlets_whatever_the_umask() {
    let bus = Bus::with(&[Zero]);
    let pipe = "mode = \"0600\"\n[[device.pipe]]\nendpoint = 0x81\nmode = \"0644\"\n[[device.pipe]]\nendpoint = 0x02\n";
    let daemon = Daemon::run(&bus.device("zero", pipe));
    let modes = ["ep_81", "ep_02", "ep_00.sock"].map(|n| mode(&daemon.path("zero").join(n)));
    assert_eq!(modes, [0o644, 0o600, 0o600]);
}

#[test]
fn a_group_in_the_configuration_is_that_of_the_outlets() {
    if !nix::unistd::geteuid().is_root() {
        return println!("skipped: a_group_in_the_configuration_is_that_of_the_outlets: needs root to give files away");
    }
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", "group = \"daemon\"\n"));
    let daemons = nix::unistd::Group::from_name("daemon").unwrap().unwrap().gid.as_raw();
    for name in ["zero", "zero/ep_81", "zero/ep_02", "zero/ep_00.sock", "zero/ep_00.request"] {
        assert_eq!(daemon.path(name).metadata().unwrap().gid(), daemons, "{name}");
    }
}

#[test]
fn a_group_that_does_not_exist_is_named() {
    let bus = Bus::with(&[Zero]);
    let temp = TempDir::new().unwrap();
    let output = run(&temp.path().join("run"), &bus.device("zero", "group = \"no-such-group\"\n"));
    assert_failed(&output, &["no-such-group", "configuration"]);
    assert!(!temp.path().join("run").exists(), "nothing is left of a start that failed");
}

#[test]
fn a_file_in_the_way_is_named_and_left_alone() {
    let bus = Bus::with(&[Zero]);
    for name in ["ep_81", "ep_00.sock", "ep_00.request", "ep_7f"] {
        let temp = TempDir::new().unwrap();
        let dir = temp.path().join("run");
        let file = dir.join("zero").join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "precious").unwrap();
        let config = bus.device("zero", "[[device.pipe]]\nendpoint = 0x81\n");
        if name == "ep_7f" {
            let mut daemon = Daemon::run_in(&dir, &config);
            daemon.wait_attached();
            assert!(daemon.end().success());
        } else {
            assert_failed(&run(&dir, &config), &["in the way", name]);
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    }
}

#[test]
fn a_file_in_the_way_of_an_outlet_that_is_made_at_attach_stops_only_that_outlet() {
    let bus = Bus::with(&[Zero]);
    let temp = TempDir::new().unwrap();
    let dir = temp.path().join("run");
    fs::create_dir_all(dir.join("zero")).unwrap();
    fs::write(dir.join("zero/ep_81"), "precious").unwrap();
    let mut daemon = Daemon::run_in(&dir, &bus.device("zero", ""));
    assert!(daemon.wait_said("in the way").contains("ep_81"));
    daemon.wait_attached();
    daemon.writer("zero/ep_02").write_all(b"others work").unwrap();
    assert_eq!(read_exactly(daemon.reader("zero/ep_82"), 11).1, b"others work");
    assert!(daemon.end().success());
    assert_eq!(fs::read_to_string(dir.join("zero/ep_81")).unwrap(), "precious");
}

#[test]
fn a_link_in_place_of_the_run_dir_or_of_a_devices_directory_is_not_followed() {
    let bus = Bus::with(&[Zero]);
    let temp = TempDir::new().unwrap();
    let target = temp.path().join("target");
    fs::create_dir(&target).unwrap();
    let before = target.metadata().unwrap().mode();

    let linked = temp.path().join("linked");
    symlink(&target, &linked).unwrap();
    assert_failed(&run(&linked, &bus.device("zero", "")), &["linked", "link"]);

    let dir = temp.path().join("run");
    fs::create_dir(&dir).unwrap();
    symlink(&target, dir.join("zero")).unwrap();
    assert_failed(&run(&dir, &bus.device("zero", "")), &["zero", "link"]);
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0, "nothing was made behind the link");
    assert_eq!(target.metadata().unwrap().mode(), before);
}

#[test]
fn a_link_in_place_of_an_outlet_is_not_followed() {
    let bus = Bus::with(&[Zero]);
    let temp = TempDir::new().unwrap();
    let dir = temp.path().join("run");
    fs::create_dir_all(dir.join("zero")).unwrap();
    let target = temp.path().join("target");
    nix::unistd::mkfifo(&target, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for name in ["ep_81", "ep_00.sock"] {
        let link = dir.join("zero").join(name);
        symlink(&target, &link).unwrap();
        assert_failed(&run(&dir, &bus.device("zero", "[[device.pipe]]\nendpoint = 0x81\n")), &[name, "in the way"]);
        assert_eq!(fs::read_link(&link).unwrap(), target);
        fs::remove_file(link).unwrap();
    }
    assert_eq!(mode(&target), 0o700);
    let json = dir.join("zero/device.json");
    let precious = temp.path().join("precious");
    fs::write(&precious, "precious").unwrap();
    symlink(&precious, &json).unwrap();
    let mut daemon = Daemon::run_in(&dir, &bus.device("zero", ""));
    daemon.wait_attached();
    assert!(json.symlink_metadata().unwrap().is_file());
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
}

#[test]
fn the_run_dir_of_another_daemon_is_refused_and_its_process_named() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", ""));
    let pid = format!("process {}", daemon.child.id());
    let fifo = inode(&daemon.path("zero/ep_81"));
    assert_failed(&run(&daemon.dir, &bus.device("zero", "")), &[&pid, "usbpipe status", "--dir"]);
    assert_eq!(inode(&daemon.path("zero/ep_81")), fifo);
    assert_eq!(daemon.status("zero")["state"], "attached");
}

#[test]
fn the_end_removes_what_daemons_made_and_nothing_else() {
    let bus = Bus::with(&[Zero, Uno]);
    let temp = TempDir::new().unwrap();
    let dir = temp.path().join("run");
    let both = format!("{}{}", bus.device("zero", ""), bus.device("uno", ""));
    let mut killed = Daemon::run_in(&dir, &both);
    killed.wait_attached();
    fs::write(dir.join("zero/notes.txt"), "mine").unwrap();
    killed.signal(SIGKILL);
    killed.wait_end();
    assert!(dir.join("uno/serial.rx").exists());
    let mut next = Daemon::run_in(&dir, &bus.device("zero", ""));
    next.wait_attached();
    assert!(!dir.join("uno").exists(), "a device that is no longer configured");
    assert!(next.end().success());
    let left: Vec<_> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["zero"]);
    let left: Vec<_> = fs::read_dir(dir.join("zero")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["notes.txt"]);
}

#[test]
fn what_was_written_just_before_sigterm_reaches_the_device() {
    let bus = Bus::with(&[Zero]);
    let config = bus.device("zero", "");
    for n in [1usize, 511, 512, 60_000] {
        let mut daemon = Daemon::run(&config);
        let bytes: Vec<u8> = (0..n).map(|i| (i % 251) as u8).collect();
        let mut writer = daemon.writer("zero/ep_02");
        writer.write_all(&bytes).unwrap();
        assert!(daemon.end().success());
        assert!(!daemon.dir.exists());
        assert_eq!(writer.write(b"late").unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
        let next = Daemon::run(&config);
        assert_eq!(read_exactly(next.reader("zero/ep_82"), n).1, bytes, "{n} bytes");
    }
}

#[test]
fn the_end_waits_for_a_device_that_takes_nothing_no_longer_than_flush() {
    let bus = Bus::with(&[Zero]);
    let mut daemon = Daemon::run(&bus.device("zero", "[[device.pipe]]\nendpoint = 0x02\nflush = \"500ms\"\n"));
    let mut writer = stuck_writer(&bus, &daemon);
    let started = std::time::Instant::now();
    assert!(daemon.end().success());
    let took = started.elapsed().as_millis();
    assert!((450..3000).contains(&took), "took {took} ms");
    assert!(daemon.wait_said("loss").contains("zero/ep_02"), "what was not sent is told");
    assert!(writer.write(b"late").is_err());
}

#[test]
fn a_second_signal_ends_at_once() {
    for second in [SIGTERM, SIGINT] {
        let bus = Bus::with(&[Zero]);
        let mut daemon = Daemon::run(&bus.device("zero", "[[device.pipe]]\nendpoint = 0x02\nflush = \"1h\"\n"));
        let _writer = stuck_writer(&bus, &daemon);
        let first = Instant::now();
        daemon.signal(SIGTERM);
        // The daemon removes other outlets only after the flush; that it has begun shows in new clients being told.
        wait_for(|| (daemon.status_is_ending()).then_some(()), || "the end never began".into());
        assert!(daemon.child.try_wait().unwrap().is_none(), "it flushes");
        // The same one counts again after a moment.
        let again = || {
            daemon.signal(second);
            daemon.child.try_wait().unwrap()
        };
        let status = wait_for(again, || "it goes on".into());
        assert_eq!(status.code(), Some(1));
        assert!(second != SIGTERM || first.elapsed() >= Duration::from_millis(200));
        daemon.wait_said("second signal");
    }
}

#[test]
fn the_same_signal_within_a_moment_counts_once() {
    let bus = Bus::with(&[Zero]);
    let config = bus.device("zero", "[[device.pipe]]\nendpoint = 0x02\nflush = \"500ms\"\n");
    let mut daemon = Daemon::run(&config);
    let _writer = stuck_writer(&bus, &daemon);
    let first = Instant::now();
    while first.elapsed() < Duration::from_millis(20) {
        daemon.signal(SIGTERM);
    }
    assert_eq!(daemon.wait_end().code(), Some(0));
    assert!(!daemon.dir.exists() && !daemon.said().iter().any(|line| line.contains("second signal")));
    // It signals its child, and then all of its group.
    let temp = TempDir::new().unwrap();
    let (dir, file) = (temp.path().join("run"), temp.path().join("usbpipe.toml"));
    fs::write(&file, &config).unwrap();
    let mut program = usbpipe();
    program.arg("run").arg("--dir").arg(&dir).arg("-c").arg(&file);
    let mut timed = Command::new("timeout");
    timed.arg("1").arg(program.get_program()).args(program.get_args());
    let output = ended(timed);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(124) && said.contains("ready"), "{output:?}");
    assert!(!dir.exists() && !said.contains("second signal"), "{said}");
}

#[test]
fn a_socket_that_a_killed_daemon_left_is_replaced() {
    let bus = Bus::with(&[Zero]);
    let temp = TempDir::new().unwrap();
    let dir = temp.path().join("run");
    fs::create_dir_all(dir.join("zero")).unwrap();
    drop(UnixListener::bind(dir.join("admin.sock")).unwrap());
    drop(UnixListener::bind(dir.join("zero/ep_00.sock")).unwrap());
    let mut daemon = Daemon::run_in(&dir, &bus.device("zero", ""));
    daemon.wait_attached();
    assert_eq!(daemon.answer(&["control", "zero", "status"]).split(' ').next(), Some("ok"));
}

#[test]
fn a_run_dir_that_cannot_be_made_is_named() {
    let bus = Bus::with(&[Zero]);
    let temp = TempDir::new().unwrap();
    let dir = temp.path().join("missing/run");
    let config = temp.path().join("usbpipe.toml");
    fs::write(&config, bus.device("zero", "")).unwrap();
    let output = usbpipe().arg("run").arg("--dir").arg(&dir).arg("-c").arg(&config).output().unwrap();
    assert_failed(&output, &["missing/run", "cannot make"]);
}

/// A writer whose bytes the device does not take.
fn stuck_writer(bus: &Bus, daemon: &Daemon) -> fs::File {
    bus.command("delay zero 0x02 3600000");
    let mut writer = daemon.writer("zero/ep_02");
    writer.write_all(&[7; 5000]).unwrap();
    daemon.wait_status("zero", |_| daemon.pipe("zero", "ep_02")["open"] == true);
    writer
}

impl Daemon {
    /// Whether the end has begun: no device is left to be asked.
    fn status_is_ending(&self) -> bool {
        self.status("zero").is_null()
    }
}

/// Runs `usbpipe run`, which is expected to end.
fn run(dir: &Path, config: &str) -> Output {
    let file = dir.with_extension("toml-2");
    fs::write(&file, config).unwrap();
    let mut command = usbpipe();
    command.arg("run").arg("--dir").arg(dir).arg("-c").arg(&file);
    ended(command)
}

/// Output of a command that must end by itself.
fn ended(mut command: Command) -> Output {
    within(common::PATIENCE, move || {
        let mut child =
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
        let status = common::wait_child(&mut child);
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        child.stdout.unwrap().read_to_end(&mut stdout).unwrap();
        child.stderr.unwrap().read_to_end(&mut stderr).unwrap();
        Output { status, stdout, stderr }
    })
}

fn assert_failed(output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in {said}");
    }
}
