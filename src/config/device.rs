//! What the configuration says of one device, with the defaults filled in. Reads no text.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use super::{Framing, OutletKind, PipeConfig, SerialConfig, kinds};
use crate::name::sanitize;
use crate::selector::{self, Remote, Selector};

/// One `[[device]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceConfig {
    /// Name on disk, already sanitised.
    pub name: String,
    /// Which device it is; all fields `None` only where [`DeviceConfig::remote`] is there.
    pub matches: Match,
    /// How it is reached.
    pub backend: Backend,
    /// The USB/IP server it hangs on.
    pub remote: Option<Remote>,
    /// What becomes of open outlets when it goes.
    pub unplug: Unplug,
    /// How long a control transfer may take; 5 s.
    pub timeout: Duration,
    /// Owner and permissions of its outlets, where an outlet says nothing else.
    pub access: Access,
    /// The bridged endpoints, no two with one address.
    pub pipes: Vec<PipeConfig>,
    /// The first serial function, if bridged.
    pub serial: Option<SerialConfig>,
    /// Others, with their number counted from 0: 1 is `serial-2`.
    pub more_serial: Vec<(usize, SerialConfig)>,
    /// What programs open, where neither `pipes` nor `serial` say it and everything is bridged; FIFOs, and a terminal
    /// for a serial function.
    pub outlets: Vec<OutletKind>,
    /// Which endpoints are bridged then, and how; all of them as byte streams.
    pub endpoints: EndpointDefaults,
    /// Whether a kernel driver may be detached from the interfaces (and gets them back at the end); false.
    pub detach: bool,
}

/// What a device must have; an absent field takes anything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Match {
    /// idVendor.
    pub vid: Option<u16>,
    /// idProduct, any of these; empty takes anything.
    pub pid: Vec<u16>,
    /// The serial number string, exactly.
    pub serial: Option<String>,
    /// Place on the bus, such as `1-1.4`, or a serial port of the system, such as `/dev/ttyS0` or `COM5`.
    pub port: Option<String>,
    /// The product string, exactly.
    pub product: Option<String>,
}

/// What holds for endpoints that no `[[device.pipe]]` names. Only the command line sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndpointDefaults {
    /// The one interface whose endpoints are bridged; `None` bridges all.
    pub interface: Option<u8>,
    /// The alternate setting of that interface, or of each interface that has it.
    pub alt: Option<u8>,
    /// How transfers look to programs; OUT endpoints have no `jsonl` and stay byte streams.
    pub framing: Framing,
}

/// How a device is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// USB/IP where a remote is given, else what the operating system offers.
    #[default]
    Auto,
    /// The nusb crate.
    Nusb,
    /// The libusb library.
    Libusb,
    /// The operating system's serial port alone.
    Serial,
    /// A USB/IP server.
    Usbip,
}

/// What becomes of open outlets when the device goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unplug {
    /// Programs wait until it is back.
    #[default]
    Hold,
    /// Readers get end of file, writers EPIPE.
    Eof,
}

/// Owner and permissions of outlets, of which a system knows its own; `None` keeps the default or what the device says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// User name or number.
    pub owner: Option<String>,
    /// Group name or number.
    pub group: Option<String>,
    /// Permission bits, at most 0o777.
    pub mode: Option<u32>,
    /// Security descriptor of Windows as text (SDDL).
    pub sddl: Option<String>,
}

impl DeviceConfig {
    /// Whether this differs from `other` in nothing but settings of the serial line, which can be changed while programs
    /// have it open.
    pub fn is_but_for_settings(&self, other: &Self) -> bool {
        let without = |config: &Self| Self {
            serial: config.serial.as_ref().map(SerialConfig::without_settings),
            ..config.clone()
        };
        without(self) == without(other)
    }

    /// How long its end may wait for the device to take what programs have written.
    pub fn longest_flush(&self) -> Duration {
        let lines = self.serial_lines().map(|(_, serial)| serial.flush);
        let longest = self.pipes.iter().map(|pipe| pipe.flush).chain(lines).max();
        longest.unwrap_or_default().max(PipeConfig::new(0x01).flush)
    }

    /// A device of this name with every default, which matches nothing yet and bridges nothing yet.
    pub fn new(name: &str) -> Self {
        Self {
            name: sanitize(name),
            matches: Match::default(),
            backend: Backend::default(),
            remote: None,
            unplug: Unplug::default(),
            timeout: Duration::from_secs(5),
            access: Access::default(),
            pipes: Vec::new(),
            serial: None,
            more_serial: Vec::new(),
            outlets: kinds::of_device(),
            endpoints: EndpointDefaults::default(),
            detach: false,
        }
    }
}

impl DeviceConfig {
    /// Its serial lines with their numbers, counted from 0.
    pub fn serial_lines(&self) -> impl Iterator<Item = (usize, &SerialConfig)> {
        let more = self.more_serial.iter().map(|(nth, serial)| (*nth, serial));
        self.serial.iter().map(|serial| (0, serial)).chain(more)
    }
}

impl Match {
    /// Whether nothing is asked for, so that any device would do.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What a selector says; nothing of one that names a device of a USB/IP server.
    pub fn of(selector: &Selector) -> Self {
        let mut wanted = Self::default();
        match selector.clone() {
            Selector::Id { vid, pid, serial } => {
                (wanted.vid, wanted.pid, wanted.serial) = (Some(vid), vec![pid], serial);
            }
            Selector::Product(product) => wanted.product = Some(product),
            Selector::Serial(serial) => wanted.serial = Some(serial),
            Selector::Port(port) => wanted.port = Some(port),
            Selector::Tty(path) => wanted.port = Some(path.display().to_string()),
            Selector::Usbip(_) => {}
        }
        wanted
    }

    /// The selector that says the same, if there is one.
    fn selector(&self) -> Option<Selector> {
        let (vid, pid) = (self.vid, self.pid.first().copied());
        let candidates = [
            vid.zip(pid).map(|(vid, pid)| Selector::Id { vid, pid, serial: self.serial.clone() }),
            self.product.clone().map(Selector::Product),
            self.serial.clone().map(Selector::Serial),
            self.port.as_ref().and_then(|port| port.parse().ok()),
        ];
        candidates.into_iter().flatten().find(|selector| Self::of(selector) == *self)
    }

    /// The serial port of the system that [`Match::port`] names, if it does not name a place on the bus.
    pub fn tty(&self) -> Option<&str> {
        self.port.as_deref().filter(|port| !selector::is_port(port))
    }

    /// Whether a device with these ids and strings is meant, wherever it is plugged in.
    pub fn fits(&self, vid: u16, pid: u16, serial: Option<&str>, product: Option<&str>) -> bool {
        self.vid.is_none_or(|wanted| wanted == vid)
            && (self.pid.is_empty() || self.pid.contains(&pid))
            && self.serial.as_deref().is_none_or(|wanted| Some(wanted) == serial)
            && self.product.as_deref().is_none_or(|wanted| Some(wanted) == product)
    }
}

/// As a selector, so that it can be typed; in words where several keys are needed.
impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(selector) = self.selector() {
            return selector.fmt(f);
        }
        let pids: Vec<String> = self.pid.iter().map(|pid| format!("{pid:04x}")).collect();
        let pids = if pids.is_empty() { "*".to_owned() } else { pids.join("|") };
        let parts = [
            self.vid.map(|vid| format!("{vid:04x}:{pids}")),
            self.product.as_ref().map(|product| format!("product {product:?}")),
            self.serial.as_ref().map(|serial| format!("serial {serial:?}")),
            self.port.as_ref().map(|port| format!("port {port}")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() { f.write_str("any device") } else { f.write_str(&parts.join(", ")) }
    }
}

impl Access {
    /// These settings, and `general` where they say nothing.
    pub fn or(&self, general: &Self) -> Self {
        Self {
            owner: self.owner.clone().or_else(|| general.owner.clone()),
            group: self.group.clone().or_else(|| general.group.clone()),
            mode: self.mode.or(general.mode),
            sddl: self.sddl.clone().or_else(|| general.sddl.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_new_device_has_the_defaults_of_the_contract() {
        let device = DeviceConfig::new("my/probe");
        assert_eq!(device.name, "my_probe");
        assert_eq!(device.timeout, Duration::from_secs(5));
        assert_eq!((device.backend, device.unplug, device.detach), (Backend::Auto, Unplug::Hold, false));
        assert!(device.matches.is_empty());
    }

    #[test]
    fn a_match_prints_as_a_selector_where_there_is_one() {
        for text in ["2341:0043", "2341:0043:A B", "serial:A B", "product:My Probe", "1-1.4", "/dev/ttyS0"] {
            assert_eq!(Match::of(&text.parse().unwrap()).to_string(), text);
        }
        let two = Match { pid: vec![0x43, 1], ..Match::of(&"2341:0043:S".parse().unwrap()) };
        assert_eq!(two.to_string(), "2341:0043|0001, serial \"S\"");
        let placed = Match { port: Some("1-1".into()), ..Match::of(&"product:P".parse().unwrap()) };
        assert_eq!(placed.to_string(), "product \"P\", port 1-1");
        assert_eq!(Match::default().to_string(), "any device");
    }

    proptest! {
        #[test]
        fn what_a_selector_says_prints_as_the_selector(
            text in "[0-9a-f]{4}:[0-9a-f]{4}(:.{1,6})?|(product|serial):.{1,9}|[1-9]{1,2}-[1-9](\\.[1-9]){0,3}|(/dev/|COM).{1,5}",
        ) {
            if let Ok(selector) = text.parse::<Selector>() {
                let printed = Match::of(&selector).to_string();
                prop_assert_eq!(printed.parse(), Ok(selector), "{}", printed);
            }
        }
    }

    #[test]
    fn an_outlets_access_goes_before_its_devices() {
        let text = |text: &str| Some(text.to_owned());
        let device = Access { owner: text("a"), group: text("b"), mode: None, sddl: text("D:(A;;GA;;;SY)") };
        let outlet = Access { owner: None, group: text("c"), mode: Some(0o600), sddl: None };
        let both = Access { owner: text("a"), mode: Some(0o600), group: text("c"), sddl: text("D:(A;;GA;;;SY)") };
        assert_eq!(outlet.or(&device), both);
    }
}
