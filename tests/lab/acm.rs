//! Serial lines on the real kernel: its own ACM gadget, a simulated Arduino and QEMU's FTDI chip, by the kernel's driver
//! and by the daemon's own.

mod crowd;
mod release;

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output};
use std::time::Duration;

use firmware_mock::DeviceKind;
use serde_json::Value;

use crate::common::bytes::{assert_same, random, read_in_chunks, write_in_chunks};
use crate::common::witness::Witness;
use crate::common::{Bus, Daemon, PATIENCE, read_line, wait_for, within};
use crate::guest::{Attached, FarEnd, Function, Gadget, Guest, UsbDevice};
use crate::vitals::descriptors_at_rest;

const KERNEL: &str = "[device.serial]\n";
const USER: &str = "detach = true\n[device.serial]\ndriver = \"user\"\n";
const IDS: &str = "1209:0ac0";

/// A `[[device]]` named `board` with these ids, followed by `rest`.
fn configured(ids: &str, rest: &str) -> String {
    let (vid, pid) = ids.split_once(':').unwrap();
    format!("[[device]]\nname = \"board\"\nmatch = {{ vid = 0x{vid}, pid = 0x{pid} }}\n{rest}\n")
}

/// The ACM gadget, bridged, with programs on both of its FIFOs and at its far end.
struct Line {
    daemon: Daemon,
    from: File,
    to: File,
    far: FarEnd,
    device: UsbDevice,
    gadget: Gadget,
}

impl Line {
    fn with(guest: &Guest, config: &str) -> Self {
        let gadget = guest.gadget(IDS, &[Function::acm()]);
        let device = gadget.plug();
        device.port();
        let far = FarEnd::of(&gadget);
        let daemon = Daemon::run(&configured(IDS, config));
        let (from, to) = (daemon.reader("board/serial.rx"), daemon.writer("board/serial.tx"));
        Self { daemon, from, to, far, device, gadget }
    }

    fn serial(&self, request: &[&str]) -> String {
        self.daemon.answer(&[&["serial", "board"], request].concat())
    }

    fn lines_go_both_ways(&self) {
        self.far.say("from the gadget\n");
        assert_eq!(read_line(&self.from), "from the gadget");
        (&self.to).write_all(b"to the gadget\n").unwrap();
        assert_eq!(self.far.hear(14), b"to the gadget\n");
    }

    /// Bytes without a pattern, at once in both directions.
    fn a_mebibyte_goes_both_ways(&self) {
        let sent = random(1 << 20, 41);
        self.far.echo();
        std::thread::scope(|scope| {
            let to = &self.to;
            scope.spawn(|| write_in_chunks(to, &sent, &[1, 63, 64, 65, 4096, 3, 10_000, 512]));
            read_in_chunks(&self.from, sent.len(), &[4096, 1, 100, 64, 9999], |offset, got| {
                assert_same(&sent[offset..offset + got.len()], got, offset);
            });
        });
    }
}

/// What the gadget's own driver says it was asked: the values of SET_CONTROL_LINE_STATE, bit 0 DTR, bit 1 RTS.
struct LineStates {
    since: String,
}

impl LineStates {
    fn from_now_on() -> Self {
        static MARKS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let mark = MARKS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // The stories of a boot, each a process of its own, share the log.
        let since = format!("lab: line states from here, {}-{mark}", std::process::id());
        fs::write("/sys/kernel/debug/dynamic_debug/control", "module usb_f_acm +p").unwrap();
        fs::write("/dev/kmsg", format!("<5>{since}\n")).unwrap();
        Self { since }
    }

    fn so_far(&self, guest: &Guest) -> Vec<u16> {
        let log = guest.must(&["dmesg"]);
        let (_, told) = log.split_once(&self.since).unwrap();
        let values = told.lines().filter_map(|l| l.split_once("req21.22 v")?.1.get(..4));
        values.map(|hex| u16::from_str_radix(hex, 16).unwrap()).collect()
    }

    fn wait_last(&self, guest: &Guest, expected: u16) {
        let fits = || (self.so_far(guest).last() == Some(&expected)).then_some(());
        wait_for(fits, || format!("line states: {:?}", self.so_far(guest)));
    }
}

#[test]
fn lines_go_both_ways_by_the_kernels_driver() {
    let Some(guest) = Guest::here() else { return };
    let line = Line::with(&guest, KERNEL);
    assert_eq!(line.daemon.status("board")["backend"], "serial");
    assert_eq!(line.device.driver(0).as_deref(), Some("cdc_acm"));
    line.lines_go_both_ways();
    line.a_mebibyte_goes_both_ways();
}

#[test]
fn lines_go_both_ways_by_our_own_driver() {
    let Some(guest) = Guest::here() else { return };
    let mut line = Line::with(&guest, USER);
    assert_eq!(line.daemon.status("board")["backend"], "nusb");
    assert_eq!(line.device.driver(0).as_deref(), Some("usbfs"));
    line.lines_go_both_ways();
    line.a_mebibyte_goes_both_ways();
    assert!(line.daemon.end().success());
    assert_eq!(line.device.driver(0).as_deref(), Some("cdc_acm"), "it has its driver back");
}

#[test]
fn speed_and_lines_reach_the_gadget_by_the_kernels_driver() {
    let Some(guest) = Guest::here() else { return };
    let states = LineStates::from_now_on();
    let mut line = Line::with(&guest, &format!("{KERNEL}baud = 57600\n"));
    states.wait_last(&guest, 0b11);
    let lines = line.serial(&["lines"]);
    assert!(lines.starts_with("ok dtr=on rts=on baud=57600 mode=8N1"), "{lines}");
    for (request, expected) in
        [(["dtr", "off"], 0b10), (["rts", "off"], 0b00), (["dtr", "on"], 0b01), (["rts", "on"], 0b11)]
    {
        assert_eq!(line.serial(&request), "ok");
        states.wait_last(&guest, expected);
    }
    assert_eq!(line.serial(&["baud", "250000"]), "ok");
    assert_eq!(line.serial(&["mode", "7E2"]), "ok");
    assert!(line.serial(&["lines"]).contains(" baud=250000 mode=7E2 "), "{}", line.serial(&["lines"]));
    let asked = states.so_far(&guest).len();
    assert!(line.daemon.end().success());
    assert_eq!(states.so_far(&guest).len(), asked, "closing leaves the lines as they are");
    let coding = ask_coding();
    assert_eq!(coding, "ok 90d00300020207", "250000 baud, 2 stop bits, even parity, 7 bits");
}

#[test]
fn speed_and_lines_reach_the_gadget_by_our_own_driver() {
    let Some(guest) = Guest::here() else { return };
    let states = LineStates::from_now_on();
    let line = Line::with(&guest, USER);
    line.lines_go_both_ways();
    assert!(states.so_far(&guest).is_empty(), "opening is silent: {:?}", states.so_far(&guest));
    assert_eq!(line.serial(&["dtr", "on"]), "ok");
    assert_eq!(states.so_far(&guest), [0b01]);
    assert_eq!(line.serial(&["rts", "on"]), "ok");
    assert_eq!(states.so_far(&guest), [0b01, 0b11]);
    assert_eq!(line.serial(&["baud", "250000"]), "ok");
    assert_eq!(line.serial(&["mode", "7E2"]), "ok");
    let coding = line.daemon.answer(&["control", "board", "in", "0xa1", "0x21", "0", "0", "7"]);
    assert_eq!(coding, "ok 90d00300020207");
}

/// The line coding as the device itself has it.
fn ask_coding() -> String {
    let daemon = Daemon::run(&configured(IDS, USER));
    daemon.answer(&["control", "board", "in", "0xa1", "0x21", "0", "0", "7"])
}

#[test]
fn the_far_ends_modem_lines_are_shown_as_they_are() {
    let Some(guest) = Guest::here() else { return };
    let line = Line::with(&guest, KERNEL);
    let shows = |expected: &str| {
        wait_for(|| line.serial(&["lines"]).contains(expected).then_some(()), || line.serial(&["lines"]));
    };
    shows(" dcd=on dsr=on ring=off cts=on");
    drop(line.far);
    let shows = |expected: &str| {
        let ask = || line.daemon.answer(&["serial", "board", "lines"]);
        wait_for(|| ask().contains(expected).then_some(()), ask);
    };
    shows(" dcd=off dsr=off ");
}

#[test]
fn nobody_else_gets_at_a_bridged_port() {
    let Some(guest) = Guest::here() else { return };
    let mut line = Line::with(&guest, KERNEL);
    let port = line.device.port();
    let flock = Command::new("flock").args(["--nonblock", "--conflict-exit-code", "9"]).arg(&port).arg("true").status();
    assert_eq!(flock.unwrap().code(), Some(9), "root");
    let cat = user_of_ports("cat").arg(&port).output().unwrap();
    assert!(String::from_utf8_lossy(&cat.stderr).contains("Device or resource busy"), "{cat:?}");
    line.lines_go_both_ways();
    assert!(line.daemon.end().success());
    let stty = user_of_ports("stty").arg("-F").arg(&port).output().unwrap();
    assert!(stty.status.success(), "{stty:?}");
}

#[test]
fn who_may_not_open_a_port_is_told_what_to_do() {
    let Some(guest) = Guest::here() else { return };
    let gadget = guest.gadget(IDS, &[Function::acm()]);
    let port = gadget.plug().port();
    let told = |group: Option<u32>| {
        let temp = tempfile::tempdir().unwrap();
        fs::set_permissions(temp.path(), Permissions::from_mode(0o777)).unwrap();
        let (dir, config) = (temp.path().join("run"), temp.path().join("usbpipe.toml"));
        fs::write(&config, configured(IDS, KERNEL)).unwrap();
        let mut command = guest.usbpipe_of_nobody();
        if let Some(group) = group {
            command.gid(group);
        }
        command.arg("run").arg("--dir").arg(&dir).arg("-c").arg(&config);
        Daemon::start(command, &dir).wait_said("board: ")
    };
    let refused = told(None);
    let port = port.display();
    let expected = format!("no permission to open {port}: {port} is for user root and group dialout (mode 0660); join");
    assert!(refused.contains(&expected) && refused.contains(&format!("usbpipe udev {port} |")), "{refused}");
    let attached = told(Some(dialout()));
    assert!(attached.contains("attach"), "{attached}");
}

#[test]
fn list_shows_ports_with_what_is_behind_them() {
    let Some(guest) = Guest::here() else { return };
    let line = Line::with(&guest, KERNEL);
    let port = line.device.port().display().to_string();
    let ports = |output: Output| -> Vec<Value> {
        let listing: Value = serde_json::from_slice(&output.stdout).unwrap();
        listing["ports"].as_array().unwrap().clone()
    };
    let listed = ports(line.daemon.ask(&["list", "--json"]));
    let ours = listed.iter().find(|p| p["path"] == port.as_str()).unwrap_or_else(|| panic!("{listed:#?}"));
    assert_eq!((&ours["id"], &ours["product"], &ours["bridged"]), (&IDS.into(), &"gadget".into(), &"board".into()));
    assert_eq!((&ours["port"], &ours["interface"]), (&line.device.busid.as_str().into(), &0.into()));
    assert_eq!((&ours["serial"], &ours["refused"]), (&line.device.attribute("serial").into(), &Value::Null));
    assert!(listed.iter().any(|p| p["path"] == "/dev/ttyS0" && p["id"].is_null()), "{listed:#?}");
    assert!(listed.iter().all(|p| p["path"] != "/dev/ttyS1"), "no UART is there: {listed:#?}");
    let listed = ports(guest.usbpipe_of_nobody().args(["list", "--json"]).output().unwrap());
    let refused = listed.iter().all(|p| p["refused"].as_str().unwrap().contains("group dialout"));
    assert!(refused && listed.len() >= 3, "{listed:#?}");
    let shown = String::from_utf8(line.daemon.ask(&["list"]).stdout).unwrap();
    assert!(shown.contains(&format!("{port}  {IDS}  \"gadget\"  \"LAB-")), "{shown}");
}

#[test]
fn programs_that_hold_their_ends_go_on_after_each_unplug() {
    let Some(guest) = Guest::here() else { return };
    let mut line = Line::with(&guest, &format!("{KERNEL}baud = 19200\n"));
    let inodes = |daemon: &Daemon| {
        ["rx", "tx"].map(|end| fs::metadata(daemon.path(&format!("board/serial.{end}"))).unwrap().ino())
    };
    let before = inodes(&line.daemon);
    let mut warm = 0;
    for round in 1..=10 {
        line.gadget.unplug();
        line.daemon.wait_status("board", |s| s["state"] != "attached");
        (&line.to).write_all(b"written while away\n").unwrap();
        line.gadget.plug();
        line.far = FarEnd::of(&line.gadget);
        line.daemon.wait_status("board", |s| s["state"] == "attached" && s["sessions"] == round + 1);
        assert_eq!(line.far.hear(19), b"written while away\n");
        line.lines_go_both_ways();
        if round == 5 {
            warm = descriptors_at_rest(&line.daemon);
        }
    }
    assert_eq!(descriptors_at_rest(&line.daemon), warm);
    assert_eq!(inodes(&line.daemon), before);
    assert!(line.serial(&["lines"]).contains(" baud=19200 "));
}

#[test]
fn a_port_that_goes_while_nobody_reads_is_noticed() {
    let Some(guest) = Guest::here() else { return };
    let Line { daemon, from, to, gadget, far: _far, .. } = Line::with(&guest, KERNEL);
    drop((from, to));
    daemon.wait_pipe("board", "serial.tx", |pipe| pipe["open"] == false);
    gadget.unplug();
    daemon.wait_status("board", |s| s["state"] != "attached");
}

#[test]
fn a_device_that_takes_nothing_does_not_hold_up_the_end() {
    let Some(guest) = Guest::here() else { return };
    let mut line = Line::with(&guest, KERNEL);
    let mut to = line.to.try_clone().unwrap();
    // More than all buffers on the way hold. It gets EPIPE in the end.
    let writer = std::thread::spawn(move || to.write_all(&random(1 << 20, 3)));
    line.daemon.wait_count("board", "serial.tx", "bytes", 60_000);
    let witness = Witness::start();
    assert!(line.daemon.end().success());
    witness.assert_within(Duration::from_secs(5));
    within(PATIENCE, || writer.join().unwrap().unwrap_err());
}

/// A simulated Arduino, attached to this kernel as if it were hardware.
struct Uno {
    daemon: Daemon,
    answers: File,
    lines: File,
}

impl Uno {
    const IDS: &str = "2341:0043";

    fn attach(guest: &Guest) -> (Bus, Attached) {
        let bus = Bus::with(&[DeviceKind::Uno]);
        let attached = guest.attach(&bus, "uno", Self::IDS);
        attached.device.port();
        (bus, attached)
    }

    fn open(config: &str) -> Self {
        let daemon = Daemon::run(&configured(Self::IDS, config));
        let (answers, lines) = (daemon.reader("board/serial.rx"), daemon.writer("board/serial.tx"));
        let board = Self { daemon, answers, lines };
        board.wait_boot();
        board
    }

    /// A board that has just come up may greet whoever listens.
    fn wait_boot(&self) {
        self.say("PING boot");
        while read_line(&self.answers) != "PONG boot" {}
    }

    fn say(&self, line: &str) {
        (&self.lines).write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// The answer to `STATUS` from `baud=` on.
    fn status(&self) -> String {
        self.say("STATUS");
        let answer = read_line(&self.answers);
        answer.split_once(" baud=").unwrap_or_else(|| panic!("{answer:?}")).1.to_owned()
    }

    fn serial(&self, request: &[&str]) {
        assert_eq!(self.daemon.answer(&[&["serial", "board"], request].concat()), "ok", "to {request:?}");
    }
}

#[test]
fn our_own_driver_leaves_dtr_alone_at_every_opening() {
    let Some(guest) = Guest::here() else { return };
    let (_bus, attached) = Uno::attach(&guest);
    for _ in 0..3 {
        let mut board = Uno::open(USER);
        assert!(board.status().ends_with(" dtr=0 resets=0"), "{}", board.status());
        assert!(board.daemon.end().success());
        assert_eq!(attached.device.driver(0).as_deref(), Some("cdc_acm"));
    }
    let board = Uno::open(USER);
    board.serial(&["baud", "57600"]);
    board.serial(&["dtr", "on"]);
    assert_eq!(read_line(&board.answers), "READY");
    assert_eq!(board.status(), "57600 dtr=1 resets=1");
}

#[test]
fn the_kernels_driver_raises_dtr_once_and_closing_does_not_drop_it() {
    let Some(guest) = Guest::here() else { return };
    let (_bus, _attached) = Uno::attach(&guest);
    for _ in 0..3 {
        let mut board = Uno::open(&format!("{KERNEL}baud = 57600\n"));
        assert_eq!(board.status(), "57600 dtr=1 resets=1");
        assert!(board.daemon.end().success());
    }
    let board = Uno::open(KERNEL);
    board.serial(&["dtr", "off"]);
    assert_eq!(board.status(), "57600 dtr=0 resets=1");
    board.serial(&["reset"]);
    assert_eq!(read_line(&board.answers), "READY");
    assert_eq!(board.status(), "57600 dtr=0 resets=2", "off, as it was before");
    board.serial(&["dtr", "on"]);
    assert_eq!(read_line(&board.answers), "READY");
    board.serial(&["reset", "wiring"]);
    assert_eq!(read_line(&board.answers), "READY");
    assert_eq!(board.status(), "57600 dtr=1 resets=4", "on, as it was before");
}

/// Programs that make looking through /proc slow and every wakeup late.
struct Crowd(Vec<Child>);

impl Crowd {
    fn of(idle: usize, busy: usize) -> Self {
        let run = |words: &[&str]| Command::new(words[0]).args(&words[1..]).spawn().unwrap();
        let sleepers = (0..idle).map(|_| run(&["sleep", "600"]));
        Self(sleepers.chain((0..busy).map(|_| run(&["sh", "-c", "while :; do :; done"]))).collect())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(|child| drop((child.kill(), child.wait())));
    }
}

/// The kernel's driver raises DTR at opening, so that the board speaks right after it. It must not hear itself.
#[test]
fn on_a_crowded_machine_the_first_question_is_answered_and_the_board_hears_nothing_else() {
    let Some(guest) = Guest::here() else { return };
    let _crowd = Crowd::of(250, 2);
    for _ in 0..5 {
        let (_bus, _attached) = Uno::attach(&guest);
        let daemon = Daemon::run(&configured(Uno::IDS, KERNEL));
        let (answers, lines) = (daemon.reader("board/serial.rx"), daemon.writer("board/serial.tx"));
        (&lines).write_all(b"PING first\n").unwrap();
        let heard: Vec<String> = std::iter::repeat_with(|| read_line(&answers)).take(2).collect();
        assert_eq!(heard, ["READY", "PONG first"]);
    }
}

#[test]
fn a_board_that_is_detached_and_attached_again_is_found_again() {
    let Some(guest) = Guest::here() else { return };
    let (bus, mut attached) = Uno::attach(&guest);
    let board = Uno::open(KERNEL);
    for round in 1..=4 {
        drop(attached);
        board.daemon.wait_status("board", |s| s["state"] != "attached");
        board.say("PING while away");
        attached = guest.attach(&bus, "uno", Uno::IDS);
        board.daemon.wait_status("board", |s| s["state"] == "attached" && s["sessions"] == round + 1);
        while read_line(&board.answers) != "PONG while away" {}
    }
}

#[test]
fn a_touch_by_the_kernels_driver_sends_the_board_into_its_bootloader() {
    let Some(guest) = Guest::here() else { return };
    let bus = Bus::with(&[DeviceKind::Leonardo]);
    let attached = guest.attach(&bus, "leonardo", "2341:8036");
    attached.device.port();
    let daemon = Daemon::run(&configured("2341:8036", KERNEL));
    assert_eq!(daemon.answer(&["serial", "board", "touch"]), "ok");
    daemon.wait_status("board", |s| s["state"] != "attached");
}

#[test]
fn a_chip_that_is_no_cdc_acm_works_as_well() {
    let Some(_guest) = Guest::here() else { return };
    let port = UsbDevice::wait("0403:6001").port();
    assert!(port.to_str().unwrap().starts_with("/dev/ttyUSB"), "{port:?}");
    let far = FarEnd::open(Path::new("/dev/virtio-ports/ftdi"));
    let daemon = Daemon::run(&configured("0403:6001", &format!("backend = \"serial\"\n{KERNEL}baud = 115200\n")));
    let (from, to) = (daemon.reader("board/serial.rx"), daemon.writer("board/serial.tx"));
    far.say("from afar\n");
    assert_eq!(read_line(&from), "from afar");
    (&to).write_all(b"into the distance\n").unwrap();
    assert_eq!(far.hear(18), b"into the distance\n");
    let serial = |request: &[&str]| daemon.answer(&[&["serial", "board"], request].concat());
    for request in [&["baud", "9600"][..], &["mode", "7E2"], &["dtr", "off"], &["rts", "pulse", "20"], &["break", "20"]]
    {
        assert_eq!(serial(request), "ok", "to {request:?}");
    }
    let lines = serial(&["lines"]);
    assert!(lines.starts_with("ok dtr=off rts=off baud=9600 mode=7E2 "), "{lines}");
}

/// A command that is run by somebody who may use serial ports and nothing else.
fn user_of_ports(program: &str) -> Command {
    let mut command = Command::new(program);
    command.uid(NOBODY).gid(dialout());
    command
}

/// The number of the group that udev gives serial ports to.
fn dialout() -> u32 {
    nix::unistd::Group::from_name("dialout").unwrap().unwrap().gid.as_raw()
}

const NOBODY: u32 = 65534;
