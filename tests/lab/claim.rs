//! Which device is taken, and from whom: kernel drivers get their interfaces back, equal boards are told apart, a board
//! may come back under other ids, and a sleeping one is woken.

use std::fs;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::common::bytes::{assert_same, pattern, read_in_chunks};
use crate::common::{Daemon, wait_for};
use crate::guest::{Function, Guest};
use crate::vitals::{Events, inode};

const TAKEN: &str = "[[device]]\nname = \"g\"\nmatch = { vid = 0x1209, pid = 0xf001 }\ndetach = true\n";
const NOTHING_OF_IT: &str = "[[device]]\nname = \"absent\"\nmatch = { vid = 0x1209, pid = 0xf00f }\n";

fn expect_source(daemon: &Daemon, outlet: &str) {
    let expected = pattern(512 + 65536);
    read_in_chunks(&daemon.reader(outlet), 1 << 20, &[65536], |offset, got| {
        assert_same(&expected[offset % 512..offset % 512 + got.len()], got, offset);
    });
}

#[test]
fn a_kernel_driver_has_its_interfaces_back_after_an_end_in_order() {
    let Some(guest) = Guest::here() else { return };
    let gadget = guest.gadget("1209:f001", &[Function::acm()]);
    let device = gadget.plug();
    device.wait_driver(1, "cdc_acm");
    let mut daemon = Daemon::run(TAKEN);
    assert_eq!([0, 1].map(|i| device.driver(i)), [Some("usbfs".to_owned()), Some("usbfs".to_owned())]);
    assert!(daemon.end().success());
    device.wait_driver(0, "cdc_acm");
    device.wait_driver(1, "cdc_acm");
    assert!(device.port().exists());
}

#[test]
fn a_kernel_driver_has_its_interfaces_back_once_a_killed_daemon_has_a_successor() {
    let Some(guest) = Guest::here() else { return };
    let gadget = guest.gadget("1209:f001", &[Function::acm()]);
    let device = gadget.plug();
    device.wait_driver(1, "cdc_acm");
    let temp = TempDir::new().unwrap();
    let dir = temp.path().join("run");
    let mut daemon = Daemon::run_in(&dir, TAKEN);
    daemon.wait_attached();
    daemon.signal(Signal::SIGKILL);
    daemon.wait_end();
    wait_for(|| device.driver(1).is_none().then_some(()), || format!("{:?}", device.driver(1)));
    assert_eq!(device.driver(0), None, "the kernel by itself gives nothing back");

    let mut next = Daemon::run_in(&dir, NOTHING_OF_IT);
    device.wait_driver(0, "cdc_acm");
    device.wait_driver(1, "cdc_acm");
    assert!(device.port().exists());
    assert!(next.end().success());
}

#[test]
fn a_successor_that_wants_the_device_takes_it_again_and_gives_it_back() {
    let Some(guest) = Guest::here() else { return };
    let gadget = guest.gadget("1209:f001", &[Function::acm()]);
    let device = gadget.plug();
    device.wait_driver(1, "cdc_acm");
    let temp = TempDir::new().unwrap();
    let dir = temp.path().join("run");
    for _ in 0..3 {
        let mut daemon = Daemon::run_in(&dir, TAKEN);
        daemon.wait_attached();
        daemon.signal(Signal::SIGKILL);
        daemon.wait_end();
    }
    let mut last = Daemon::run_in(&dir, TAKEN);
    last.wait_attached();
    assert!(last.end().success());
    device.wait_driver(0, "cdc_acm");
    device.wait_driver(1, "cdc_acm");
}

#[test]
fn a_board_that_comes_back_under_another_product_id_keeps_its_name_and_its_files() {
    let Some(guest) = Guest::here() else { return };
    let gadget = guest.gadget("1209:f001", &[Function::source_sink()]);
    let (source, _) = gadget.plug().pair();
    let pipe = format!("[[device.pipe]]\nendpoint = 0x{}\n", &source[3..]);
    let config = "[[device]]\nname = \"g\"\nmatch = { vid = 0x1209, pid = [0xf001, 0xf002] }\n";
    let daemon = Daemon::run(&format!("{config}{pipe}"));
    let mut events = Events::of(&daemon);
    let outlet = format!("g/{source}");
    let before = inode(&daemon.path(&outlet));
    for ids in ["f002", "f001", "f002"] {
        gadget.unplug();
        assert_eq!(events.wait("detach", "g")["text"], "unplugged");
        gadget.write("idProduct", format!("0x{ids}"));
        gadget.plug();
        let text = events.wait("attach", "g")["text"].as_str().unwrap().to_owned();
        assert!(text.contains(&format!("1209:{ids}")), "{text}");
        daemon.wait_status("g", |status| status["id"] == format!("1209:{ids}"));
        expect_source(&daemon, &outlet);
        assert_eq!(inode(&daemon.path(&outlet)), before);
    }
}

#[test]
fn equal_boards_are_told_apart_by_their_ports_whatever_order_they_come_in() {
    let Some(guest) = Guest::here() else { return };
    let gadgets = [0, 1].map(|_| {
        let gadget = guest.gadget("1209:f001", &[Function::source_sink()]);
        gadget.write("strings/0x409/serialnumber", "SAME");
        gadget
    });
    let places = gadgets.each_ref().map(|gadget| gadget.plug().busid);
    let one = |name: &str, place: &str| {
        format!("[[device]]\nname = \"{name}\"\nmatch = {{ vid = 0x1209, pid = 0xf001, port = \"{place}\" }}\n")
    };
    let mut daemon = Daemon::run(&(one("left", &places[0]) + &one("right", &places[1])));
    let mut events = Events::of(&daemon);
    for order in [[0, 1], [1, 0], [0, 1]] {
        for at in order {
            gadgets[at].unplug();
            events.wait("detach", ["left", "right"][at]);
            assert_eq!(
                daemon.status(["right", "left"][at])["state"],
                if at == order[0] { "attached" } else { "searching" }
            );
        }
        for at in order {
            let plugged = gadgets[at].plug();
            let name = ["left", "right"][at];
            events.wait("attach", name);
            assert_eq!(daemon.status(name)["place"], plugged.busid);
            expect_source(&daemon, &format!("{name}/{}", plugged.pair().0));
        }
    }
    assert!(daemon.end().success());

    let both = Daemon::run_unattached("[[device]]\nname = \"any\"\nmatch = { vid = 0x1209, pid = 0xf001 }\n");
    both.wait_status("any", |status| {
        let reason = status["reason"].as_str().unwrap_or_default();
        places.iter().all(|place| reason.contains(place)) && reason.contains("`port`")
    });
}

#[test]
fn a_device_that_the_kernel_has_put_to_sleep_is_woken_and_stays_awake_while_it_is_bridged() {
    let Some(guest) = Guest::here() else { return };
    let gadget = guest.gadget("1209:f001", &[Function::source_sink()]);
    let device = gadget.plug();
    let state = || device.attribute("power/runtime_status").unwrap_or_default();
    let wait_state = |wanted: &str| wait_for(|| (state() == wanted).then_some(()), state);
    fs::write(device.dir().join("power/autosuspend_delay_ms"), "0").unwrap();
    fs::write(device.dir().join("power/control"), "auto").unwrap();
    wait_state("suspended");
    let (source, _) = device.pair();
    let mut daemon = Daemon::run("[[device]]\nname = \"g\"\nmatch = { vid = 0x1209, pid = 0xf001 }\n");
    for _ in 0..3 {
        expect_source(&daemon, &format!("g/{source}"));
        assert_eq!(state(), "active");
    }
    assert!(daemon.end().success());
    wait_state("suspended");
}
