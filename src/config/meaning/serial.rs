//! The meaning of a `[device.serial]` table. Knows no driver's abilities.

use std::time::Duration;

use toml::Spanned;

use super::checks::{Checks, choice};
use super::network::network;
use super::pipe::patience;
use crate::config::typed::TypedSerial;
use crate::config::value::{DAY, Value};
use crate::config::{
    Access, Backend, Driver, Flow, Idle, OnOpen, OutletKind, PROFILES, Program, SerialConfig, SerialMode, Unread,
};

/// What the table means for a device that `is_remote` or hangs on this machine, reached by this backend.
pub(super) fn serial(
    checks: &mut Checks<'_>,
    typed: &Spanned<TypedSerial>,
    backend: Backend,
    is_remote: bool,
) -> SerialConfig {
    let table = typed.get_ref();
    let default = SerialConfig::default();
    let run = run(checks, table);
    let has_other_use = run.is_some() || table.rfc2217.is_some() || table.tcp.is_some();
    let any_time = Duration::ZERO..=DAY;
    let driver = driver(checks, table, is_remote);
    let by_usb = match backend {
        Backend::Serial => false,
        Backend::Auto => driver == Driver::User,
        Backend::Nusb | Backend::Libusb | Backend::Usbip => true,
    };
    SerialConfig {
        driver,
        lock: choice(&table.lock).unwrap_or(default.lock),
        baud: checks.read("baud", &table.baud, |v| v.integer(1..=u32::MAX.into())),
        mode: mode(checks, table),
        flow: flow(checks, table, by_usb),
        dtr: choice(&table.dtr),
        rts: choice(&table.rts),
        reset: choice(&table.reset).unwrap_or_default(),
        profile: profile(checks, table).unwrap_or(default.profile),
        boot_wait: checks.read("boot_wait", &table.boot_wait, |v| v.duration(any_time.clone())).unwrap_or_default(),
        outlets: outlets(checks, table, has_other_use).unwrap_or(default.outlets),
        run,
        unread: unread(checks, table).unwrap_or_default(),
        on_open: choice(&table.on_open).unwrap_or_default(),
        idle: choice(&table.idle).unwrap_or_default(),
        flush: checks.read("flush", &table.flush, |v| v.duration(any_time)).unwrap_or(default.flush),
        patience: checks.read("patience", &table.patience, patience).unwrap_or_default(),
        network: network(checks, table),
        interface: checks.read("interface", &table.interface, |v| v.integer(0..=255)),
        access: Access { mode: None, ..checks.access(&table.owner, &table.group, &None, &table.sddl) },
    }
}

fn driver(checks: &mut Checks<'_>, table: &TypedSerial, is_remote: bool) -> Driver {
    match &table.driver {
        Some(typed) if is_remote && *typed.get_ref() == Driver::Kernel => {
            checks.refuse(typed.span(), "a device with `remote` has no port of this kernel; write driver = \"user\"");
            Driver::User
        }
        Some(typed) => *typed.get_ref(),
        None if is_remote => Driver::User,
        None => Driver::default(),
    }
}

/// CDC ACM has no request for it: PSTN 1.2, 6.3.
fn flow(checks: &mut Checks<'_>, table: &TypedSerial, by_usb: bool) -> Flow {
    let flow = choice(&table.flow).unwrap_or_default();
    if let (Some(typed), true) = (&table.flow, by_usb && flow != Flow::None) {
        let text = "CDC ACM has no flow control, USB holds both sides up already; leave `flow` out, or use the system's \
                    serial port (driver = \"kernel\")";
        checks.refuse(typed.span(), text);
    }
    if let (Flow::RtsCts, Some(rts)) = (flow, &table.rts) {
        checks.refuse(rts.span(), "with flow = \"rtscts\" RTS is the flow control's; leave `rts` out");
    }
    flow
}

fn unread(checks: &mut Checks<'_>, table: &TypedSerial) -> Option<Unread> {
    let unread = checks.read("unread", &table.unread, |value| match value {
        Value::Text(text) if text == "forever" => Ok(Unread::Forever),
        Value::Text(text) if text == "0" => Ok(Unread::For(Duration::ZERO)),
        value => {
            let time = value.duration(Duration::ZERO..=DAY);
            time.map(Unread::For).map_err(|why| format!("{why}, or \"forever\""))
        }
    })?;
    let discards = [
        ("on_open = \"discard\"", choice(&table.on_open) == Some(OnOpen::Discard)),
        ("idle = \"drain\"", choice(&table.idle) == Some(Idle::Drain)),
    ];
    let other = discards.iter().find(|(_, is_there)| *is_there && unread != Unread::For(Duration::ZERO));
    if let (Some((key, _)), Some(typed)) = (other, &table.unread) {
        checks.refuse(typed.span(), format!("`{key}` keeps nothing that nobody reads; leave one of the two out"));
    }
    Some(unread)
}

fn mode(checks: &mut Checks<'_>, table: &TypedSerial) -> Option<SerialMode> {
    let typed = table.mode.as_ref()?;
    let parsed = typed.get_ref().parse();
    parsed.map_err(|error| checks.refuse(typed.span(), format!("`mode` {:?} is {error}", typed.get_ref()))).ok()
}

fn profile(checks: &mut Checks<'_>, table: &TypedSerial) -> Option<String> {
    let typed = table.profile.as_ref()?;
    if PROFILES.contains(&typed.get_ref().as_str()) {
        return Some(typed.get_ref().clone());
    }
    checks.refuse(typed.span(), format!("no such profile; write {}", PROFILES.join(", ")));
    None
}

/// A function whose bytes go to a program of its own, or over the network, needs no outlet.
fn outlets(checks: &mut Checks<'_>, table: &TypedSerial, has_other_use: bool) -> Option<Vec<OutletKind>> {
    let typed = table.outlets.as_ref()?;
    if typed.get_ref().is_empty() && !has_other_use {
        checks.refuse(typed.span(), "`outlets` is empty; name at least one of fifo, socket, tty");
    }
    checks.outlets(&table.outlets)
}

fn run(checks: &mut Checks<'_>, table: &TypedSerial) -> Option<Program> {
    let typed = table.run.as_ref()?;
    if typed.get_ref().first().is_none_or(|program| program.get_ref().is_empty()) {
        checks.refuse(typed.span(), "`run` names no program; write [\"program\", \"argument\", …]");
    }
    for word in typed.get_ref().iter().filter(|word| word.get_ref().contains('\0')) {
        checks.refuse(word.span(), "a program's argument cannot hold a NUL character; leave it out");
    }
    let words = typed.get_ref().iter().map(|word| word.get_ref().clone()).collect();
    Some(Program { words, folder: checks.folder() })
}
