//! The meaning of `[[device.pipe]]` tables. Knows no descriptor: whether an endpoint exists shows when the device does.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;

use super::checks::{Checks, choice};
use crate::config::typed::{Typed, TypedPipe};
use crate::config::value::{DAY, Value};
use crate::config::{DEFAULT_QUEUE, DEFAULT_TRANSFER, Framing, OutletKind, Patience, PipeConfig};

/// What the tables of one device mean.
pub(super) fn pipes(checks: &mut Checks<'_>, typed: &[Spanned<TypedPipe>]) -> Vec<PipeConfig> {
    let mut pipes: Vec<PipeConfig> = Vec::new();
    for typed in typed {
        if let Some(pipe) = pipe(checks, typed.get_ref()) {
            check_beside(checks, typed, &pipe, &pipes);
            pipes.push(pipe);
        }
    }
    pipes
}

fn pipe(checks: &mut Checks<'_>, table: &TypedPipe) -> Option<PipeConfig> {
    let endpoint = checks.read_one("endpoint", &table.endpoint, endpoint)?;
    let default = PipeConfig::new(endpoint);
    check_direction(checks, table, default.is_in());
    let framing = choice(&table.framing).unwrap_or_default();
    let outlets = outlets(checks, table).unwrap_or(default.outlets);
    let transfer = transfer(checks, table, framing, &outlets);
    Some(PipeConfig {
        endpoint,
        interface: checks.read("interface", &table.interface, |v| v.integer(0..=255)),
        alt: checks.read("alt", &table.alt, |v| v.integer(0..=255)),
        queue: queue(checks, table, transfer.unwrap_or(DEFAULT_TRANSFER)),
        transfer,
        outlets,
        framing,
        idle: choice(&table.idle).unwrap_or_default(),
        on_open: choice(&table.on_open).unwrap_or_default(),
        stall: choice(&table.stall).unwrap_or_default(),
        zlp: zlp(checks, table, framing, endpoint & 0x80 != 0),
        flush: checks.read("flush", &table.flush, |v| v.duration(Duration::ZERO..=DAY)).unwrap_or(default.flush),
        patience: checks.read("patience", &table.patience, patience).unwrap_or_default(),
        writers: choice(&table.writers).unwrap_or_default(),
        prebuffer: ring(checks, "prebuffer", &table.prebuffer, Duration::ZERO).unwrap_or(default.prebuffer),
        underrun: choice(&table.underrun).unwrap_or_default(),
        packet: packet(checks, table, framing),
        buffer: ring(checks, "buffer", &table.buffer, MIN_BUFFER).unwrap_or(default.buffer),
        access: checks.access(&table.owner, &table.group, &table.mode, &table.sddl),
    })
}

fn endpoint(value: &Value) -> Result<u8, String> {
    let address = value.integer(0x01..=0x8f).ok().filter(|address: &u8| address & 0x70 == 0 && address & 0x0f != 0);
    address.ok_or_else(|| match value {
        Value::Integer(number) => format!("is {number:#04x}, {ENDPOINTS}"),
        _ => format!("is {value}, {ENDPOINTS}"),
    })
}

/// A key of the other direction would be silently without effect.
fn check_direction(checks: &mut Checks<'_>, table: &TypedPipe, is_in: bool) {
    let (foreign, own, other) =
        if is_in { (keys_of_out(table), "IN", "OUT") } else { (keys_of_in(table), "OUT", "IN") };
    for (key, span) in foreign {
        let endpoint = table.endpoint.get_ref();
        if let (Some(span), Value::Integer(number)) = (span, endpoint) {
            checks.refuse(span, format!("`{key}` is for {other} endpoints, but {number:#04x} is {own}; leave it out"));
        }
    }
}

fn keys_of_in(table: &TypedPipe) -> Vec<(&'static str, Option<Range<usize>>)> {
    let jsonl = table.framing.as_ref().filter(|framing| *framing.get_ref() == Framing::Jsonl);
    vec![
        ("framing = \"jsonl\"", jsonl.map(Spanned::span)),
        ("idle", span(&table.idle)),
        ("on_open", span(&table.on_open)),
        ("patience", span(&table.patience)),
        ("buffer", span(&table.buffer)),
    ]
}

fn keys_of_out(table: &TypedPipe) -> Vec<(&'static str, Option<Range<usize>>)> {
    vec![
        ("zlp", span(&table.zlp)),
        ("flush", span(&table.flush)),
        ("writers", span(&table.writers)),
        ("prebuffer", span(&table.prebuffer)),
        ("underrun", span(&table.underrun)),
        ("packet", span(&table.packet)),
    ]
}

fn outlets(checks: &mut Checks<'_>, table: &TypedPipe) -> Option<Vec<OutletKind>> {
    let typed = table.outlets.as_ref()?;
    if typed.get_ref().is_empty() {
        checks.refuse(typed.span(), "`outlets` is empty; name at least one of fifo, socket");
    }
    for kind in typed.get_ref().iter().filter(|kind| *kind.get_ref() == OutletKind::Tty) {
        checks.refuse(kind.span(), "a tty is for [device.serial]; an endpoint has fifo and socket");
    }
    checks.outlets(&table.outlets)
}

/// What its outlets cannot keep together is refused.
fn transfer(checks: &mut Checks<'_>, table: &TypedPipe, framing: Framing, outlets: &[OutletKind]) -> Option<u32> {
    let most = framing.longest_transfer(outlets);
    let (what, instead) = match outlets.contains(&OutletKind::Fifo) {
        true => ("fifo", ", or for socket outlets only"),
        false => ("socket", ", or for framing = \"length\""),
    };
    let typed = checks.read("transfer", &table.transfer, |v| v.size(1..=MAX_TRANSFER));
    let wanted = typed?;
    if let (true, Some(span)) = (wanted > most, span(&table.transfer)) {
        checks.refuse(
            span,
            format!(
                "`transfer` is {wanted}, but a {what} in packet framing keeps at most {most} bytes together; ask for \
             less{instead}"
            ),
        );
    }
    Some(wanted.min(most))
}

/// In a stream nothing says where a message ends.
fn zlp(checks: &mut Checks<'_>, table: &TypedPipe, framing: Framing, is_in: bool) -> Option<bool> {
    let wanted = choice(&table.zlp);
    if let (Some(true), Some(span), Framing::Stream, false) = (wanted, span(&table.zlp), framing, is_in) {
        checks.refuse(
            span,
            "`zlp` closes messages, and in stream framing there are none; add a `framing` or leave it out",
        );
    }
    wanted
}

fn queue(checks: &mut Checks<'_>, table: &TypedPipe, transfer: u32) -> Option<u16> {
    let given = checks.read("queue", &table.queue, |v| v.integer(1..=256));
    let queue: u16 = given.unwrap_or(DEFAULT_QUEUE);
    let span = span(&table.queue).or(span(&table.transfer));
    if let (Some(span), true) = (span, u64::from(transfer) * u64::from(queue) > MAX_IN_FLIGHT) {
        checks.refuse(
            span,
            format!("`transfer` × `queue` is {transfer} × {queue} bytes, but must be at most 64M; lower one"),
        );
    }
    given
}

/// A time, or `"forever"`.
pub(super) fn patience(value: &Value) -> Result<Patience, String> {
    match value {
        Value::Text(text) if text == "forever" => Ok(Patience::Forever),
        value => {
            let time = value.duration(Duration::ZERO..=DAY);
            time.map(Patience::After).map_err(|why| format!("{why}, or \"forever\""))
        }
    }
}

/// A time that is kept in memory.
fn ring(checks: &mut Checks<'_>, key: &str, typed: &Typed<Value>, least: Duration) -> Option<Duration> {
    checks.read(key, typed, |v| v.duration(least..=MAX_BUFFER))
}

fn packet(checks: &mut Checks<'_>, table: &TypedPipe, framing: Framing) -> Option<u32> {
    if let (Some(span), true) = (span(&table.packet), framing != Framing::Stream) {
        checks.refuse(span, "`packet` is for stream framing; in this framing each message is a packet, leave it out");
    }
    checks.read("packet", &table.packet, |v| v.size(1..=MAX_PACKET))
}

/// One address is one name on disk and one transfer queue; an interface has one alternate setting at a time.
fn check_beside(checks: &mut Checks<'_>, typed: &Spanned<TypedPipe>, pipe: &PipeConfig, others: &[PipeConfig]) {
    if others.iter().any(|other| other.endpoint == pipe.endpoint) {
        let span = typed.get_ref().endpoint.span();
        checks.refuse(span, format!("endpoint {:#04x} is already a pipe of this device; keep one", pipe.endpoint));
    }
    let (Some(interface), Some(alt), Some(span)) = (pipe.interface, pipe.alt, span(&typed.get_ref().alt)) else {
        return;
    };
    let rivals =
        |other: &&PipeConfig| other.interface == Some(interface) && other.alt.is_some_and(|theirs| theirs != alt);
    if let Some(PipeConfig { endpoint, alt: Some(theirs), .. }) = others.iter().find(rivals) {
        let rival = format!("endpoint {endpoint:#04x} asks for {theirs}");
        checks.refuse(span, format!("an interface has one alternate setting at a time, and {rival}; agree on one"));
    }
}

fn span<T>(typed: &Typed<T>) -> Option<Range<usize>> {
    typed.as_ref().map(Spanned::span)
}

const ENDPOINTS: &str = "but must be an endpoint address: 0x81 to 0x8f (IN) or 0x01 to 0x0f (OUT)";
const MAX_TRANSFER: i128 = 16 << 20;
const MAX_IN_FLIGHT: u64 = 64 << 20;
/// The most of one service interval of SuperSpeed: 3 bursts of 16 packets of 1024 bytes (USB 3.2 §9.6.7).
const MAX_PACKET: i128 = 3 * 16 * 1024;
const MIN_BUFFER: Duration = Duration::from_millis(1);
/// Longer would be a recording, not a buffer, and memory is bounded.
const MAX_BUFFER: Duration = Duration::from_secs(10);
