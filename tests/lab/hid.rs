//! Interrupt endpoints: HID devices that usbhid gives up, their reports one by one.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};

use crate::common::{Daemon, PATIENCE, within};
use crate::guest::{Function, Guest, UsbDevice};

/// QEMU's.
pub(crate) const KEYBOARD: &str = "0627:0001";

#[test]
fn each_report_of_a_gadget_is_one_read_in_order() {
    let Some(guest) = Guest::here() else { return };
    let gadget = guest.gadget("1209:f004", &[Function::hid(8)]);
    let device = gadget.plug();
    device.wait_driver(0, "usbhid");
    let (reports, out) = device.pair();
    let daemon = Daemon::run(&hid(&reports, &out));
    assert_eq!(device.driver(0).as_deref(), Some("usbfs"));

    let mut reader = daemon.reader(&format!("g/{reports}"));
    let far_end = far_end(false);
    for number in 0..500u32 {
        (&far_end).write_all(&report(number)).unwrap();
        // Others follow at once, so that several are on their way.
        if number % 5 == 4 {
            (number - 4..=number).for_each(|n| assert_eq!(one_read(&mut reader), report(n)));
        }
    }
}

#[test]
fn what_is_written_arrives_as_reports_of_the_gadget() {
    let Some(guest) = Guest::here() else { return };
    let gadget = guest.gadget("1209:f004", &[Function::hid(8)]);
    let device = gadget.plug();
    device.wait_driver(0, "usbhid");
    let (reports, out) = device.pair();
    let daemon = Daemon::run(&hid(&reports, &out));
    let mut outlet = daemon.writer(&format!("g/{out}"));
    let mut far_end = far_end(true);
    for number in 0..100 {
        outlet.write_all(&report(number)).unwrap();
        assert_eq!(one_read(&mut far_end), report(number));
    }
}

#[test]
fn keys_pressed_on_qemus_keyboard_are_reports_and_the_keyboard_goes_back_to_the_kernel() {
    let Some(guest) = Guest::here() else { return };
    let keyboard = UsbDevice::wait(KEYBOARD);
    keyboard.wait_driver(0, "usbhid");
    let config = "[[device]]\nname = \"kbd\"\nmatch = { vid = 0x0627, pid = 0x0001 }\ndetach = true\n\
                  [[device.pipe]]\nendpoint = 0x81\nframing = \"packet\"\n";
    let mut daemon = Daemon::run(config);
    let mut reader = daemon.reader("kbd/ep_81");
    keys_are_reports(&guest, &mut reader);
    drop(reader);
    assert!(daemon.end().success());
    keyboard.wait_driver(0, "usbhid");
}

/// Presses keys of QEMU's keyboard, and finds them in its reports.
pub(crate) fn keys_are_reports(guest: &Guest, reader: &mut File) {
    let mut monitor = guest.monitor();
    // HID usage tables, 10: a is 4, b 5, z 0x1d, return 0x28.
    for (key, usage) in [("a", 0x04), ("b", 0x05), ("z", 0x1d), ("ret", 0x28)] {
        monitor.press(key);
        assert_eq!(one_read(reader), [0, 0, usage, 0, 0, 0, 0, 0], "{key} goes down");
        assert_eq!(one_read(reader), [0; 8], "{key} comes up");
    }
}

/// The gadget, taken from usbhid, with its reports one by one. A report fills its packet, and no empty one is to follow.
fn hid(reports: &str, out: &str) -> String {
    let endpoint = |outlet: &str| outlet.trim_start_matches("ep_").to_owned();
    format!(
        "[[device]]\nname = \"g\"\nmatch = {{ vid = 0x1209, pid = 0xf004 }}\ndetach = true\n\
         [[device.pipe]]\nendpoint = 0x{}\nframing = \"packet\"\n\
         [[device.pipe]]\nendpoint = 0x{}\nframing = \"packet\"\nzlp = false\n",
        endpoint(reports),
        endpoint(out)
    )
}

/// The gadget's own side.
fn far_end(read: bool) -> File {
    OpenOptions::new().read(read).write(!read).open("/dev/hidg0").unwrap()
}

fn report(number: u32) -> [u8; 8] {
    let [a, b, c, d] = number.to_le_bytes();
    [a, b, c, d, !a, !b, !c, !d]
}

/// What one read gives, into room for more than one report.
fn one_read(from: &mut File) -> Vec<u8> {
    let mut from = from.try_clone().unwrap();
    within(PATIENCE, move || {
        let mut buffer = [0; 64];
        let n = from.read(&mut buffer).unwrap();
        buffer[..n].to_vec()
    })
}
