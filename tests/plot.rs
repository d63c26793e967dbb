//! `usbpipe plot`, as a person sees it on terminals of two sizes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
#[path = "common/tmux.rs"]
mod tmux;

use std::fs::File;
use std::io::Write;

use common::{Bus, Daemon, kill, read_line};
use firmware_mock::DeviceKind::Echo;
use nix::sys::signal::Signal::SIGTERM;
use tmux::{Terminal, assert_looks};

/// A terminal with a plot of this device, once it looks on.
fn plot(daemon: &Daemon, device: &str, width: usize, height: usize) -> Option<Terminal> {
    let terminal = Terminal::of_size(width, height)?;
    terminal.run(&["--dir", daemon.dir.to_str().unwrap(), "plot", device]);
    terminal.wait_text("waiting for lines with numbers");
    Some(terminal)
}

/// Lets the device say this.
fn say(mut to: &File, text: &str) {
    to.write_all(text.as_bytes()).unwrap();
}

/// A saw and a straight line, with what else a board says in between.
fn sketch() -> String {
    let mut text = "READY\ntemp,level\n".to_owned();
    for n in 0..100 {
        text += &format!("{},{}\n", n % 20 * 5, 20.5);
    }
    text + "PONG 1\n"
}

#[test]
fn curves_look_as_they_did_when_somebody_last_looked() {
    for (width, height) in [(80, 24), (200, 60)] {
        let bus = Bus::with(&[Echo]);
        let daemon = Daemon::run(&bus.device("echo", ""));
        let Some(terminal) = plot(&daemon, "echo", width, height) else { return };
        say(&daemon.writer("echo/serial.tx"), &sketch());
        let screen = terminal
            .wait("all lines", |screen| screen[0] == "echo   100 lines   1 without numbers" && screen.len() == height);
        let foot = "q quit   space pause   + - zoom   c clear";
        assert_eq!(
            [screen[height - 2].as_str(), &screen[height - 1]],
            ["\u{25a0} temp 95   \u{25a0} level 20.5", foot]
        );
        assert_looks(&format!("plot-{width}x{height}"), &screen.join("\n"));
        terminal.press(&["q"]);
        terminal.assert_given_back(0);
    }
}

#[test]
fn one_of_a_hundred_devices_is_plotted_and_its_readers_lose_nothing() {
    let bus = Bus::with(&[Echo; 100]);
    let config: String = bus.busids.iter().map(|(name, _)| bus.device(name, "")).collect();
    let daemon = Daemon::run(&config);
    for (width, height) in [(80, 24), (200, 60)] {
        let Some(terminal) = plot(&daemon, "echo-70", width, height) else { return };
        let (line, to) = (daemon.reader("echo-70/serial.rx"), daemon.writer("echo-70/serial.tx"));
        let with_both = |pipe: &serde_json::Value| pipe["clients"].as_array().unwrap().len() == 2;
        daemon.wait_pipe("echo-70", "serial.rx", with_both);
        let names: Vec<String> = (0..12).map(|n| format!("sensor_{n}")).collect();
        for n in 0..50 {
            let numbers: Vec<String> =
                names.iter().enumerate().map(|(at, name)| format!("{name}:{}", n * at)).collect();
            let text = numbers.join(" ");
            say(&to, &format!("{text}\n"));
            assert_eq!(read_line(&line), text);
        }
        let screen = terminal.wait("all lines", |screen| screen[0] == "echo-70   50 lines" && screen.len() == height);
        let screen = screen.join(" ");
        for (at, name) in names.iter().enumerate() {
            assert!(screen.contains(&format!("\u{25a0} {name} {}", 49 * at)), "{name}: {screen}");
        }
        assert!(screen.contains("500") && screen.contains("now"), "the axes have marks: {screen}");
        terminal.press(&["C-c"]);
        terminal.assert_given_back(0);
    }
}

#[test]
fn it_pauses_zooms_clears_and_lives_through_unplugs() {
    let bus = Bus::with(&[Echo]);
    let daemon = Daemon::run(&bus.device("echo", ""));
    let Some(terminal) = plot(&daemon, "echo", 80, 24) else { return };
    let to = daemon.writer("echo/serial.tx");
    say(&to, "1\n2\n");
    terminal.wait_text("value 1 2");
    terminal.wait_text("-79");
    terminal.press(&["+"]);
    terminal.wait_text("-39");
    terminal.press(&["Space"]);
    terminal.wait_text("echo   2 lines   paused");
    say(&to, "3\n4\n");
    daemon.wait_count("echo", "serial.rx", "bytes", 8);
    terminal.press(&["-"]);
    assert!(terminal.wait_text("-79")[0].contains("2 lines"), "it stands still");
    terminal.press(&["Space"]);
    terminal.wait_text("echo   4 lines");
    terminal.press(&["c"]);
    terminal.wait_text("echo   0 lines");
    bus.command("unplug echo 2000");
    terminal.wait_text("waiting for the device");
    terminal.wait("the device again", |screen| screen[0] == "echo   0 lines");
    say(&to, "5\n");
    terminal.wait_text("value 1 5");
    kill(terminal.child(), SIGTERM);
    terminal.assert_given_back(0);
}

#[test]
fn it_draws_what_there_is_room_for() {
    let bus = Bus::with(&[Echo]);
    let daemon = Daemon::run(&bus.device("echo", ""));
    let Some(mut terminal) = plot(&daemon, "echo", 80, 24) else { return };
    say(&daemon.writer("echo/serial.tx"), "5\n");
    terminal.wait_text("value 1 5");
    for (width, height, last) in [(20, 5, "echo"), (3, 2, ""), (80, 24, "value 1 5")] {
        terminal.resize(width, height);
        terminal.wait("screen of that size", |screen| screen.len() == height && screen.concat().contains(last));
    }
    kill(terminal.child(), SIGTERM);
    terminal.wait("prompt", |screen| screen.iter().rfind(|line| !line.is_empty()).is_some_and(|line| line == "$"));
}
