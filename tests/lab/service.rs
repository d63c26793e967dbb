//! The Debian package and its service under a real systemd: installed, judged, started, killed, upgraded and purged.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::common::{Bus, kill, read_exactly, read_line, wait_for};
use crate::guest::{Guest, Package, access, property};
use crate::vitals::{inode, mode};
use firmware_mock::DeviceKind::{Echo, Knob, Regs, Tone, Uno, Zero};
use nix::sys::signal::Signal::SIGKILL;

#[test]
fn whoever_installs_the_package_has_no_failed_unit_and_who_purges_it_has_its_user_alone_left() {
    let Some(guest) = Guest::here() else { return };
    let package = guest.package();
    assert_eq!(guest.must(&["usbpipe", "--version"]), format!("usbpipe {}\n", env!("CARGO_PKG_VERSION")));
    for unit in ["usbpipe.service", "usbpipe.socket"] {
        assert_eq!(guest.must(&["systemctl", "is-enabled", unit]), "enabled\n");
        assert_eq!(property(unit, "ActiveState"), "inactive", "{unit}: without a configuration there is nothing to do");
    }
    assert_eq!(guest.must(&["systemctl", "--failed", "--quiet"]), "");
    assert_eq!(access(Path::new("/run/usbpipe")), "usbpipe 711");
    assert!(guest.must(&["id", "usbpipe"]).contains("(usbpipe)"));
    guest.must(&["usbpipe", "config", "check", "-c", "/usr/share/doc/usbpipe/examples/usbpipe.toml"]);
    for word in [
        "usbpipe.1.gz",
        "usbpipe-udev.1.gz",
        "man5/usbpipe.toml.5.gz",
        "completions/usbpipe",
        "_usbpipe",
        "usbpipe.fish",
        "60-usbpipe.rules",
    ] {
        assert!(package.files().iter().any(|f| f.to_string_lossy().ends_with(word)), "{word}: {:?}", package.files());
    }

    let files = package.files();
    package.purge();
    let left: Vec<_> = files.iter().filter(|f| f.exists()).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!Path::new("/run/usbpipe").exists());
    assert_eq!(property("usbpipe.socket", "LoadState"), "not-found");
    let links = guest.must(&["find", "/etc/systemd/system", "-name", "usbpipe*"]);
    assert_eq!(links, "", "links to units that are gone");
}

#[test]
fn systemd_finds_nothing_wrong_with_the_installed_units_and_little_to_fear() {
    let Some(guest) = Guest::here() else { return };
    let _package = guest.package();
    let verify =
        Command::new("systemd-analyze").args(["verify", "usbpipe.service", "usbpipe.socket"]).output().unwrap();
    assert!(verify.status.success() && verify.stderr.is_empty(), "{verify:?}");
    let judged = guest.must(&["systemd-analyze", "security", "--no-pager", "usbpipe.service"]);
    let (_, exposure) = judged.rsplit_once("Overall exposure level for usbpipe.service: ").unwrap();
    let exposure: f32 = exposure.split(' ').next().unwrap().parse().unwrap();
    assert!(exposure <= 2.0, "{judged}");
}

#[test]
fn the_service_reaches_devices_of_every_kind_without_any_right_but_its_groups() {
    let Some(guest) = Guest::here() else { return };
    let package = guest.package();
    let boards = own("regs", "1209", "0004") + &own("tone", "1209", "0003");
    let service = package.serve(&(boards.clone() + &own("uno", "2341", "0043") + KERNEL));
    assert_eq!(service.property("ActiveState"), "active");
    let pid = service.pid();

    // The drivers of the boards are loaded after the service began.
    let bus = Bus::with(&[Regs, Tone, Uno, Zero]);
    let regs = guest.attach(&bus, "regs", "1209:0004");
    service.wait_attached("regs");
    assert_eq!(access(&regs.device.node()), "usbpipe 660");
    assert_eq!(service.answer(&["control", "regs", "out 0x40 1 0 0 cafe"]), "ok");
    assert_eq!(service.answer(&["control", "regs", "in 0xc0 2 0 0 2"]), "ok cafe");

    // Isochronous endpoints are libusb's.
    let _tone = guest.attach(&bus, "tone", "1209:0003");
    service.wait_attached("tone");
    read_exactly(fs::File::open(service.path("tone/ep_83")).unwrap(), 192_000);

    let uno = guest.attach(&bus, "uno", "2341:0043");
    assert_eq!(access(&uno.device.port()), "dialout 660");
    service.wait_attached("uno");
    let lines = fs::File::open(service.path("uno/serial.rx")).unwrap();
    fs::File::options().write(true).open(service.path("uno/serial.tx")).unwrap().write_all(b"PING 1\n").unwrap();
    wait_for(|| (read_line(&lines).trim() == "PONG 1").then_some(()), || "no PONG".into());

    // Another over TCP, by a new configuration.
    fs::write("/etc/usbpipe/usbpipe.toml", boards + &bus.device("zero", "")).unwrap();
    guest.must(&["systemctl", "reload", "usbpipe.service"]);
    service.wait_attached("zero");
    assert_eq!(read_exactly(fs::File::open(service.path("zero/ep_81")).unwrap(), 3).1, [0, 1, 2]);

    assert_eq!(service.pid(), pid, "it is the same process all the time");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(line), "{line} is not in {status}");
    }
    assert_ne!(Path::new(&format!("/proc/{pid}")).metadata().unwrap().uid(), 0);
}

#[test]
fn a_killed_service_comes_back_with_the_same_names_and_misses_no_command() {
    let Some(guest) = Guest::here() else { return };
    let package = guest.package();
    let bus = Bus::with(&[Zero, Echo]);
    let service = package.serve(&(bus.device("zero", "") + &bus.device("echo", "")));
    service.wait_attached("zero");
    service.wait_attached("echo");
    let names = ["", "admin.sock", "zero", "zero/ep_81", "zero/ep_02", "zero/ep_00.request", "echo/serial.rx"];
    let inodes = || names.map(|name| inode(&service.path(name)));
    let (before, killed) = (inodes(), service.pid());

    kill(killed, SIGKILL);
    // The socket is systemd's: a command that comes now waits there for the next daemon.
    assert!(service.ask(&["status"]).status.success());
    service.wait_property("NRestarts", "1");
    service.wait_property("ActiveState", "active");
    assert_ne!(service.pid(), killed);
    service.wait_attached("zero");
    assert_eq!(inodes(), before);
    assert_eq!(read_exactly(fs::File::open(service.path("zero/ep_81")).unwrap(), 3).1, [0, 1, 2]);
}

#[test]
fn a_command_starts_the_service_through_its_socket() {
    let Some(guest) = Guest::here() else { return };
    let package = guest.package();
    let bus = Bus::with(&[Knob]);
    let service = package.listen(&bus.device("knob", ""));
    assert_eq!(service.property("ActiveState"), "inactive");
    let socket = service.path("admin.sock");
    assert_eq!((access(&socket), access(Path::new("/run/usbpipe"))), ("usbpipe 660".into(), "usbpipe 711".into()));
    let before = inode(&socket);

    service.wait_attached("knob");
    assert_eq!(service.property("ActiveState"), "active");
    guest.must(&["systemctl", "stop", "usbpipe.service"]);
    assert_eq!(service.property("Result"), "success");
    let left: Vec<_> = fs::read_dir("/run/usbpipe").unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["admin.sock"], "what the daemon made has gone");
    assert_eq!(inode(&socket), before);
    service.wait_attached("knob");
}

#[test]
fn a_device_starts_the_service_where_its_rules_say_so() {
    let Some(guest) = Guest::here() else { return };
    let package = guest.package();
    let service = package.listen(&own("regs", "1209", "0004"));
    let rules = guest.must(&["usbpipe", "udev", "--start", "1209:0004"]);
    let _rules = guest.rules("61-usbpipe-1209-0004.rules", &rules);
    let bus = Bus::with(&[Regs]);
    assert_eq!(service.property("ActiveState"), "inactive");
    let _board = guest.attach(&bus, "regs", "1209:0004");
    service.wait_property("ActiveState", "active");
    service.wait_attached("regs");
}

#[test]
fn members_of_the_group_use_the_service_and_others_do_not() {
    let Some(guest) = Guest::here() else { return };
    let package = guest.package();
    let (ada, bob) = (guest.person("ada"), guest.person("bob"));
    guest.must(&["usermod", "-aG", "usbpipe", "ada"]);
    let bus = Bus::with(&[Zero]);
    let service = package.serve(&bus.device("zero", ""));
    service.wait_attached("zero");
    assert_eq!(mode(&service.path("zero/ep_81")), 0o640);
    let source = service.path("zero/ep_81");

    let read = ada.command("head").args(["-c", "3"]).arg(&source).output().unwrap();
    assert_eq!(read.stdout, [0, 1, 2]);
    let asked = ada.ask(&["--dir", "/run/usbpipe", "status"]);
    assert!(asked.status.success(), "{asked:?}");
    let read = bob.command("head").args(["-c", "3"]).arg(&source).output().unwrap();
    assert!(!read.status.success() && read.stdout.is_empty(), "{read:?}");
    let asked = bob.ask(&["--dir", "/run/usbpipe", "status"]);
    let said = String::from_utf8_lossy(&asked.stderr);
    assert!(said.contains("you may not talk to the daemon in /run/usbpipe") && said.contains("group"), "{said}");
}

#[test]
fn an_upgrade_puts_the_new_daemon_in_the_place_of_the_old() {
    let Some(guest) = Guest::here() else { return };
    let package = guest.package();
    let bus = Bus::with(&[Zero]);
    let service = package.serve(&bus.device("zero", ""));
    let mut pids = vec![service.pid()];
    // What the package does is the last of these, in one go.
    let restart = |unit| drop(guest.must(&["systemctl", "restart", unit]));
    let steps: [&dyn Fn(); 3] = [&|| restart("usbpipe.service"), &|| restart("usbpipe.socket"), &Package::install];
    for step in steps {
        step();
        service.wait_property("ActiveState", "active");
        assert_eq!(property("usbpipe.socket", "ActiveState"), "active");
        service.wait_attached("zero");
        assert!(!pids.contains(&service.pid()));
        pids.push(service.pid());
    }
    assert_eq!(read_exactly(fs::File::open(service.path("zero/ep_81")).unwrap(), 3).1, [0, 1, 2]);
}

#[test]
fn a_configuration_with_a_mistake_fails_once_and_says_where() {
    let Some(guest) = Guest::here() else { return };
    let package = guest.package();
    let service = package.serve_failing("[[device]]\nname = \"x\"\nmach = { vid = 1 }\n");
    assert_eq!(service.property("Result"), "exit-code");
    assert_eq!((service.property("ExecMainStatus"), service.property("NRestarts")), ("2".into(), "0".into()));
    // What it said reaches the journal by itself, and may do so after its end.
    let journal = || guest.must(&["journalctl", "--no-pager", "--boot", "--unit=usbpipe.service", "--output=cat"]);
    wait_for(|| journal().contains("/etc/usbpipe/usbpipe.toml:3:1").then_some(()), journal);
}

/// A device of this machine in the configuration.
fn own(name: &str, vid: &str, pid: &str) -> String {
    format!("[[device]]\nname = \"{name}\"\nmatch = {{ vid = 0x{vid}, pid = 0x{pid} }}\n")
}

/// What follows a device whose serial port is the kernel's.
const KERNEL: &str = "[device.serial]\ndriver = \"kernel\"\n";
