//! The udev rules of one device: who may use it, and who keeps away. Prints nothing and looks for no device.

use std::path::Path;

use super::quote::{comment, group, pattern};
use crate::config::Match;

/// What the rules give.
pub(super) struct Grant<'a> {
    /// The group that may use the device's node.
    pub(super) group: &'a str,
    /// Whether systemd starts the service when the device appears.
    pub(super) start: bool,
}

/// The rules of the device that `wanted` describes, under a comment that is `title`.
///
/// # Errors
/// What no rule can express, on one line.
pub(super) fn device(title: &str, wanted: &Match, grant: &Grant<'_>) -> Result<String, String> {
    let group = group(grant.group)?;
    for text in [&wanted.serial, &wanted.product].into_iter().flatten() {
        if text.encode_utf16().count() > LONGEST_STRING {
            return Err(format!("{text:?} is longer than any string of a USB device ({LONGEST_STRING} characters)"));
        }
    }
    let usb = line(
        ["SUBSYSTEM==\"usb\"", "ENV{DEVTYPE}==\"usb_device\""],
        conditions(wanted, "KERNEL", "ATTR"),
        [
            &format!("GROUP=\"{group}\""),
            "MODE=\"0660\"",
            "TAG+=\"uaccess\"",
            "TAG+=\"systemd\"",
            if grant.start { "ENV{SYSTEMD_WANTS}+=\"usbpipe.service\"" } else { "" },
            "ENV{ID_MM_DEVICE_IGNORE}=\"1\"",
        ],
    );
    let tty = line(["SUBSYSTEM==\"tty\"", "SUBSYSTEMS==\"usb\""], conditions(wanted, "KERNELS", "ATTRS"), PORT);
    Ok(format!("# {}\n{usb}\n{tty}\n", comment(title)))
}

/// The rule of a serial port that is known by its name alone.
///
/// # Errors
/// Why the port cannot be named in a rule.
pub(super) fn port(path: &Path) -> Result<String, String> {
    let name = path.strip_prefix("/dev").ok().and_then(Path::to_str).filter(|name| !name.contains('/'));
    let Some(name) = name else {
        return Err(format!(
            "{path:?} is no name that rules go by; name the device by its ids, as `usbpipe list` does"
        ));
    };
    let kernel = format!("KERNEL==\"{}\"", pattern(name));
    Ok(format!("# {}\n{}\n", comment(&path.to_string_lossy()), line(["SUBSYSTEM==\"tty\""], [kernel], PORT)))
}

/// What a device must have, in the keys of itself (`KERNEL`, `ATTR`) or of what it hangs on (`KERNELS`, `ATTRS`).
fn conditions(wanted: &Match, kernel: &str, attr: &str) -> Vec<String> {
    let is = |name: &str, value: &str| format!("{attr}{{{name}}}==\"{value}\"");
    let pids: Vec<String> = wanted.pid.iter().map(|pid| format!("{pid:04x}")).collect();
    let all = [
        wanted.port.as_ref().map(|port| format!("{kernel}==\"{}\"", pattern(port))),
        wanted.vid.map(|vid| is("idVendor", &format!("{vid:04x}"))),
        (!pids.is_empty()).then(|| is("idProduct", &pids.join("|"))),
        wanted.serial.as_ref().map(|serial| is("serial", &pattern(serial))),
        wanted.product.as_ref().map(|product| is("product", &pattern(product))),
    ];
    all.into_iter().flatten().collect()
}

fn line<const A: usize, const B: usize>(
    subsystem: [&str; A],
    conditions: impl IntoIterator<Item = String>,
    actions: [&str; B],
) -> String {
    let words = subsystem.into_iter().map(str::to_owned).chain(conditions);
    let words = words.chain(actions.into_iter().filter(|action| !action.is_empty()).map(str::to_owned));
    words.collect::<Vec<_>>().join(", ")
}

/// A port keeps the group that the system gives to ports (`dialout` on Debian). ModemManager reads both names: the one
/// for whole devices at whatever hangs on it, the one for ports at this port alone.
const PORT: [&str; 3] = ["TAG+=\"uaccess\"", "ENV{ID_MM_DEVICE_IGNORE}=\"1\"", "ENV{ID_MM_PORT_IGNORE}=\"1\""];
/// UTF-16 units in a string descriptor of 255 bytes: USB 2.0 §9.6.7.
const LONGEST_STRING: usize = 126;

#[cfg(test)]
mod tests;
