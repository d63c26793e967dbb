//! Boards as somebody meets them who develops firmware: when they are reset, how they boot, and where they go then.

use std::io::Write;
use std::time::{Duration, Instant};

use firmware_mock::DeviceKind;

use crate::board::Board;
use crate::common::events::Events;
use crate::common::{Bus, Daemon, identity, is_left, read_line};

/// A daemon with an uno, of which nobody has anything open yet and which greets nobody any more.
fn uno(serial: &str) -> (Bus, Daemon) {
    let bus = Bus::with(&[DeviceKind::Uno]);
    let greeted = Daemon::run(&bus.device("uno", "[device.serial]\n"));
    let (answers, mut lines) = (greeted.reader("uno/serial.rx"), greeted.writer("uno/serial.tx"));
    writeln!(lines, "PING").unwrap();
    while read_line(&answers) != "PONG" {}
    drop(greeted);
    let daemon = Daemon::run(&bus.device("uno", &format!("[device.serial]\n{serial}")));
    (bus, daemon)
}

/// Waits until the daemon has noticed that nobody has the line open any more.
fn wait_closed(daemon: &Daemon) {
    for outlet in ["serial.rx", "serial.tx"] {
        daemon.wait_pipe("uno", outlet, |pipe| pipe["open"] == false);
    }
}

/// As `exec 3<serial.rx; echo STATUS >serial.tx`: what comes before the status, and how often the board was reset.
fn open_and_ask(daemon: &Daemon) -> (Vec<String>, String) {
    let (answers, mut lines) = (daemon.reader("uno/serial.rx"), daemon.writer("uno/serial.tx"));
    writeln!(lines, "STATUS").unwrap();
    let mut before = Vec::new();
    loop {
        let line = read_line(&answers);
        match line.rsplit_once("resets=") {
            Some((_, resets)) => return (before, resets.to_owned()),
            None => before.push(line),
        }
    }
}

#[test]
fn reset_on_open_resets_for_whoever_comes_first_and_for_nobody_else() {
    let (_bus, daemon) = uno("reset = \"on-open\"\n");
    for opening in 1..=3 {
        let answers = daemon.reader("uno/serial.rx");
        assert_eq!(read_line(&answers), "READY");
        for n in 0..3 {
            let mut lines = daemon.writer("uno/serial.tx");
            writeln!(lines, "PING {n}").unwrap();
            assert_eq!(read_line(&answers), format!("PONG {n}"), "a second outlet resets nothing");
            drop(lines);
            daemon.wait_pipe("uno", "serial.tx", |pipe| is_left(pipe, 1));
        }
        let mut lines = daemon.writer("uno/serial.tx");
        writeln!(lines, "STATUS").unwrap();
        let status = read_line(&answers);
        assert!(status.ends_with(&format!(" dtr=0 resets={opening}")), "{status}");
        drop((answers, lines));
        wait_closed(&daemon);
    }
}

#[test]
fn what_is_written_at_an_opening_reaches_the_board_after_its_reset() {
    let (_bus, daemon) = uno("reset = \"on-open\"\nboot_wait = \"300ms\"\n");
    for _ in 0..3 {
        let (before, _) = open_and_ask(&daemon);
        assert_eq!(before, ["READY"]);
        wait_closed(&daemon);
    }
}

#[test]
fn reset_if_idle_leaves_a_line_alone_that_was_in_use_a_moment_ago() {
    let (_bus, daemon) = uno("reset = \"if-idle\"\n");
    assert_eq!(open_and_ask(&daemon), (vec!["READY".to_owned()], "1".to_owned()));
    for _ in 0..3 {
        wait_closed(&daemon);
        assert_eq!(open_and_ask(&daemon), (vec![], "1".to_owned()));
    }
}

#[test]
fn plugging_in_resets_nothing_beside_what_it_does_itself() {
    let board = Board::with(DeviceKind::Uno, "uno", "reset = \"on-open\"\n");
    board.bus.command("unplug uno 50");
    board.daemon.wait_status("uno", |s| s["state"] == "attached" && s["sessions"] == 2);
    board.wait_boot();
    assert_eq!(board.status("resets"), "0", "the same programs go on with a board that has just come up");
}

#[test]
fn a_board_that_boots_is_sent_nothing_before_its_time() {
    let board = Board::with(DeviceKind::Uno, "uno", "boot_wait = \"700ms\"\n");
    assert_eq!(board.ask("PING 1"), "PONG 1");
    let reset = Instant::now();
    assert_eq!(board.serial(&["reset"]), "ok");
    assert_eq!(board.ask("PING 2"), "READY");
    assert_eq!(read_line(&board.answers), "PONG 2");
    assert!(reset.elapsed() > Duration::from_millis(700), "{:?}", reset.elapsed());
    let plugged = Instant::now();
    board.bus.command("unplug uno 50");
    board.daemon.wait_status("uno", |s| s["state"] == "attached" && s["sessions"] == 2);
    board.say("PING 3");
    while read_line(&board.answers) != "PONG 3" {}
    assert!(plugged.elapsed() > Duration::from_millis(700), "{:?}", plugged.elapsed());
}

/// A leonardo of which the configuration knows the application's ids alone, and not its place. With `eof` an unplug would
/// end what programs have open.
fn leonardo() -> Board {
    let bus = Bus::with(&[DeviceKind::Leonardo]);
    let config = format!(
        "[[device]]\nname = \"leonardo\"\nremote = \"usbip://127.0.0.1:{}\"\nmatch = {{ vid = 0x2341, pid = 0x8036 }}\n\
         unplug = \"eof\"\n[device.serial]\nbaud = 57600\n",
        bus.port
    );
    let daemon = Daemon::run(&config);
    let (answers, lines) = (daemon.reader("leonardo/serial.rx"), daemon.writer("leonardo/serial.tx"));
    let board = Board { name: "leonardo", daemon, answers, lines, bus };
    board.wait_boot();
    board
}

#[test]
fn a_monitor_stays_open_through_touch_bootloader_and_return_of_a_leonardo() {
    let board = leonardo();
    let mut events = Events::of(&board.daemon);
    let outlets = || ["serial.rx", "serial.tx"].map(|end| identity(&board.daemon.path(&format!("leonardo/{end}"))));
    let before = outlets();
    assert_eq!(board.serial(&["touch"]), "ok");
    let status = board.daemon.wait_status("leonardo", |s| s["state"] == "attached" && s["id"] == "2341:0036");
    assert_eq!(status["board"], "Arduino Leonardo (bootloader)");
    (&board.lines).write_all(b"?").unwrap();
    assert_eq!(read_line(&board.answers), "BOOT");
    let status = board.daemon.wait_status("leonardo", |s| s["state"] == "attached" && s["id"] == "2341:8036");
    assert_eq!(status["board"], "Arduino Leonardo");
    board.wait_boot();
    assert_eq!(board.ask("PING 1"), "PONG 1");
    for event in ["reset", "pause", "detach", "attach", "detach", "resume", "attach"] {
        events.wait(event, "leonardo");
    }
    assert_eq!(outlets(), before);
}

#[test]
fn a_speed_of_1200_left_behind_is_a_touch_once_and_not_at_each_return() {
    let board = leonardo();
    assert_eq!(board.serial(&["baud", "1200"]), "ok");
    board.daemon.wait_status("leonardo", |s| s["id"] == "2341:0036");
    board.daemon.wait_status("leonardo", |s| s["state"] == "attached" && s["id"] == "2341:8036");
    board.wait_boot();
    assert_eq!(board.status("baud"), "57600");
    assert_eq!(board.daemon.status("leonardo")["sessions"], 3);
}

#[test]
fn several_boards_are_reset_touched_and_released_without_disturbing_each_other() {
    let bus = Bus::with(&[DeviceKind::Uno, DeviceKind::Uno, DeviceKind::Leonardo]);
    let names: Vec<String> = bus.busids.iter().map(|(name, _)| name.clone()).collect();
    let config: String = names.iter().map(|name| bus.device(name, "[device.serial]\nreset = \"on-open\"\n")).collect();
    let daemon = Daemon::run(&config);
    let lines: Vec<_> = names
        .iter()
        .map(|name| (daemon.reader(&format!("{name}/serial.rx")), daemon.writer(&format!("{name}/serial.tx"))))
        .collect();
    let ask = |n: usize, line: &str| {
        let (answers, mut to) = (&lines[n].0, &lines[n].1);
        writeln!(to, "{line}").unwrap();
        loop {
            match read_line(answers) {
                greeting if greeting == "READY" => {}
                answer => return answer,
            }
        }
    };
    for n in 0..lines.len() {
        assert_eq!(ask(n, "PING 1"), "PONG 1");
    }
    assert_eq!(daemon.answer(&["release", &names[0]]), "ok");
    assert_eq!(daemon.answer(&["serial", &names[2], "touch"]), "ok");
    assert_eq!(ask(1, "PING 2"), "PONG 2");
    assert!(ask(1, "STATUS").ends_with(" resets=1"), "its own opening, and nobody else's");
    daemon.wait_status(&names[2], |s| s["state"] == "attached" && s["id"] == "2341:8036" && s["sessions"] == 3);
    assert_eq!(daemon.status(&names[0])["state"], "released");
    assert_eq!(daemon.answer(&["reclaim", &names[0]]), "ok");
    for n in 0..lines.len() {
        assert_eq!(ask(n, "PING 3"), "PONG 3");
    }
}

#[test]
fn known_boards_are_named() {
    let (bus, daemon) = uno("");
    assert_eq!(daemon.status("uno")["board"], "Arduino Uno");
    let listed = daemon.ask(&["list", "--remote", &format!("127.0.0.1:{}", bus.port)]).stdout;
    let listed = String::from_utf8(listed).unwrap();
    assert_eq!(
        listed.matches("2341:0043  Arduino Uno").count(),
        2,
        "as it is bridged, and as it is exported: {listed}"
    );
}
