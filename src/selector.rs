//! How a user names one device on the command line, parsed into a type. Looks for no device and resolves no host.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;

/// One device, as named on the command line. Printing a parsed selector parses back to the same selector.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Selector {
    /// `2341:0043` or `2341:0043:SERIAL`: idVendor and idProduct in hex, and iSerialNumber as the device spells it.
    Id {
        /// idVendor.
        vid: u16,
        /// idProduct.
        pid: u16,
        /// The serial number string; `None` takes any.
        serial: Option<String>,
    },
    /// `product:NAME`: the product string as the device spells it.
    Product(String),
    /// `serial:SERIAL`: the serial number string as the device spells it, whatever its ids are.
    Serial(String),
    /// `1-1.4`: bus number, then the ports from the root hub down, as in `/sys/bus/usb/devices`.
    Port(String),
    /// `/dev/ttyACM0` or `COM5`: a serial port of the operating system.
    Tty(PathBuf),
    /// `usbip://host[:port]/busid`: a device of a USB/IP server. Its [`Remote::busid`] is always there.
    Usbip(Remote),
}

/// A USB/IP server and, where one is chosen, the device it exports: `usbip://host[:port][/busid]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Remote {
    /// Host name or address; an IPv6 address stands here without its brackets.
    pub host: String,
    /// TCP port, [`DEFAULT_PORT`] where none was written.
    pub port: u16,
    /// Bus id on the server, such as `1-1.4`.
    pub busid: Option<String>,
}

/// The text is no selector. The message names what was written and the accepted forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectorError(String);

/// TCP port registered for USB/IP.
pub const DEFAULT_PORT: u16 = 3240;

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        if text.starts_with(SCHEME) {
            return parse_usbip(text);
        }
        if let Some(product) = text.strip_prefix(PRODUCT) {
            return named(product).map(Self::Product).ok_or_else(|| refused(text));
        }
        if let Some(serial) = text.strip_prefix(SERIAL) {
            return named(serial).map(Self::Serial).ok_or_else(|| refused(text));
        }
        if let Some(path) = tty(text) {
            return Ok(Self::Tty(path));
        }
        if is_port(text) {
            return Ok(Self::Port(text.to_owned()));
        }
        parse_id(text).ok_or_else(|| refused(text))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id { vid, pid, serial: None } => write!(f, "{vid:04x}:{pid:04x}"),
            Self::Id { vid, pid, serial: Some(serial) } => write!(f, "{vid:04x}:{pid:04x}:{serial}"),
            Self::Product(product) => write!(f, "{PRODUCT}{product}"),
            Self::Serial(serial) => write!(f, "{SERIAL}{serial}"),
            Self::Port(port) => f.write_str(port),
            Self::Tty(path) => path.display().fmt(f),
            Self::Usbip(remote) => remote.fmt(f),
        }
    }
}

impl FromStr for Remote {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        parse_remote(text)
            .map_err(|why| SelectorError(format!("`{}` {why}; write usbip://host[:port][/busid]", text.escape_debug())))
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)?;
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        if self.port != DEFAULT_PORT {
            write!(f, ":{}", self.port)?;
        }
        self.busid.as_ref().map_or(Ok(()), |busid| write!(f, "/{busid}"))
    }
}

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SelectorError {}

/// Whether the text is a place on the bus as Linux writes it: `1-1.4`. At most 7 tiers, USB 2.0 §4.1.1.
pub fn is_port(text: &str) -> bool {
    let Some((bus, path)) = text.split_once('-') else { return false };
    is_tier(bus) && path.split('.').count() <= MAX_TIERS && path.split('.').all(is_tier)
}

fn refused(text: &str) -> SelectorError {
    SelectorError(format!("`{}` is not a device; write {FORMS}", text.escape_debug()))
}

/// A string of a device that can be typed.
fn named(string: &str) -> Option<String> {
    (!string.is_empty() && !string.contains(char::is_control)).then(|| string.to_owned())
}

fn parse_usbip(text: &str) -> Result<Selector, SelectorError> {
    let remote: Remote = text.parse()?;
    match remote.busid {
        Some(_) => Ok(Selector::Usbip(remote)),
        None => {
            Err(SelectorError(format!("`{}` names no device; append its bus id: {remote}/1-1", text.escape_debug())))
        }
    }
}

fn parse_id(text: &str) -> Option<Selector> {
    let mut parts = text.splitn(3, ':');
    let (vid, pid) = (hex_id(parts.next()?)?, hex_id(parts.next()?)?);
    let serial = match parts.next() {
        Some(serial) => Some(named(serial)?),
        None => None,
    };
    Some(Selector::Id { vid, pid, serial })
}

fn hex_id(text: &str) -> Option<u16> {
    let digits = (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    digits.then(|| u16::from_str_radix(text, 16).ok()).flatten()
}

fn tty(text: &str) -> Option<PathBuf> {
    let device = text.strip_prefix(r"\\.\").unwrap_or(text);
    let number = device.get(..3).filter(|com| com.eq_ignore_ascii_case("com")).map(|_| &device[3..]);
    let is_com = number.is_some_and(is_tier);
    let is_path = text.len() > 1 && text.starts_with('/') && !text.contains(char::is_control);
    (is_com || is_path).then(|| PathBuf::from(text))
}

/// A number from 1 to 255 as sysfs writes it, that is, without leading zeros.
fn is_tier(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0') && text.parse::<u8>().is_ok()
}

fn parse_remote(text: &str) -> Result<Remote, &'static str> {
    let rest = text.strip_prefix(SCHEME).ok_or("is not a USB/IP address")?;
    let (authority, busid) = match rest.split_once('/') {
        Some((authority, busid)) => (authority, Some(busid)),
        None => (rest, None),
    };
    let (host, port) = split_port(authority)?;
    if !is_host(host) {
        return Err("has no valid host name or address (an IPv6 address goes in brackets)");
    }
    if !busid.is_none_or(is_busid) {
        return Err("has no valid bus id");
    }
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(Remote { host, port, busid: busid.map(str::to_owned) })
}

/// Splits `host`, `host:port` or `[address]:port`; the brackets stay with the host.
fn split_port(authority: &str) -> Result<(&str, u16), &'static str> {
    let bracket = authority.rfind(']').unwrap_or(0);
    let Some(colon) = authority[bracket..].find(':').map(|at| bracket + at) else {
        return Ok((authority, DEFAULT_PORT));
    };
    let digits = &authority[colon + 1..];
    let port = digits.parse().ok().filter(|&port| port > 0 && digits.bytes().all(|b| b.is_ascii_digit()));
    Ok((&authority[..colon], port.ok_or("has no valid port (1 to 65535)")?))
}

fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
        Some(address) => address.is_some_and(is_ipv6),
        None => !host.is_empty() && host.len() <= 253 && host.bytes().all(is_host_byte),
    }
}

/// An IPv6 address; a link-local one may carry its zone (`fe80::1%eth0`).
fn is_ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').unwrap_or((text, "lo"));
    address.parse::<Ipv6Addr>().is_ok() && !zone.is_empty() && zone.bytes().all(is_host_byte)
}

fn is_host_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')
}

/// A bus id fills at most 31 bytes of its field in an import request (kernel document `usbip_protocol`).
fn is_busid(text: &str) -> bool {
    (1..=31).contains(&text.len()) && text.bytes().all(|b| is_host_byte(b) || b == b':')
}

const SCHEME: &str = "usbip://";
const PRODUCT: &str = "product:";
const SERIAL: &str = "serial:";
/// Root port, five hubs and the device.
const MAX_TIERS: usize = 7;
const FORMS: &str = "2341:0043, 2341:0043:SERIAL, serial:SERIAL, product:NAME, 1-1.4, /dev/ttyACM0, COM5 or \
                     usbip://host[:port]/busid";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Selector {
        text.parse().unwrap()
    }

    fn refusal(text: &str) -> String {
        text.parse::<Selector>().unwrap_err().to_string()
    }

    fn remote(host: &str, port: u16, busid: Option<&str>) -> Remote {
        Remote { host: host.into(), port, busid: busid.map(Into::into) }
    }

    #[test]
    fn every_form_of_the_contract_is_understood() {
        assert_eq!(parse("2341:0043"), Selector::Id { vid: 0x2341, pid: 0x43, serial: None });
        assert_eq!(parse("2341:0043:A:B"), Selector::Id { vid: 0x2341, pid: 0x43, serial: Some("A:B".into()) });
        assert_eq!(parse("product:Arduino Uno: rev 3"), Selector::Product("Arduino Uno: rev 3".into()));
        assert_eq!(parse("serial:1-1.4"), Selector::Serial("1-1.4".into()));
        assert_eq!(parse("1-1.4"), Selector::Port("1-1.4".into()));
        assert_eq!(parse("/dev/ttyACM0"), Selector::Tty("/dev/ttyACM0".into()));
        assert_eq!(parse("COM5"), Selector::Tty("COM5".into()));
        assert_eq!(parse("usbip://pi/1-1"), Selector::Usbip(remote("pi", 3240, Some("1-1"))));
    }

    #[test]
    fn a_remote_has_a_default_port_and_an_optional_bus_id() {
        assert_eq!("usbip://lab-pi:3240/1-1.4".parse(), Ok(remote("lab-pi", 3240, Some("1-1.4"))));
        assert_eq!("usbip://127.0.0.1:99".parse(), Ok(remote("127.0.0.1", 99, None)));
    }

    #[test]
    fn an_ipv6_host_loses_its_brackets_and_gets_them_back_in_print() {
        let parsed: Remote = "usbip://[fe80::1%eth0]:99/1-1".parse().unwrap();
        assert_eq!(parsed, remote("fe80::1%eth0", 99, Some("1-1")));
        assert_eq!(parsed.to_string(), "usbip://[fe80::1%eth0]:99/1-1");
    }

    #[test]
    fn a_server_alone_selects_no_device() {
        assert_eq!(refusal("usbip://pi"), "`usbip://pi` names no device; append its bus id: usbip://pi/1-1");
    }

    #[test]
    fn broken_remotes_say_what_is_wrong() {
        for (text, part) in [
            ("usbip://", "host"),
            ("usbip://::1/1-1", "port"),
            ("usbip://[::1/1-1", "host"),
            ("usbip://[pi]/1-1", "host"),
            ("usbip://pi:0/1-1", "port"),
            ("usbip://pi:+1/1-1", "port"),
            ("usbip://pi:70000/1-1", "port"),
            ("usbip://pi/", "bus id"),
            ("usbip://pi/../x", "bus id"),
            ("usbip://user@pi/1-1", "host"),
        ] {
            assert!(refusal(text).contains(part), "{text}: {}", refusal(text));
        }
    }

    #[test]
    fn a_refusal_shows_the_accepted_forms() {
        let ids = ["", "uno", "2341", "2341:", "23412:1", "2341:43:"];
        let places = ["1-", "1-0", "1-01", "300-1", "COM", "/", "a\nb"];
        let strings = ["product:", "serial:", "serial:a\nb", "Product:x"];
        for text in ids.iter().chain(&places).chain(&strings) {
            assert!(refusal(text).contains("usbip://host[:port]/busid"), "{text:?}");
            assert!(!refusal(text).contains('\n'));
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_or_fails_and_what_parses_prints_back(
            text in prop_oneof![
                any::<String>(),
                "[0-9a-f]{1,5}:[0-9a-f]{1,5}(:.{0,6})?",
                "(product|serial):.{0,9}",
                "[0-9]{1,3}-[0-9.]{1,9}",
                "(/dev/|COM|com|\\\\\\\\.\\\\COM).{0,5}",
                "usbip://\\[?[0-9a-z:.%-]{0,9}\\]?(:[0-9]{0,6})?(/[0-9.-]{0,9})?",
            ],
        ) {
            if let Ok(selector) = text.parse::<Selector>() {
                prop_assert_eq!(selector.to_string().parse(), Ok(selector));
            }
            if let Ok(remote) = text.parse::<Remote>() {
                prop_assert_eq!(remote.to_string().parse(), Ok(remote));
            }
        }
    }
}
