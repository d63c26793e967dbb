//! Who may reach what: run dirs and outlets that other users try to get at.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "common/people.rs"]
mod people;
#[path = "common/vitals.rs"]
mod vitals;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::scope;

use common::{Bus, Daemon, ended, progressed, read_exactly, usbpipe, wait_for};
use firmware_mock::DeviceKind::Zero;
use nix::libc::O_NONBLOCK;
use nix::sys::signal::Signal::SIGHUP;
use people::{DAEMON_GROUP, NOBODY, as_user, can_be_others, public_place};
use tempfile::TempDir;
use vitals::{Events, mode};

fn opens_for_reading(path: &Path) -> bool {
    OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path).is_ok()
}

#[test]
fn a_command_without_a_daemon_works_in_a_directory_that_nobody_could_have_made_before() {
    let bus = Bus::with(&[Zero]);
    let temp = TempDir::new().unwrap();
    let selector = format!("usbip://127.0.0.1:{}/{}", bus.port, bus.busid("zero"));
    // The shell's number becomes that of the program.
    let squat = "mkdir -m 777 \"$TMPDIR/usbpipe-alone-$$\"; exec \"$@\"";
    let look = "cd \"$TMPDIR\"; for d in */; do stat -c '%n %a %u' \"$d\"; ls \"$d\"; done";
    let mut command = Command::new("sh");
    command.args(["-c", squat, "sh", env!("CARGO_BIN_EXE_usbpipe")]).env("TMPDIR", temp.path());
    command.args(["exec", &selector, "--in", "0x81", "--", "sh", "-c", look]).stdin(Stdio::null());
    let output = ended(&mut command);
    let found = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let me = nix::unistd::geteuid();
    let mut own = found.lines().filter(|line| line.starts_with("usbpipe-alone-"));
    let (squatted, private) = match (own.next().unwrap(), own.next()) {
        (one, Some(other)) if one.contains(" 777 ") => (one, other),
        (one, other) => (other.unwrap_or_default(), one),
    };
    assert!(squatted.contains(" 777 ") && private.ends_with(&format!("/ 700 {me}")), "{found}");
    let after = found.split_once(squatted).unwrap().1.lines().nth(1).unwrap_or_default();
    assert!(after.is_empty() || after.starts_with("usbpipe-alone-"), "nothing was made in the other one: {found}");
    let left: Vec<_> = fs::read_dir(temp.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 1, "its own directory is gone: {left:?}");
}

#[test]
fn a_directory_of_another_user_is_refused_with_advice() {
    if !can_be_others("a_directory_of_another_user_is_refused_with_advice") {
        return;
    }
    let bus = Bus::with(&[Zero]);
    for name in ["", "zero"] {
        let (temp, dir) = public_place();
        let theirs = dir.join(name);
        fs::create_dir_all(&theirs).unwrap();
        chown(&theirs, Some(NOBODY), Some(NOBODY)).unwrap();
        let config = temp.path().join("usbpipe.toml");
        fs::write(&config, bus.device("zero", "")).unwrap();
        let mut commands = vec![usbpipe(), usbpipe()];
        commands[0].arg("run").arg("-c").arg(&config).arg("--dir").arg(&dir);
        commands[1].arg("demo").arg("--dir").arg(&dir);
        for command in &mut commands {
            let output = ended(command);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{said}");
            for word in [theirs.to_str().unwrap().trim_end_matches('/'), "belongs to user nobody", "remove it"] {
                assert!(said.contains(word), "{word:?} is not in {said}");
            }
        }
        assert_eq!(fs::read_dir(&theirs).unwrap().count(), 0, "nothing was made in it");
        assert_eq!(theirs.metadata().unwrap().uid(), NOBODY);
    }
}

#[test]
fn a_directory_that_others_may_write_is_refused_where_files_are_and_narrowed_where_not() {
    let bus = Bus::with(&[Zero]);
    let (temp, dir) = public_place();
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, Permissions::from_mode(0o777)).unwrap();
    let config = temp.path().join("usbpipe.toml");
    fs::write(&config, bus.device("zero", "")).unwrap();
    fs::write(dir.join("notes.txt"), "mine").unwrap();
    let output = ended(usbpipe().arg("run").arg("-c").arg(&config).arg("--dir").arg(&dir));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("chmod go-w"), "{said}");
    assert_eq!(mode(&dir), 0o777);
    fs::remove_file(dir.join("notes.txt")).unwrap();
    let mut daemon = Daemon::run_in(&dir, &bus.device("zero", ""));
    daemon.wait_attached();
    assert_eq!(mode(&dir), 0o711);
}

#[test]
fn members_of_the_configured_group_alone_reach_the_outlets_and_nobody_else_does() {
    if !can_be_others("members_of_the_configured_group_alone_reach_the_outlets_and_nobody_else_does") {
        return;
    }
    let bus = Bus::with(&[Zero]);
    let (_temp, dir) = public_place();
    let mut daemon = Daemon::run_in(&dir, &bus.device("zero", "group = \"daemon\"\n"));
    daemon.wait_attached();
    let read = || File::open(daemon.path("zero/ep_81")).map(|source| read_exactly(source, 3).1);
    assert_eq!(as_user(NOBODY, &[DAEMON_GROUP], read).unwrap(), [0, 1, 2]);
    assert!(as_user(NOBODY, &[DAEMON_GROUP], || fs::read(daemon.path("zero/device.json"))).is_ok());
    assert!(as_user(NOBODY, &[], read).is_err());
    assert!(
        as_user(NOBODY, &[DAEMON_GROUP], || fs::read_dir(&dir).map(drop)).is_err(),
        "nobody sees what else is there"
    );
    assert!(as_user(NOBODY, &[DAEMON_GROUP], || UnixStream::connect(dir.join("admin.sock")).map(drop)).is_err());
}

#[test]
fn the_configured_owner_opens_the_outlets_and_replaces_none() {
    if !can_be_others("the_configured_owner_opens_the_outlets_and_replaces_none") {
        return;
    }
    let bus = Bus::with(&[Zero]);
    let (_temp, dir) = public_place();
    let mut daemon = Daemon::run_in(&dir, &bus.device("zero", "owner = \"nobody\"\nmode = \"0600\"\n"));
    daemon.wait_attached();
    let fifo = daemon.path("zero/ep_81");
    assert_eq!(as_user(NOBODY, &[NOBODY], || read_exactly(File::open(&fifo).unwrap(), 3).1), [0, 1, 2]);
    assert_eq!(fifo.metadata().unwrap().uid(), NOBODY);
    assert_eq!((mode(&daemon.path("zero")), daemon.path("zero").metadata().unwrap().uid()), (0o750, 0));
    assert_eq!(mode(&daemon.path("zero/device.json")), 0o600, "what is known of it is as private as its outlets");
    let replaced = as_user(NOBODY, &[NOBODY], || fs::rename(&fifo, fifo.with_extension("old")));
    assert!(replaced.is_err());
}

#[test]
fn a_fifo_that_another_user_may_have_open_is_made_anew() {
    if !can_be_others("a_fifo_that_another_user_may_have_open_is_made_anew") {
        return;
    }
    let bus = Bus::with(&[Zero]);
    let (_temp, dir) = public_place();
    let fifo = dir.join("zero/ep_81");
    fs::create_dir_all(dir.join("zero")).unwrap();
    fs::set_permissions(dir.join("zero"), Permissions::from_mode(0o777)).unwrap();
    let theirs = as_user(NOBODY, &[], || {
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(&fifo).unwrap()
    });
    let mut daemon = Daemon::run_in(&dir, &bus.device("zero", ""));
    daemon.wait_attached();
    let made = fifo.metadata().unwrap();
    assert!(made.ino() != theirs.metadata().unwrap().ino() && made.uid() == 0);
    assert_eq!(read_exactly(File::open(&fifo).unwrap(), 3).1, [0, 1, 2]);
}

/// Has the daemon make the device anew, so many times. The configurations differ in their number of pipes, by which is seen
/// that it has.
fn reload_often(daemon: &mut Daemon, rounds: usize, configs: [&str; 2]) {
    for round in 0..rounds {
        let config = configs[(round + 1) % 2];
        fs::write(daemon.dir.with_extension("toml"), config).unwrap();
        daemon.signal(SIGHUP);
        let pipes = config.matches("[[device.pipe]]").count();
        daemon.wait_status("zero", |status| {
            status["state"] == "attached" && status["pipes"].as_array().is_some_and(|there| there.len() == pipes)
        });
        progressed();
    }
}

/// The second of two configurations for [`reload_often`].
const ONE_PIPE_MORE: &str = "[[device.pipe]]\nendpoint = 0x02\n";

#[test]
fn a_user_who_alternates_outlets_and_links_changes_no_file_elsewhere() {
    if !can_be_others("a_user_who_alternates_outlets_and_links_changes_no_file_elsewhere") {
        return;
    }
    let bus = Bus::with(&[Zero]);
    let (temp, dir) = public_place();
    // So that other users can enter, whatever the daemon makes of it.
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
    let secret = temp.path().join("secret");
    fs::write(&secret, "of root").unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    let config = |more: &str| {
        let pipes = format!("[[device.pipe]]\nendpoint = 0x81\n{more}");
        bus.device("zero", &format!("owner = \"nobody\"\nmode = \"0666\"\n{pipes}"))
    };
    let (one, other) = (config(""), config(ONE_PIPE_MORE));
    let mut daemon = Daemon::run_in(&dir, &one);
    daemon.wait_attached();
    let (outlet, over) = (daemon.path("zero/ep_81"), AtomicBool::new(false));
    let attack = || {
        let (link, spare) = (outlet.with_extension("link"), outlet.with_extension("spare"));
        while !over.load(SeqCst) {
            // Each may fail; whichever comes at the right moment is enough.
            let _ = symlink(&secret, &link);
            let _ = fs::rename(&outlet, &spare);
            let _ = fs::rename(&link, &outlet);
            let _ = fs::remove_file(&outlet);
            let _ = fs::rename(&spare, &outlet);
        }
    };
    scope(|scope| {
        scope.spawn(|| as_user(NOBODY, &[NOBODY], attack));
        let _end = SetAtEnd(&over);
        reload_often(&mut daemon, common::rounds(100), [&one, &other]);
    });
    assert_eq!((mode(&secret), secret.metadata().unwrap().uid()), (0o600, 0));
}

/// Also when the test fails.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

#[test]
fn an_outlet_is_never_wider_than_it_is_meant_to_be() {
    if !can_be_others("an_outlet_is_never_wider_than_it_is_meant_to_be") {
        return;
    }
    let bus = Bus::with(&[Zero]);
    let (_temp, dir) = public_place();
    let config = |more: &str| {
        let pipes = format!("[[device.pipe]]\nendpoint = 0x81\noutlets = [\"fifo\", \"socket\"]\n{more}");
        bus.device("zero", &format!("mode = \"0600\"\n{pipes}"))
    };
    let (one, other) = (config(""), config(ONE_PIPE_MORE));
    let mut daemon = Daemon::run_in(&dir, &one);
    daemon.wait_attached();
    let (fifo, socket) = (daemon.path("zero/ep_81"), daemon.path("zero/ep_81.sock"));
    let (over, opened, tried) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    // A member of the daemon's own group.
    let attack = || {
        while !over.load(SeqCst) {
            let is_in = opens_for_reading(&fifo) || UnixStream::connect(&socket).is_ok();
            opened.fetch_add(usize::from(is_in), SeqCst);
            tried.fetch_add(1, SeqCst);
        }
    };
    scope(|scope| {
        scope.spawn(|| as_user(NOBODY, &[0], attack));
        let _end = SetAtEnd(&over);
        reload_often(&mut daemon, common::rounds(150), [&one, &other]);
    });
    assert_eq!(opened.load(SeqCst), 0, "of {} tries", tried.load(SeqCst));
}

#[test]
fn a_fifo_that_was_replaced_is_a_problem_and_never_written() {
    let bus = Bus::with(&[Zero]);
    for unplug in ["hold", "eof"] {
        let config =
            format!("unplug = \"{unplug}\"\n[[device.pipe]]\nendpoint = 0x81\n[[device.pipe]]\nendpoint = 0x02\n");
        let daemon = Daemon::run(&bus.device("zero", &config));
        let mut events = Events::of(&daemon);
        let fifos = ["ep_81", "ep_02"].map(|name| daemon.path("zero").join(name));
        for fifo in &fifos {
            fs::remove_file(fifo).unwrap();
            fs::write(fifo, "precious").unwrap();
        }
        replug(&bus, &mut events);
        for (name, fifo) in ["ep_81", "ep_02"].iter().zip(&fifos) {
            let is_named =
                |pipe: &serde_json::Value| pipe["problem"].as_str().is_some_and(|p| p.contains("a file is there"));
            let pipe = daemon.wait_pipe("zero", name, is_named);
            assert!(pipe["problem"].as_str().unwrap().contains("move it away"), "{pipe}");
            assert_eq!((fs::read_to_string(fifo).unwrap(), pipe["bytes"].as_u64()), ("precious".to_owned(), Some(0)));
            fs::remove_file(fifo).unwrap();
        }
        // Made anew, they work.
        replug(&bus, &mut events);
        wait_for(|| fifos.iter().all(|fifo| fifo.exists()).then_some(()), || "they are not made anew".into());
        assert_eq!(fifos.each_ref().map(|fifo| mode(fifo)), [0o640, 0o620]);
        assert_eq!(read_exactly(daemon.reader("zero/ep_81"), 3).1, [0, 1, 2], "{unplug}");
        daemon.writer("zero/ep_02").write_all(b"abc").unwrap();
        daemon.wait_count("zero", "ep_02", "bytes", 3);
        for name in ["ep_81", "ep_02"] {
            assert!(daemon.pipe("zero", name)["problem"].is_null());
        }
    }
}

fn replug(bus: &Bus, events: &mut Events) {
    bus.command("unplug zero 50");
    events.wait("detach", "zero");
    events.wait("attach", "zero");
}
