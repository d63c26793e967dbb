//! `usbpipe list` beside `lsusb`: both show the same devices, endpoints and drivers.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::common::{Bus, usbpipe, wait_for};
use crate::guest::{Function, Guest};
use firmware_mock::DeviceKind;

/// What is said of devices, a line each.
type Rows = BTreeSet<String>;

#[test]
fn list_shows_what_lsusb_shows() {
    let Some(guest) = Guest::here() else { return };
    let gadgets = [
        guest.gadget("1209:f001", &[Function::source_sink()]),
        guest.gadget("1209:f002", &[Function::acm(), Function::loopback()]),
        guest.gadget("1209:f003", &[Function::hid(8)]),
    ];
    gadgets.iter().for_each(|gadget| drop(gadget.plug()));
    let bus = Bus::with(&[DeviceKind::Uno, DeviceKind::Knob, DeviceKind::Tone, DeviceKind::Regs]);
    let _attached = [
        guest.attach(&bus, "uno", "2341:0043"),
        guest.attach(&bus, "knob", "1209:0002"),
        guest.attach(&bus, "tone", "1209:0003"),
        guest.attach(&bus, "regs", "1209:0004"),
    ];

    let (ours, theirs) = (rows(&listed()), rows_of_lsusb(&guest.must(&["lsusb", "-v"])));
    assert!(theirs.len() > 25, "lsusb shows too little to compare: {theirs:#?}");
    assert_eq!(ours.difference(&theirs).collect::<Vec<_>>(), Vec::<&String>::new(), "only list shows these");
    assert_eq!(theirs.difference(&ours).collect::<Vec<_>>(), Vec::<&String>::new(), "only lsusb shows these");
}

#[test]
fn list_names_the_driver_of_each_interface() {
    let Some(guest) = Guest::here() else { return };
    let gadget = guest.gadget("1209:f002", &[Function::acm(), Function::loopback()]);
    let device = gadget.plug();
    device.wait_driver(1, "cdc_acm");

    // Soon after the boot, drivers of what QEMU plugged in are still being loaded between two looks.
    let both = || (drivers(&listed()), drivers_of_lsusb(&guest.must(&["lsusb", "-t"])));
    let same = || Some(both()).filter(|(ours, theirs)| ours == theirs);
    let (ours, _) = wait_for(same, || format!("list and lsusb: {:#?}", both()));
    assert!(ours.iter().any(|row| row.ends_with("cdc_acm")), "{ours:#?}");
}

#[test]
fn list_says_what_to_do_about_devices_that_the_user_may_not_open() {
    let Some(guest) = Guest::here() else { return };
    let somebody = guest.person("somebody");
    let output = somebody.ask(&["list", "--json"]);
    let listed = devices(&output.stdout);
    assert!(listed.len() >= 3, "{listed:#?}");
    for device in listed {
        let advice = device["refused"].as_str().unwrap_or_else(|| panic!("somebody may open {device:#}"));
        let rule = format!("usbpipe udev {}", device["id"].as_str().unwrap());
        assert!(advice.contains(&rule), "{rule:?} is not in {advice:?}");
    }
    let shown = somebody.ask(&["list"]);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(text.contains("no permission: ") && text.contains("usbpipe udev 0403:6001"), "{text}");
}

/// The devices that the program lists, as root.
fn listed() -> Vec<Value> {
    devices(&usbpipe().args(["list", "--json"]).output().unwrap().stdout)
}

fn devices(json: &[u8]) -> Vec<Value> {
    let listing: Value = serde_json::from_slice(json).unwrap();
    listing["local"].as_array().unwrap().clone()
}

/// What the program says: a row for each alternate setting and each endpoint.
fn rows(devices: &[Value]) -> Rows {
    let mut rows = Rows::new();
    for d in devices {
        let device = format!("{:03}/{:03} {}", number(&d["bus"]), number(&d["address"]), text(&d["id"]));
        for i in d["interfaces"].as_array().unwrap() {
            let setting = format!("{device} interface {} alt {}", i["interface"], i["alt"]);
            rows.insert(format!("{setting} class {}", text(&i["class"])));
            for e in i["endpoints"].as_array().unwrap() {
                let (address, kind, direction) = (text(&e["endpoint"]), text(&e["type"]), text(&e["direction"]));
                let (size, interval) = (number(&e["max_packet_size"]), number(&e["interval"]));
                rows.insert(format!("{setting} {address} {kind} {direction} {size} every {interval}"));
            }
        }
    }
    rows
}

/// The same of what `lsusb -v` says, without root hubs, which are no devices that can be bridged.
fn rows_of_lsusb(verbose: &str) -> Rows {
    let mut rows = Rows::new();
    let (mut device, mut setting, mut class) = (None, String::new(), Vec::new());
    let (mut endpoint, mut kind, mut size) = (String::new(), String::new(), 0);
    for line in verbose.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["Bus", bus, "Device", address, "ID", ids, ..] => {
                let name = format!("{bus}/{} {ids}", address.trim_end_matches(':'));
                device = (!ids.starts_with(ROOT_HUB)).then_some(name);
            }
            ["bInterfaceNumber", n, ..] => setting = format!("interface {n}"),
            ["bAlternateSetting", n, ..] => setting.push_str(&format!(" alt {n}")),
            ["bInterfaceClass", n, ..] => class = vec![n.parse::<u8>().unwrap()],
            ["bInterfaceSubClass", n, ..] => class.push(n.parse().unwrap()),
            ["bInterfaceProtocol", n, ..] => {
                class.push(n.parse().unwrap());
                let [class, subclass, protocol] = class[..] else { panic!("{line:?} after {class:?}") };
                let row = format!("{setting} class {class:02x}/{subclass:02x}/{protocol:02x}");
                rows.extend(device.iter().map(|d| format!("{d} {row}")));
            }
            ["bEndpointAddress", address, "EP", _, direction] => {
                endpoint = format!("{address} TYPE {}", direction.to_lowercase());
            }
            ["Transfer", "Type", name] => kind = name.to_lowercase(),
            ["wMaxPacketSize", hex, ..] => size = u16::from_str_radix(&hex[2..], 16).unwrap() & PACKET_SIZE,
            ["bInterval", interval] => {
                let endpoint = endpoint.replace("TYPE", &kind);
                rows.extend(device.iter().map(|d| format!("{d} {setting} {endpoint} {size} every {interval}")));
            }
            _ => {}
        }
    }
    rows
}

/// Which driver has which interface, in rows.
fn drivers(devices: &[Value]) -> Rows {
    let mut rows = Rows::new();
    for d in devices {
        for i in d["interfaces"].as_array().unwrap() {
            let driver = i["driver"].as_str().unwrap_or("");
            rows.insert(format!("{}/{} interface {}: {driver}", d["bus"], d["address"], i["interface"]));
        }
    }
    rows
}

/// The same of what `lsusb -t` says: lines such as `|__ Port 3: Dev 4, If 0, Class=Audio, Driver=snd-usb-audio, 12M`.
fn drivers_of_lsusb(tree: &str) -> Rows {
    let mut rows = Rows::new();
    let mut bus = 0;
    for line in tree.lines() {
        if let Some(root) = line.strip_prefix("/:  Bus ") {
            bus = root.split('.').next().unwrap().parse().unwrap();
            continue;
        }
        let value = |key: &str| line.split_once(key).unwrap_or_else(|| panic!("no {key:?} in {line:?}")).1;
        let [device, interface, driver] = ["Dev ", "If ", "Driver="].map(|key| value(key).split(',').next().unwrap());
        rows.insert(format!("{bus}/{device} interface {interface}: {driver}"));
    }
    rows
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// The vendor of the kernel's root hubs.
const ROOT_HUB: &str = "1d6b:";
/// wMaxPacketSize without the number of transactions a microframe: USB 2.0, 9.6.6.
const PACKET_SIZE: u16 = 0x7ff;
