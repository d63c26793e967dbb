//! The meaning of a `[[device]]` table and its `match`. Leaves pipes and serial functions to their own files.

use std::time::Duration;

use toml::Spanned;

use super::checks::{Checks, choice};
use super::{pipe, serial};
use crate::config::typed::{TypedDevice, TypedMatch, TypedSerial};
use crate::config::value::{DAY, OneOrMany, Value};
use crate::config::{Backend, DeviceConfig, Driver, Match, SerialConfig, Unplug};
use crate::name;
use crate::selector::{Remote, Selector};

/// What the table means. The name is empty where it has been refused.
pub(super) fn device(checks: &mut Checks<'_>, typed: &Spanned<TypedDevice>) -> DeviceConfig {
    let (span, table) = (typed.span(), typed.get_ref());
    if table.matches.is_none() && table.remote.is_none() {
        checks.refuse(span, "the device needs `match = { … }` or `remote = \"usbip://host/busid\"`");
    }
    let matches = table.matches.as_ref().map(|typed| matches(checks, typed)).unwrap_or_default();
    check_driver(checks, table);
    let defaults = DeviceConfig::new("");
    let backend = backend(checks, table);
    DeviceConfig {
        name: device_name(checks, typed, &matches).unwrap_or_default(),
        backend,
        remote: remote(checks, table),
        unplug: choice(&table.unplug).unwrap_or(Unplug::Hold),
        timeout: checks.read("timeout", &table.timeout, |v| v.duration(MIN_TIMEOUT..=DAY)).unwrap_or(defaults.timeout),
        access: checks.access(&table.owner, &table.group, &table.mode, &table.sddl),
        pipes: pipe::pipes(checks, &table.pipe),
        serial: table.serial.as_ref().map(|typed| serial::serial(checks, typed, backend, table.remote.is_some())),
        more_serial: more_serial(checks, table, backend),
        outlets: defaults.outlets,
        endpoints: defaults.endpoints,
        detach: choice(&table.detach).unwrap_or(defaults.detach),
        matches,
    }
}

fn more_serial(checks: &mut Checks<'_>, table: &TypedDevice, backend: Backend) -> Vec<(usize, SerialConfig)> {
    let tables = [&table.serial_2, &table.serial_3, &table.serial_4];
    let lines = tables.into_iter().zip(1..).filter_map(|(typed, nth)| Some((nth, typed.as_ref()?)));
    lines.map(|(nth, typed)| (nth, serial::serial(checks, typed, backend, table.remote.is_some()))).collect()
}

/// The kernel's driver holds the whole function, so that no pipe of the device can be had beside it.
fn check_driver(checks: &mut Checks<'_>, table: &TypedDevice) {
    check_drivers_agree(checks, table);
    let (Some(serial), Some(_), None) = (table.serials().next(), table.pipe.first(), &table.remote) else { return };
    let (place, is_kernel) = match &serial.get_ref().driver {
        Some(driver) => (driver.span(), *driver.get_ref() == Driver::Kernel),
        None => (serial.span(), true),
    };
    if is_kernel {
        let text = "pipes beside a serial line need `driver = \"user\"` in [device.serial]: with `kernel`, which is the \
                    default, the system's serial port is used and not USB";
        checks.refuse(place, text);
    }
}

/// A device is opened by one driver.
fn check_drivers_agree(checks: &mut Checks<'_>, table: &TypedDevice) {
    let driver = |serial: &TypedSerial| choice(&serial.driver).unwrap_or_default();
    let Some(first) = table.serials().next().map(|serial| driver(serial.get_ref())) else { return };
    for other in table.serials().filter(|serial| driver(serial.get_ref()) != first && table.remote.is_none()) {
        checks.refuse(other.span(), "all serial lines of a device have the same `driver`; write it in each of them");
    }
}

/// The name as written, or from ids where these say which device it is.
fn device_name(checks: &mut Checks<'_>, typed: &Spanned<TypedDevice>, matches: &Match) -> Option<String> {
    let Some(name) = &typed.get_ref().name else {
        if let (Some(vid), [pid]) = (matches.vid, matches.pid.as_slice()) {
            return Some(name::from_ids(vid, *pid, matches.serial.as_deref()));
        }
        checks.refuse(typed.span(), "the device needs `name`, or a `match` with one vid and one pid to be named by");
        return None;
    };
    if name.get_ref().len() > name::MAX_LEN {
        checks.refuse(name.span(), format!("`name` is longer than {} bytes; choose a shorter one", name::MAX_LEN));
        return None;
    }
    checks.text("name", &typed.get_ref().name).map(|name| name::sanitize(&name))
}

fn backend(checks: &mut Checks<'_>, table: &TypedDevice) -> Backend {
    let Some(typed) = &table.backend else { return Backend::Auto };
    match (typed.get_ref(), &table.remote) {
        (Backend::Usbip, None) => {
            checks.refuse(typed.span(), "backend `usbip` needs `remote = \"usbip://host/busid\"`")
        }
        (Backend::Auto | Backend::Usbip, _) | (_, None) => {}
        (_, Some(_)) => {
            checks.refuse(typed.span(), "a device with `remote` is reached by backend `usbip`; leave `backend` out")
        }
    }
    *typed.get_ref()
}

fn remote(checks: &mut Checks<'_>, table: &TypedDevice) -> Option<Remote> {
    let typed = table.remote.as_ref()?;
    let parsed = typed.get_ref().parse::<Remote>();
    parsed.map_err(|error| checks.refuse(typed.span(), format!("`remote`: {error}"))).ok()
}

fn matches(checks: &mut Checks<'_>, typed: &Spanned<TypedMatch>) -> Match {
    let table = typed.get_ref();
    if is_empty(table) {
        checks
            .refuse(typed.span(), "an empty `match` would take any device; name vid and pid, serial, port or product");
    }
    if let (None, Some(pid)) = (&table.vid, &table.pid) {
        checks.refuse(pid.span(), "`pid` says nothing without `vid`; add the vid");
    }
    Match {
        vid: checks.read("vid", &table.vid, Value::id),
        pid: pids(checks, table),
        serial: checks.text("serial", &table.serial),
        port: port(checks, table),
        product: checks.text("product", &table.product),
    }
}

fn is_empty(table: &TypedMatch) -> bool {
    let TypedMatch { vid, pid, serial, port, product } = table;
    vid.is_none() && pid.is_none() && serial.is_none() && port.is_none() && product.is_none()
}

fn pids(checks: &mut Checks<'_>, table: &TypedMatch) -> Vec<u16> {
    let Some(typed) = &table.pid else { return Vec::new() };
    match typed.get_ref() {
        OneOrMany::One(value) => {
            let value = Spanned::new(typed.span(), value.clone());
            checks.read_one("pid", &value, Value::id).into_iter().collect()
        }
        OneOrMany::Many(values) => {
            if values.is_empty() {
                checks.refuse(typed.span(), "`pid` is an empty list; leave the key out to take any");
            }
            values.iter().filter_map(|value| checks.read_one("pid", value, Value::id)).collect()
        }
    }
}

fn port(checks: &mut Checks<'_>, table: &TypedMatch) -> Option<String> {
    let typed = table.port.as_ref()?;
    if let Ok(Selector::Port(_) | Selector::Tty(_)) = typed.get_ref().parse() {
        return Some(typed.get_ref().clone());
    }
    let text = "`port` is neither a place on the bus, as \"1-1.4\", nor a serial port, as \"/dev/ttyACM0\" or \"COM5\"";
    checks.refuse(typed.span(), text);
    None
}

const MIN_TIMEOUT: Duration = Duration::from_millis(1);
