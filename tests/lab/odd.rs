//! The devices of `firmware-mock/odd.toml` before a real kernel, attached by vhci-hcd: what `list`, `bridge` and programs
//! find of them by usbfs. No driver of the kernel takes them, because it would take what they have to say, too.
//!
//! What is wrong is named by device. In a `--shell` of the lab `ODD=NAME` looks at one of them.

use firmware_mock::DeviceKind;
use firmware_mock::odd::{Case, Odd, OddDevice};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{Bus, Daemon, usbpipe, wait_for};
use crate::guest::{AttachedPort, Guest, NoDrivers};
use crate::table::{Bridged, attached, cases, checked_in_turn};

/// Devices that the kernel gives up, and what it says of each: it wants all configurations that a device has by its own
/// account.
const REFUSED: [(&str, &str); 2] = [
    ("configuration-3", "unable to read config index 1 descriptor/start: -32"),
    ("no-configuration", "unable to read config index 0 descriptor/start: -32"),
];

#[test]
fn every_odd_device_before_this_kernel_is_listed_and_bridged_as_the_table_says() {
    let Some(guest) = Guest::here() else { return };
    let wanted = std::env::var("ODD").ok();
    let odd: Vec<Odd> = Odd::all().filter(|odd| wanted.as_ref().is_none_or(|w| *w == odd.device().name)).collect();
    let bus = Bus::with(&odd.iter().copied().map(DeviceKind::Odd).collect::<Vec<_>>());
    // All of them at once want more than the kernel lends for transfers by default.
    std::fs::write("/sys/module/usbcore/parameters/usbfs_memory_mb", "256").unwrap();
    let drivers = guest.without_drivers();
    let names: Vec<&str> = odd.iter().map(|odd| odd.device().name.as_str()).collect();
    let plugged =
        odd.iter().zip(guest.attach_all(&bus, &names)).map(|(odd, port)| Plugged { device: odd.device(), port });
    let (refused, plugged): (Vec<Plugged>, Vec<Plugged>) = plugged.partition(|plugged| plugged.refusal().is_some());
    enumerated(&drivers, &plugged);
    refused.iter().for_each(|plugged| plugged.wait_refused(&guest));

    let mut wrong = listed(&plugged);
    let (named, plain) = chosen(&plugged, |case| case.config.is_none()).into_iter().partition(wants_a_name);
    wrong.extend(bridged(&plugged, plain));
    wrong.extend(configured(&plugged, named));
    wrong.extend(configured(&plugged, chosen(&plugged, |case| case.config.is_some())));
    assert!(wrong.is_empty(), "{} odd devices are not as the table says:\n{}", wrong.len(), wrong.join("\n"));
}

/// A device at a port of vhci-hcd.
struct Plugged {
    device: &'static OddDevice,
    port: AttachedPort,
}

impl Plugged {
    fn refusal(&self) -> Option<&'static str> {
        REFUSED.iter().find(|(name, _)| *name == self.device.name).map(|(_, reason)| *reason)
    }

    /// What `list` shows, which knows all descriptors of a device that is here.
    fn list(&self) -> String {
        match self.device.name.as_str() {
            "same-interface-twice" => "1209:5019  ff/00/00 ff/00/00".to_owned(),
            _ => self.device.list.clone(),
        }
    }

    fn busid(&self) -> String {
        self.port.busid().unwrap_or_else(|| panic!("{} is at no port", self.device.name))
    }

    /// Waits until the kernel says that it does without this device.
    fn wait_refused(&self, guest: &Guest) {
        let log = || guest.must(&["dmesg"]);
        let reason = || format!("usb {}: {}\n", self.busid(), self.refusal().unwrap());
        wait_for(
            || log().contains(&reason()).then_some(()),
            || format!("{} is not refused: {}", self.device.name, log()),
        );
    }
}

/// Waits until the kernel has all of them.
fn enumerated(drivers: &NoDrivers, all: &[Plugged]) {
    let is_missing = |plugged: &&Plugged| plugged.port.busid().and_then(|busid| drivers.configure(&busid)).is_none();
    let missing =
        || -> Vec<&str> { all.iter().filter(is_missing).map(|plugged| plugged.device.name.as_str()).collect() };
    wait_for(|| missing().is_empty().then_some(()), || format!("the kernel does not enumerate {:?}", missing()));
}

/// `usbpipe list`.
fn listed(all: &[Plugged]) -> Vec<String> {
    let listing: Value = serde_json::from_slice(&usbpipe().args(["list", "--json"]).output().unwrap().stdout).unwrap();
    let local = listing["local"].as_array().unwrap();
    let line_of = |plugged: &Plugged| local.iter().find(|d| d["port"] == plugged.busid()).map(line);
    let other = all.iter().filter(|plugged| line_of(plugged) != Some(plugged.list()));
    other.map(|plugged| format!("{}: `list` says {:?}", plugged.device.name, line_of(plugged))).collect()
}

/// A device of the list, as the table writes it.
fn line(device: &Value) -> String {
    let settings = device["interfaces"].as_array().unwrap();
    let first = settings.iter().filter(|setting| setting["alt"] == 0);
    let classes: Vec<&str> = first.map(|setting| setting["class"].as_str().unwrap()).collect();
    let board = device["board"].as_str().map_or_else(String::new, |name| format!("  {name}"));
    format!("{}{board}  {}", device["id"].as_str().unwrap(), classes.join(" "))
}

/// The cases that fit, with what this kernel makes of them.
fn chosen(all: &[Plugged], fits: impl Fn(&Case) -> bool) -> Vec<Bridged> {
    let devices: Vec<&OddDevice> = all.iter().map(|plugged| plugged.device).collect();
    cases(&devices, fits).into_iter().map(before_this_kernel).collect()
}

fn before_this_kernel(bridged: Bridged) -> Bridged {
    let (mut case, mut product) = (bridged.case.clone(), bridged.product);
    match bridged.device.name.as_str() {
        // It takes 32 interfaces of a device at most.
        "255-interfaces" => {
            case.reason = Some("the device has no interface 254".into());
            case.says.push("the device has no interface 254".into());
            case.steps.clear();
        }
        // It lets nobody use an endpoint of a setting that was not selected.
        "refuses-its-setting" => {
            let missing = "no claimed interface has endpoint 0x81 in its selected alternate setting";
            case.says.push(missing.into());
            case.problems.insert("ep_81".into(), missing.into());
        }
        // It fills what is missing with zeros.
        "ends-early" => {
            case.says[..2].fill("the descriptor at byte 25 claims 0 bytes, of 39 that are left".into());
        }
        // Strings are those that the kernel read: none without a list of languages, none that is empty, and no half of a
        // surrogate pair.
        "no-languages" | "empty-strings" => product = None,
        "half-a-character" => product = Some("ab".into()),
        _ => {}
    }
    Bridged { case: Box::leak(Box::new(case)), product, ..bridged }
}

/// Whether `bridge` cannot do what the case is about: it takes no driver for serial lines, and a device that is not attached
/// has no ids to be found by.
fn wants_a_name(bridged: &Bridged) -> bool {
    bridged.case.reason.is_some() || bridged.case.outlets.iter().any(|outlet| outlet.starts_with("serial"))
}

/// `usbpipe bridge`, of all of them.
fn bridged(all: &[Plugged], cases: Vec<Bridged>) -> Vec<String> {
    if cases.is_empty() {
        return Vec::new();
    }
    let temp = TempDir::new().unwrap();
    let dir = temp.path().join("run");
    let mut command = usbpipe();
    command.arg("--dir").arg(&dir).arg("bridge").args(cases.iter().map(|bridged| busid(all, bridged)));
    let mut daemon = Daemon::start(command, &dir);
    daemon.wait_said("ready");
    let names = attached(&daemon, &cases);
    let cases = cases.into_iter().zip(names).map(|(case, name)| Bridged { name, ..case }).collect();
    checked_in_turn(daemon, cases)
}

/// `usbpipe run`, of all of them.
fn configured(all: &[Plugged], cases: Vec<Bridged>) -> Vec<String> {
    if cases.is_empty() {
        return Vec::new();
    }
    let entry = |bridged: &Bridged| {
        let (name, rest) = (&bridged.name, rest(bridged.case));
        format!("[[device]]\nname = \"{name}\"\nmatch = {{ port = \"{}\" }}\n{rest}\n", busid(all, bridged))
    };
    let daemon = Daemon::run_unattached(&cases.iter().map(entry).collect::<String>());
    attached(&daemon, &cases);
    checked_in_turn(daemon, cases)
}

/// A configuration for a case. Serial lines are by our own driver, as they are at a USB/IP server: there are no ports here.
fn rest(case: &Case) -> String {
    let everything = || {
        let pipe = |outlet: &String| match outlet.split_once(['_', '.']) {
            Some(("ep", endpoint)) => format!("[[device.pipe]]\nendpoint = 0x{endpoint}\n"),
            Some((line, "rx")) => format!("[device.{line}]\n"),
            _ => String::new(),
        };
        case.outlets.iter().map(pipe).collect()
    };
    let config: String = case.config.clone().unwrap_or_else(everything);
    let with_driver = |line: &str| match line.starts_with("[device.serial") {
        true => format!("{line}\ndriver = \"user\"\n"),
        false => format!("{line}\n"),
    };
    config.lines().map(with_driver).collect()
}

fn busid(all: &[Plugged], bridged: &Bridged) -> String {
    all.iter().find(|plugged| std::ptr::eq(plugged.device, bridged.device)).unwrap().busid()
}
