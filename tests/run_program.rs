//! `run = […]`: a program that has a serial line as its stdin and stdout for as long as the board is there.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/board.rs"]
mod board;
mod common;
#[path = "common/vitals.rs"]
mod vitals;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use common::{Bus, Daemon, kill, read_line, wait_for};
use firmware_mock::DeviceKind::{self, Echo, Leonardo, Uno};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;
use vitals::{Events, wait_asleep};

/// A device with a program, and the folder of the configuration.
struct Bench {
    bus: Bus,
    daemon: Daemon,
    name: &'static str,
    folder: TempDir,
}

impl Bench {
    /// With this program, as it stands in the configuration.
    fn new(kind: DeviceKind, run: &str) -> Self {
        Self::with(kind, &format!("[device.serial]\nrun = {run}"), |_| {})
    }

    fn with(kind: DeviceKind, rest: &str, prepare: impl FnOnce(&Path)) -> Self {
        let (bus, folder) = (Bus::with(&[kind]), tempfile::tempdir().unwrap());
        prepare(folder.path());
        let name = match kind {
            Uno => "uno",
            Leonardo => "leonardo",
            _ => "echo",
        };
        let mut daemon = Daemon::run_in(&folder.path().join("run"), &bus.device(name, rest));
        daemon.wait_attached();
        Self { bus, daemon, name, folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The lines of a file that a program writes, once there are so many.
    fn lines(&self, name: &str, least: usize) -> Vec<String> {
        let read = || fs::read_to_string(self.file(name)).unwrap_or_default();
        let lines = || read().lines().map(str::to_owned).collect::<Vec<_>>();
        wait_for(|| Some(lines()).filter(|lines| lines.len() >= least), || format!("{name}: {:?}", read()))
    }

    /// Waits until the logger has heard this line.
    fn wait_heard(&self, line: &str) {
        let heard = || fs::read_to_string(self.file("heard")).unwrap_or_default();
        wait_for(|| heard().lines().any(|heard| heard == line).then_some(()), heard);
    }

    /// The number of the process that `serial.rx` is read by as a descriptor, once there is one other than `not`.
    fn pid(&self, not: u32) -> u32 {
        let pid = |pipe: &Value| {
            let mut clients = pipe["clients"].as_array().unwrap().iter();
            clients.find(|c| c["kind"] == "descriptor" && c["pid"] != not)?["pid"].as_u64()
        };
        let pipe = self.daemon.wait_pipe(self.name, "serial.rx", |pipe| pid(pipe).is_some());
        pid(&pipe).unwrap().try_into().unwrap()
    }

    fn unplug(&self, events: &mut Events) {
        self.bus.command(&format!("unplug {} 300", self.name));
        events.wait("detach", self.name);
    }
}

fn script(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn is_running(pid: u32) -> bool {
    // One that has ended and is not waited for yet has no command line any more.
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

fn wait_gone(pid: u32) {
    wait_for(|| (!is_running(pid)).then_some(()), || format!("process {pid} still runs"));
}

/// Writes who it is to a file, asks the board something, writes what it hears to another file.
const LOGGER: &str = "#!/bin/sh\n\
    echo \"$$ $*\" >>started\necho \"logging $USBPIPE_DEVICE\" >&2\necho PING $$\n\
    while read -r line; do echo \"$line\" >>heard; done\nprintf 'end of file' >&2\n";

fn logger(kind: DeviceKind, rest: &str) -> Bench {
    let rest = format!("{rest}\n[device.serial]\nrun = [\"./logger\", \"--stdin\"]");
    Bench::with(kind, &rest, |folder| script(&folder.join("logger"), LOGGER))
}

/// The number that a line of `started` begins with.
fn number(line: &str) -> u32 {
    line.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_program_starts_at_every_attach_ends_at_detach_and_restarts_when_it_dies() {
    let mut bench = logger(Uno, "");
    let first = bench.lines("started", 1)[0].clone();
    assert!(first.ends_with(" --stdin"), "{first}");
    bench.daemon.wait_said("INFO uno: ./logger: logging uno");
    let heard = |pid: u32| bench.wait_heard(&format!("PONG {pid}"));
    heard(number(&first));
    let mut events = Events::of(&bench.daemon);
    bench.unplug(&mut events);
    let end = events.wait("end", "uno");
    let text = end["text"].as_str().unwrap();
    assert!(text.contains("ended with status 0: the device has gone") && end["outlet"] == "serial", "{text}");
    assert!(!is_running(number(&first)));
    events.wait("start", "uno");
    let second = bench.lines("started", 2)[1].clone();
    assert_ne!(number(&first), number(&second));
    heard(number(&second));
    kill(number(&second), Signal::SIGKILL);
    let end = events.wait("end", "uno");
    assert!(end["text"].as_str().unwrap().contains("was ended by SIGKILL; it is started again in 0.1 s"), "{end}");
    events.wait("start", "uno");
    heard(number(&bench.lines("started", 3)[2]));
    let status = bench.daemon.pipe("uno", "serial.rx");
    assert_eq!(status["clients"][0]["command"], "logger", "{status}");
    bench.daemon.wait_said("INFO uno: ./logger: end of file");
}

#[test]
fn it_shares_the_line_with_other_programs() {
    let bench = logger(Uno, "");
    bench.lines("heard", 1);
    let (answers, mut lines) = (bench.daemon.reader("uno/serial.rx"), bench.daemon.writer("uno/serial.tx"));
    bench.daemon.wait_pipe("uno", "serial.rx", |pipe| pipe["clients"].as_array().unwrap().len() == 2);
    lines.write_all(b"SUM 1 2\n").unwrap();
    while read_line(&answers) != "SUM 3" {}
    bench.wait_heard("SUM 3");
}

#[test]
fn what_it_wrote_before_its_end_reaches_the_board() {
    let bench =
        Bench::new(Echo, "[\"sh\", \"-c\", \"printf last-words; test -e done || head -c 10 >done; exec sleep 100\"]");
    bench.pid(0);
    let echoed = || fs::read_to_string(bench.file("done")).unwrap_or_default();
    wait_for(|| (echoed() == "last-words").then_some(()), echoed);
    // The second one stays.
    let run = "[\"sh\", \"-c\", \"echo LED ON; echo >>started; test $(wc -l <started) = 1 || exec sleep 100\"]";
    let bench = Bench::new(Uno, run);
    bench.lines("started", 2);
    let (answers, mut lines) = (bench.daemon.reader("uno/serial.rx"), bench.daemon.writer("uno/serial.tx"));
    bench.daemon.wait_pipe("uno", "serial.rx", |pipe| pipe["clients"].as_array().unwrap().len() == 2);
    lines.write_all(b"STATUS\n").unwrap();
    let answer = std::iter::repeat_with(|| read_line(&answers)).find(|line| line.starts_with("STATUS")).unwrap();
    assert!(answer.contains("led=on"), "{answer}");
}

#[test]
fn its_last_words_at_the_unplug_wait_for_the_board_like_any_others() {
    let bench = Bench::new(Uno, "[\"sh\", \"-c\", \"cat >/dev/null; echo LED ON\"]");
    bench.pid(0);
    let mut events = Events::of(&bench.daemon);
    bench.unplug(&mut events);
    events.wait("start", "uno");
    let (answers, mut lines) = (bench.daemon.reader("uno/serial.rx"), bench.daemon.writer("uno/serial.tx"));
    bench.daemon.wait_pipe("uno", "serial.rx", |pipe| pipe["clients"].as_array().unwrap().len() == 2);
    lines.write_all(b"STATUS\n").unwrap();
    let answer = std::iter::repeat_with(|| read_line(&answers)).find(|line| line.starts_with("STATUS")).unwrap();
    assert!(answer.contains("led=on"), "{answer}");
}

#[test]
fn one_that_dies_again_and_again_is_started_more_and_more_seldom() {
    let bench = Bench::new(Echo, "[\"sh\", \"-c\", \"echo >>started; read -r go <gate; exit 3\"]");
    let gate = bench.file("gate");
    // Without the gate it ends at once, and each time the pause is twice as long.
    let mut events = Events::of(&bench.daemon);
    let mut last: Option<(f64, f64)> = None;
    for _ in 0..4 {
        let start = events.wait("start", "echo")["time"].as_f64().unwrap();
        if let Some((end, pause)) = last {
            assert!(start - end >= pause - 0.01, "started {} s after its end, not {pause}", start - end);
        }
        let event = events.wait("end", "echo");
        let text = event["text"].as_str().unwrap().to_owned();
        assert!(text.contains("ended with status"), "{text}");
        let pause: f64 = text.rsplit(' ').nth(1).unwrap().parse().unwrap();
        assert!(last.is_none_or(|(_, before)| pause > 1.9 * before), "{text}, before {last:?}");
        last = Some((event["time"].as_f64().unwrap(), pause));
    }
    assert!(!gate.exists());
}

#[test]
fn one_that_is_not_there_is_told_once_and_started_when_it_is() {
    let bench = Bench::new(Uno, "[\"./absent\"]");
    let mut bench = bench;
    let told = bench.daemon.wait_said("./absent cannot be started");
    let path = bench.file("./absent").display().to_string();
    assert!(told.contains("WARN uno/serial: error:") && told.contains(&format!("{path} is not there")), "{told}");
    let problem = |status: &Value| status["problem"].as_str().unwrap_or_default().to_owned();
    let shown = problem(&bench.daemon.status("uno"));
    assert!(shown.contains(&format!("{path} is not there; put it there")), "{shown}");
    let text = String::from_utf8(bench.daemon.ask(&["status"]).stdout).unwrap();
    assert!(text.contains(&format!("  problem: {shown}")), "{text}");
    // Whole at once: half made it would be another reason, and told.
    script(&bench.file("present"), LOGGER);
    fs::rename(bench.file("present"), bench.file("absent")).unwrap();
    bench.lines("heard", 1);
    let told = bench.daemon.said().iter().filter(|line| line.contains("cannot be started")).count();
    assert_eq!(told, 1);
    assert!(bench.daemon.status("uno")["problem"].is_null(), "it runs");
    let mut bench = Bench::new(Uno, "[\"no-such-program\"]");
    assert!(bench.daemon.wait_said("cannot be started").contains("write its whole path in `run`"));
    let mut bench = Bench::with(Uno, "[device.serial]\nrun = [\"./logger\"]", |folder| {
        fs::write(folder.join("logger"), LOGGER).unwrap();
    });
    assert!(bench.daemon.wait_said("cannot be started").contains("chmod +x"));
}

#[test]
fn a_stubborn_one_is_killed_with_all_that_it_started() {
    let run = "[\"sh\", \"-c\", \"trap '' TERM; sleep 60 & echo $! >child; wait\"]";
    let bench = Bench::new(Echo, run);
    let (pid, child) = (bench.pid(0), bench.lines("child", 1)[0].parse().unwrap());
    assert!(is_running(pid) && is_running(child));
    let mut events = Events::of(&bench.daemon);
    bench.unplug(&mut events);
    let end = events.wait("end", "echo");
    assert!(end["text"].as_str().unwrap().contains("was killed, because it had not ended 2 s after SIGTERM"), "{end}");
    wait_gone(pid);
    wait_gone(child);
    events.wait("start", "echo");
    assert_ne!(bench.pid(pid), pid);
}

#[test]
fn one_that_reads_nothing_gets_sigterm() {
    let run = "[\"sh\", \"-c\", \"trap 'echo terminated >&2; exit 5' TERM; sleep 60 & wait\"]";
    let mut bench = Bench::new(Echo, run);
    bench.pid(0);
    let mut events = Events::of(&bench.daemon);
    bench.unplug(&mut events);
    let end = events.wait("end", "echo");
    assert!(end["text"].as_str().unwrap().contains("ended with status 5: the device has gone"), "{end}");
    bench.daemon.wait_said("INFO echo: sh: terminated");
}

#[test]
fn one_that_is_stopped_ends_all_the_same() {
    let bench = Bench::new(Echo, "[\"sleep\", \"1000\"]");
    let pid = bench.pid(0);
    kill(pid, Signal::SIGSTOP);
    let mut events = Events::of(&bench.daemon);
    bench.unplug(&mut events);
    let end = events.wait("end", "echo");
    assert!(end["text"].as_str().unwrap().contains("was ended by SIGTERM: the device has gone"), "{end}");
}

#[test]
fn nothing_of_it_outlives_the_daemon() {
    let mut bench = logger(Uno, "");
    let pid = bench.pid(0);
    assert!(bench.daemon.end().success());
    assert!(!is_running(pid));
    bench.daemon.wait_said("the daemon lets go of the device");
    let mut killed = Bench::new(Echo, "[\"sleep\", \"1000\"]");
    let pid = killed.pid(0);
    killed.daemon.signal(Signal::SIGKILL);
    killed.daemon.wait_end();
    wait_gone(pid);
    let mut hurried = Bench::new(Echo, "[\"sh\", \"-c\", \"trap '' TERM; cat; echo >ended; sleep 60\"]");
    let pid = hurried.pid(0);
    hurried.daemon.signal(Signal::SIGTERM);
    hurried.lines("ended", 1);
    hurried.daemon.signal(Signal::SIGTERM);
    hurried.daemon.wait_end();
    wait_gone(pid);
}

/// Notes who it is, and starts three programs: one of its group, one that has left that, and one whose parent has ended.
const PARENT: &str = "#!/bin/sh\n\
    trap '' TERM\nsleep 1001 & echo $! >>all\nsetsid sleep 1002 & echo $! >>all\n\
    (setsid sh -c 'echo $$ >>all; exec sleep 1003' &)\necho $$ >>all\ncat\nsleep 60\n";

#[test]
fn all_that_it_started_ends_with_it_however_its_daemon_or_it_ends() {
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let rest = "[device.serial]\nrun = [\"./parent\"]";
        let mut bench = Bench::with(Echo, rest, |folder| script(&folder.join("parent"), PARENT));
        let all: Vec<u32> = bench.lines("all", 4).iter().map(|line| number(line)).collect();
        assert!(all.iter().all(|&pid| is_running(pid)), "{all:?}");
        bench.daemon.signal(signal);
        bench.daemon.wait_end();
        all.into_iter().for_each(wait_gone);
    }
    // By itself: those that have left its group go as well.
    let rest = "[device.serial]\nrun = [\"sh\", \"-c\", \"setsid sleep 1004 & echo $! >>all; sleep 1\"]";
    let bench = Bench::with(Echo, rest, |_| {});
    bench.lines("all", 2).iter().take(1).for_each(|line| wait_gone(number(line)));
}

#[test]
fn a_reload_restarts_it_only_where_the_configuration_changed() {
    let mut bench = Bench::new(Echo, "[\"sleep\", \"1000\"]");
    let pid = bench.pid(0);
    let file = bench.daemon.dir.with_extension("toml");
    let reload = |daemon: &mut Daemon, config: &str, times: usize| {
        fs::write(&file, config).unwrap();
        daemon.signal(Signal::SIGHUP);
        let mut count = || daemon.said().iter().filter(|l| l.contains("read again")).count();
        wait_for(|| (count() >= times).then_some(()), || "the configuration was not read again".into());
    };
    let config = fs::read_to_string(&file).unwrap();
    reload(&mut bench.daemon, &format!("# the same\n{config}"), 1);
    assert_eq!(bench.pid(0), pid);
    reload(&mut bench.daemon, &config.replace("1000", "999"), 2);
    assert!(!is_running(pid));
    let other = bench.pid(pid);
    let words = fs::read(format!("/proc/{other}/cmdline")).unwrap();
    assert_eq!(words, b"sleep\x00999\0");
    reload(&mut bench.daemon, &config.replace("run =", "# run ="), 3);
    assert!(!is_running(other));
}

#[test]
fn it_waits_while_the_board_is_lent_and_goes_on() {
    let bench = logger(Uno, "unplug = \"eof\"");
    bench.lines("heard", 1);
    let mut events = Events::of(&bench.daemon);
    assert!(bench.daemon.ask(&["release", "uno", "--", "true"]).status.success());
    events.wait("attach", "uno");
    bench.daemon.writer("uno/serial.tx").write_all(b"PING after\n").unwrap();
    bench.wait_heard("PONG after");
    assert_eq!(bench.lines("started", 1).len(), 1);
}

#[test]
fn it_stays_through_touch_bootloader_and_return() {
    let bench = logger(Leonardo, "");
    bench.lines("heard", 1);
    assert_eq!(bench.daemon.answer(&["serial", "leonardo", "touch"]), "ok");
    let is_back = |s: &Value| s["state"] == "attached" && s["id"] == "2341:8036" && s["sessions"] == 3;
    bench.daemon.wait_status("leonardo", is_back);
    bench.daemon.writer("leonardo/serial.tx").write_all(b"PING back\n").unwrap();
    bench.wait_heard("PONG back");
    assert_eq!(bench.lines("started", 1).len(), 1);
}

#[test]
fn it_inherits_three_pipes_and_nothing_of_the_daemon() {
    let bench = Bench::with(Echo, "[device.serial]\noutlets = []\nrun = [\"sleep\", \"1000\"]", |_| {});
    let pid = bench.pid(0);
    let open = || {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().filter_map(Result::ok);
        let mut open: Vec<String> = open
            .filter_map(|entry| {
                let target = fs::read_link(entry.path()).ok()?.display().to_string();
                Some(format!("{} {}", entry.file_name().display(), target.split(':').next()?))
            })
            .collect();
        open.sort();
        open
    };
    // While it starts it opens and closes libraries.
    let is_sleep = || fs::read(format!("/proc/{pid}/cmdline")).unwrap() == b"sleep\x001000\0";
    let fits = || (is_sleep() && open() == ["0 pipe", "1 pipe", "2 pipe"]).then_some(());
    wait_for(fits, || format!("it has {:?}", open()));
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), bench.folder.path().canonicalize().unwrap());
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
    let environment = String::from_utf8_lossy(&environment).into_owned();
    assert!(environment.contains(&format!("USBPIPE_DIR={}\0", bench.daemon.dir.display())), "{environment}");
    wait_asleep(bench.daemon.child.id());
}

#[test]
fn a_program_is_started_anew_after_many_replugs_and_nothing_is_left_of_the_others() {
    let bench = Bench::new(Echo, "[\"sleep\", \"1000\"]");
    let mut events = Events::of(&bench.daemon);
    let mut pid = bench.pid(0);
    let before = bench.daemon.descriptors();
    for _ in 0..10 {
        bench.bus.command("unplug echo 20");
        events.wait("end", "echo");
        events.wait("start", "echo");
        let next = bench.pid(pid);
        assert!(!is_running(pid));
        pid = next;
    }
    let is_small = || (bench.daemon.descriptors() <= before).then_some(());
    wait_for(is_small, || format!("{} descriptors, before {before}", bench.daemon.descriptors()));
    let clients = |line: &str| bench.daemon.pipe("echo", line)["clients"].as_array().unwrap().len();
    assert_eq!([clients("serial.rx"), clients("serial.tx")], [1, 1]);
}
