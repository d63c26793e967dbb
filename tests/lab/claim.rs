//! Which device is taken, and from whom: kernel drivers get their interfaces back, equal boards are told apart, a board
//! may come back under other ids, and a sleeping one is woken.

use std::fs;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::common::bytes::{assert_same, pattern, read_in_chunks};
use crate::common::{Daemon, ended, read_line, usbpipe, wait_for};
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

/// What `usbpipe` with these words printed, and its status.
fn said(words: &[&str]) -> (Option<i32>, String) {
    let output = ended(usbpipe().args(words));
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.code(), text.trim_end().to_owned())
}

#[test]
fn a_device_is_selected_by_its_product_by_its_serial_number_alone_and_by_its_place() {
    let Some(guest) = Guest::here() else { return };
    let gadgets = ["f001", "f002"].map(|product| {
        let gadget = guest.gadget(&format!("1209:{product}"), &[Function::source_sink()]);
        gadget.write("strings/0x409/product", format!("Probe {product}"));
        gadget.write("strings/0x409/serialnumber", format!("N-{product}"));
        let place = gadget.plug().busid;
        (gadget, place)
    });
    for (product, (_, place)) in ["f001", "f002"].iter().zip(&gadgets) {
        for selector in [&format!("product:Probe {product}"), &format!("serial:N-{product}"), place] {
            let (status, text) = said(&["control", selector, "status"]);
            assert_eq!((status, text.contains(&format!("pid={product}"))), (Some(0), true), "{selector}: {text}");
        }
    }
    let temp = TempDir::new().unwrap();
    let dir = temp.path().join("run");
    let mut command = usbpipe();
    command.arg("--dir").arg(&dir).args(["bridge", "serial:N-f002", "--framing", "hex"]);
    let mut daemon = Daemon::start(command, &dir);
    daemon.wait_said("ready");
    let status = daemon.wait_status("1209-f002-N-f002", |status| status["state"] == "attached");
    let pipe = status["pipes"].as_array().unwrap().iter().find(|pipe| pipe["direction"] == "in").unwrap();
    let source = daemon.reader(&format!("1209-f002-N-f002/{}", pipe["outlet"].as_str().unwrap()));
    assert!(read_line(&source).starts_with("00010203"));
}

#[test]
fn devices_that_fit_alike_are_named_so_that_one_can_be_typed() {
    let Some(guest) = Guest::here() else { return };
    let gadgets = ["A", "B"].map(|serial| {
        let gadget = guest.gadget("1209:f001", &[Function::source_sink()]);
        gadget.write("strings/0x409/serialnumber", serial);
        let place = gadget.plug().busid;
        (gadget, place)
    });
    let (status, text) = said(&["control", "1209:f001", "status"]);
    assert_eq!(status, Some(1));
    for (selector, (_, place)) in ["serial:A", "serial:B"].iter().zip(&gadgets) {
        assert!(text.contains(selector) && text.contains(place.as_str()), "{text}");
        assert_eq!(said(&["control", selector, "status"]).0, Some(0));
        assert_eq!(said(&["control", place, "status"]).0, Some(0));
    }
}

#[test]
fn a_request_can_take_its_interface_from_the_kernels_driver_which_has_it_back_afterwards() {
    let Some(guest) = Guest::here() else { return };
    let gadget = guest.gadget("1209:f001", &[Function::acm()]);
    let device = gadget.plug();
    device.wait_driver(0, "cdc_acm");
    // GET_LINE_CODING: PSTN 1.2, 6.3.11.
    let request = "in 0xa1 0x21 0 0 7";
    let (status, text) = said(&["control", "1209:f001", request]);
    assert_eq!(status, Some(1), "{text}");
    let (status, text) = said(&["control", "1209:f001", "--detach", request]);
    assert_eq!((status, text.len()), (Some(0), "ok ".len() + 14), "{text}");
    device.wait_driver(0, "cdc_acm");
    device.wait_driver(1, "cdc_acm");
}

#[test]
fn exec_takes_a_serial_line_over_usb_with_detach_and_by_the_kernels_port_without() {
    let Some(guest) = Guest::here() else { return };
    let gadget = guest.gadget("1209:f001", &[Function::acm()]);
    let device = gadget.plug();
    device.wait_driver(1, "cdc_acm");
    let backend = "usbpipe --dir $USBPIPE_DIR status --json | grep -o '\"backend\": *\"[a-z]*\"'";
    let program = format!("PATH={}:$PATH; {backend}", env!("CARGO_BIN_EXE_usbpipe").trim_end_matches("/usbpipe"));
    let exec = |options: &[&str]| {
        let words = [&["exec", "1209:f001"], options, &["--fd", "3=serial", "--", "sh", "-c", &program]].concat();
        said(&words)
    };
    assert_eq!(exec(&[]), (Some(0), "\"backend\": \"serial\"".to_owned()));
    assert_eq!(exec(&["--detach"]), (Some(0), "\"backend\": \"nusb\"".to_owned()));
    device.wait_driver(0, "cdc_acm");
    device.wait_driver(1, "cdc_acm");
}
