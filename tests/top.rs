//! `usbpipe top`, as a person sees it on terminals of two sizes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
#[path = "common/tmux.rs"]
mod tmux;

use common::{Bus, Daemon, kill, read_exactly, usbpipe};
use firmware_mock::DeviceKind::{Knob, Zero};
use nix::sys::signal::Signal::SIGTERM;
use tmux::{Terminal, assert_looks};

/// Sizes of terminals: the smallest that people have, and a large one.
const SIZES: [(usize, usize); 2] = [(80, 24), (200, 60)];

/// The words of a table's row: device, pipe, type, direction, rate, total, programs, lost, errors and history.
fn row<'a>(screen: &'a [String], device: &str, pipe: &str) -> Vec<&'a str> {
    find_row(screen, device, pipe).unwrap_or_else(|| panic!("{screen:#?}"))
}

fn find_row<'a>(screen: &'a [String], device: &str, pipe: &str) -> Option<Vec<&'a str>> {
    let mut words = screen.iter().map(|line| line.split_whitespace().collect::<Vec<_>>());
    words.find(|w| w.len() > 8 && w[..2] == [device, pipe])
}

/// Waits for a screen that is drawn to its last line, which ends so.
fn wait_foot(terminal: &Terminal, end: &str) -> Vec<String> {
    terminal.wait(end, |screen| screen.last().is_some_and(|foot| foot.starts_with("q quit") && foot.ends_with(end)))
}

#[test]
fn rates_totals_and_programs_are_seen_at_both_sizes() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", ""));
    for (width, height) in SIZES {
        let Some(terminal) = Terminal::of_size(width, height) else { return };
        terminal.run(&["--dir", daemon.dir.to_str().unwrap(), "top"]);
        let screen = wait_foot(&terminal, "1\u{2013}4 of 4");
        assert!(screen[0].contains("1 devices, 1 attached"), "{screen:#?}");
        assert_eq!(
            screen[1].split_whitespace().collect::<Vec<_>>().join(" "),
            "DEVICE PIPE TYPE RATE TOTAL CLI LOST ERR HISTORY"
        );
        assert_eq!(screen.len(), height);
        assert_eq!(row(&screen, "zero", "ep_01")[2..9], ["bulk", "out", "0B/s", "0B", "0", "0", "0"]);
        let path = daemon.path("zero/ep_81").display().to_string();
        assert!(screen.contains(&path), "the first pipe is selected: {screen:#?}");

        let source = daemon.reader("zero/ep_81");
        let moved = daemon.count("zero", "ep_81", "bytes");
        let (source, _) = read_exactly(source, 3_000_000);
        // It may have looked before all of that had come.
        let busy = |screen: &[String]| {
            let row = find_row(screen, "zero", "ep_81");
            row.is_some_and(|row| row[5].ends_with("MB") && row.last().unwrap().contains('\u{2588}'))
        };
        let screen = terminal.wait("bar", busy);
        let words = row(&screen, "zero", "ep_81");
        assert_eq!(words[6], "1", "{words:?} after {moved} bytes");
        let is_named = screen.iter().any(|line| line.trim_start().starts_with("fifo"));
        assert_eq!(is_named, height == 60, "where there is room, programs are named: {screen:#?}");
        drop(source);
        terminal
            .wait("end of the program", |screen| find_row(screen, "zero", "ep_81").is_some_and(|row| row[6] == "0"));
        terminal.press(&["q"]);
        terminal.assert_given_back(0);
    }
}

#[test]
fn a_hundred_devices_are_scrolled_through_to_the_last() {
    let bus = Bus::with(&[Knob; 100]);
    let config: String = bus.busids.iter().map(|(name, _)| bus.device(name, "")).collect();
    let daemon = Daemon::run(&config);
    let mut names: Vec<&str> = bus.busids.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    for (width, height) in SIZES {
        let Some(mut terminal) = Terminal::of_size(width, height) else { return };
        terminal.run(&["--dir", daemon.dir.to_str().unwrap(), "top"]);
        let screen = wait_foot(&terminal, " of 200");
        assert!(screen[0].contains("100 devices, 100 attached"), "{screen:#?}");
        assert_eq!(screen.len(), height);
        let seen = |screen: &[String]| {
            screen.iter().filter(|line| line.starts_with("knob") && line.contains(" intr ")).count()
        };
        let page = seen(&screen);
        // What is another each time: the run dir, and the port of the simulated devices.
        let (dir, port) = (daemon.dir.display().to_string(), format!(":{}/", bus.port));
        let text = screen.join("\n").replace(&dir, "/run/usbpipe").replace(&port, ":3240/");
        assert_looks(&format!("top-{width}x{height}"), &text);
        assert!(page > height / 2 && screen[height - 1].ends_with(&format!("1\u{2013}{page} of 200")), "{screen:#?}");
        assert_eq!(row(&screen, names[0], "ep_81")[2..4], ["intr", "in"]);

        terminal.press(&["NPage"]);
        wait_foot(&terminal, &format!("2\u{2013}{} of 200", page + 1));
        terminal.press(&["End"]);
        let screen = wait_foot(&terminal, "200 of 200");
        assert_eq!(seen(&screen), page);
        let last = daemon.path(names[99]).join("ep_01").display().to_string();
        assert!(screen.contains(&last), "the last pipe is selected: {screen:#?}");
        row(&screen, names[99], "ep_01");

        terminal.press(&["Home"]);
        wait_foot(&terminal, &format!("1\u{2013}{page} of 200"));
        let busy = daemon.reader(&format!("{}/ep_81", names[70]));
        let (busy, _) = read_exactly(busy, 16);
        terminal.press(&["s"]);
        terminal.wait("the fastest first", |screen| screen[2].starts_with(names[70]));
        drop(busy);

        terminal.resize(width - 10, height - 4);
        terminal.wait("smaller table", |screen| screen.len() == height - 4 && screen[1].starts_with("DEVICE"));
        terminal.press(&["C-c"]);
        terminal.assert_given_back(0);
    }
}

#[test]
fn unplugs_and_losses_are_seen_and_sigterm_gives_the_terminal_back() {
    let bus = Bus::with(&[Zero]);
    let mut daemon = Daemon::run(&bus.device("zero", ""));
    let Some(terminal) = Terminal::of_size(80, 24) else { return };
    terminal.run(&["--dir", daemon.dir.to_str().unwrap(), "top"]);
    terminal.wait_text("1 devices, 1 attached");
    bus.command("stall zero 0x81");
    let (source, _) = read_exactly(daemon.reader("zero/ep_81"), 512);
    let screen = terminal.wait("a stall", |screen| find_row(screen, "zero", "ep_81").is_some_and(|row| row[8] == "1"));
    assert!(screen.iter().any(|line| line.contains("1 stalls")), "{screen:#?}");
    drop(source);
    bus.command("unplug zero 3000");
    let screen = terminal.wait_text("1 devices, 0 attached");
    assert_eq!(row(&screen, "zero", "ep_81")[2], "gone");
    assert!(screen.iter().any(|line| line.ends_with("searching")), "{screen:#?}");
    terminal.wait_text("1 devices, 1 attached");
    daemon.end();
    terminal.wait_text("no daemon runs in");
    kill(terminal.child(), SIGTERM);
    terminal.assert_given_back(0);
}

#[test]
fn without_a_terminal_or_a_daemon_it_says_what_to_run() {
    let bus = Bus::with(&[Zero]);
    let daemon = Daemon::run(&bus.device("zero", ""));
    let output = daemon.ask(&["top"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("usbpipe status"));
    let output = usbpipe().args(["--dir", "/nowhere", "top"]).output().unwrap();
    assert!(output.status.code() == Some(1) && String::from_utf8(output.stderr).unwrap().contains("no daemon runs"));
}
