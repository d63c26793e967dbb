//! `udev`: prints the rules that give access to devices. Writes no file: where rules go is the administrator's choice.

mod quote;
mod rules;

use std::path::{Path, PathBuf};

use super::status::print_line;
use super::system::UdevArgs;
use super::{Failure, Outcome};
use crate::config::{self, Config, DeviceConfig, Match};
use crate::name;
use crate::selector::Selector;
use rules::Grant;

/// `usbpipe udev [SELECTOR…]`.
pub(super) fn udev(config: Option<PathBuf>, args: UdevArgs) -> Outcome {
    if !args.selectors.is_empty() {
        return print(of_selectors(&args)?);
    }
    match config::find(config.as_deref()) {
        Ok(file) => print(of_configuration(&file, &args)?),
        Err(_) => print(SHIPPED.to_owned()),
    }
}

fn of_selectors(args: &UdevArgs) -> Result<String, Failure> {
    let grant = Grant { group: args.group.as_deref().unwrap_or(GROUP), start: args.start };
    let blocks: Result<Vec<String>, String> = args.selectors.iter().map(|s| of_selector(s, &grant)).collect();
    let words: Vec<String> = args.selectors.iter().map(|s| quote::comment(&s.to_string())).collect();
    Ok(file(&words.join(" "), &file_name(&args.selectors), &blocks.map_err(Failure::usage)?))
}

fn of_selector(selector: &Selector, grant: &Grant<'_>) -> Result<String, String> {
    match selector {
        Selector::Tty(path) => rules::port(path),
        Selector::Usbip(_) => Err(format!("{selector} needs no rule: the machine that exports it has the device")),
        _ => rules::device(&selector.to_string(), &Match::of(selector), grant),
    }
}

fn of_configuration(path: &Path, args: &UdevArgs) -> Result<String, Failure> {
    let config = Config::load(path).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Failure::usage(lines.join("\nusbpipe: "))
    })?;
    let blocks: Result<Vec<String>, String> = config.devices.iter().map(|device| of_device(device, args)).collect();
    let blocks = blocks.map_err(|problem| Failure::usage(format!("{}: {problem}", path.display())))?;
    Ok(file(&quote::comment(&path.to_string_lossy()), FILE, &blocks))
}

fn of_device(device: &DeviceConfig, args: &UdevArgs) -> Result<String, String> {
    if device.remote.is_some() {
        return Ok(format!("# {}: reached by USB/IP, needs no rule here\n", device.name));
    }
    let group = args.group.as_ref().or(device.access.group.as_ref());
    let grant = Grant { group: group.map_or(GROUP, String::as_str), start: args.start };
    rules::device(&device.name, &device.matches, &grant).map_err(|problem| format!("device {}: {problem}", device.name))
}

/// The name that the rules are best installed under. One device's do not replace another's.
fn file_name(selectors: &[Selector]) -> String {
    match selectors {
        [Selector::Id { vid, pid, serial: None }] => format!("61-usbpipe-{vid:04x}-{pid:04x}.rules"),
        [Selector::Port(port)] => format!("61-usbpipe-port-{port}.rules"),
        [Selector::Tty(path)] => match path.file_name() {
            Some(port) => format!("61-usbpipe-{}.rules", name::sanitize(&port.to_string_lossy())),
            None => FILE.to_owned(),
        },
        _ => FILE.to_owned(),
    }
}

/// A rules file; `what` and `name` are text for its comments.
fn file(what: &str, name: &str, blocks: &[String]) -> String {
    let (blocks, name) = (blocks.join("\n"), Path::new(FOLDER).join(name));
    format!(
        "# Access for usbpipe to {what}
# by group and for whoever sits at the machine; ModemManager keeps away.
#
# Goes to {name}, then:
#   sudo udevadm control --reload && sudo udevadm trigger -s usb -s tty
# The number has to be below 73, where access for the person at the seat is given.

ACTION==\"remove\", GOTO=\"usbpipe_end\"
SUBSYSTEM!=\"usb|tty\", GOTO=\"usbpipe_end\"

{blocks}
LABEL=\"usbpipe_end\"",
        name = name.display(),
    )
}

fn print(text: String) -> Outcome {
    print_line(text.trim_end()).map(|()| 0)
}

/// The rules for well-known boards, as packages install them.
const SHIPPED: &str = include_str!("../../../udev/60-usbpipe.rules");
/// The group that packages make.
const GROUP: &str = "usbpipe";
const FOLDER: &str = "/etc/udev/rules.d";
/// After the shipped `60-usbpipe.rules`, so that what is asked for here has the last word.
const FILE: &str = "61-usbpipe.rules";
