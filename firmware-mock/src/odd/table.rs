//! The table of odd devices, `firmware-mock/odd.toml`.
//!
//! One job: the form of the table, and finding a device in it. It refuses to know how rules are carried out.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;
use usbip_wire::Speed;

use super::hex::{self, Hex};

/// One device of the table: what it says of itself, how it answers, and what usbpipe makes of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OddDevice {
    /// Its name, as in `odd:NAME`.
    pub name: String,
    /// What is odd about it, and where that was seen.
    pub about: String,
    /// The signalling rate.
    pub(super) speed: OddSpeed,
    /// The device descriptor.
    pub(super) device: Hex,
    /// The configuration descriptor with all that belongs to it.
    pub(super) configuration: Hex,
    /// By index: a text, or a whole descriptor after `hex:`. A string that is absent is refused.
    #[serde(default)]
    pub(super) strings: BTreeMap<String, OddString>,
    #[serde(default)]
    pub(super) control: ControlRules,
    #[serde(default)]
    pub(super) endpoint: Vec<EndpointRules>,
    /// What `usbpipe list` shows: ids, and class, subclass and protocol of each interface.
    pub list: String,
    /// Its product string as `usbpipe` reads it, if it does.
    pub product: Option<String>,
    /// Its endpoints as `usbpipe` understands them: `INTERFACE.SETTING ADDRESS TYPE PACKET`.
    #[serde(default)]
    pub endpoints: Vec<String>,
    /// What becomes of it when it is bridged.
    #[serde(default)]
    pub case: Vec<Case>,
}

/// How a device is bridged, and what is there then.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What follows `[[device]]`, `name` and `remote` in a configuration; without it, `usbpipe bridge` is meant.
    pub config: Option<String>,
    /// A part of why it is not attached, where it cannot be.
    pub reason: Option<String>,
    /// The outlets of its pipes, in order.
    pub outlets: Vec<String>,
    /// A part of each line that the daemon logs as a warning or an error about this device.
    #[serde(default)]
    pub says: Vec<String>,
    /// A part of what `status` shows as `problem`, by outlet.
    #[serde(default)]
    pub problems: BTreeMap<String, String>,
    /// What programs do, in this order.
    #[serde(default)]
    pub steps: Vec<Step>,
}

/// One thing that a program does; one of `open`, `read`, `write`, `control`, `serial` and `line` is there.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Opens this outlet for reading, and keeps it open to the end.
    pub open: Option<String>,
    /// Reads `hex` from this outlet.
    pub read: Option<String>,
    /// Writes `hex` to this outlet.
    pub write: Option<String>,
    /// Makes this request of `usbpipe control`, which prints `answer`.
    pub control: Option<String>,
    /// Makes this request of `usbpipe serial`, which prints `answer`.
    pub serial: Option<String>,
    /// Writes the line `request` to this socket, which answers with `answer`.
    pub line: Option<String>,
    /// What is asked at `line`.
    #[serde(default)]
    pub request: String,
    /// The bytes that go through an outlet.
    #[serde(default)]
    pub hex: Hex,
    /// What a request is answered, or begins with if it ends in `…`.
    #[serde(default)]
    pub answer: String,
}

/// How requests to endpoint 0 are answered.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ControlRules {
    /// The longest wLength of an IN request that is not refused.
    pub(super) most: Option<u16>,
    /// An answer that is shorter than wLength and fills its last packet is not ended by a ZLP.
    pub(super) no_zlp: bool,
    /// Setup packets that begin so are refused.
    pub(super) refuses: Vec<Hex>,
    /// Setup packets that begin so are never answered.
    pub(super) silent: Vec<Hex>,
    /// Answers to setup packets that begin so.
    pub(super) answers: Vec<Answer>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    pub(super) setup: Hex,
    pub(super) data: Hex,
}

/// How an endpoint behaves. One that is not in the table has nothing to send, and takes everything.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndpointRules {
    pub(super) address: u8,
    /// IN: messages, each of whole packets and a short one. Isochronous: packets, over and over.
    #[serde(default)]
    pub(super) sends: Vec<Hex>,
    /// IN: whether the messages begin anew after the last.
    #[serde(default)]
    pub(super) again: bool,
    /// IN: milliseconds between two messages.
    #[serde(default)]
    pub(super) every: u64,
    /// IN: whether a message that fills its last packet is closed by a ZLP.
    #[serde(default)]
    pub(super) zlp: bool,
    /// OUT: each transfer becomes a message of this endpoint.
    #[serde(default)]
    pub(super) echo: Option<u8>,
    /// Transfers end with this status, such as -71 (EPROTO).
    #[serde(default)]
    pub(super) fails: Option<i32>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum OddSpeed {
    Low,
    Full,
    High,
    Super,
}

/// A raw string descriptor.
#[derive(Debug)]
pub(super) struct OddString(pub(super) Vec<u8>);

impl<'de> Deserialize<'de> for OddString {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.strip_prefix("hex:") {
            Some(raw) => hex::parse(raw).map(Self).map_err(serde::de::Error::custom),
            None => {
                let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
                Ok(Self([&[units.len() as u8 + 2, 3], &units[..]].concat()))
            }
        }
    }
}

impl OddDevice {
    pub(super) fn speed(&self) -> Speed {
        match self.speed {
            OddSpeed::Low => Speed::Low,
            OddSpeed::Full => Speed::Full,
            OddSpeed::High => Speed::High,
            OddSpeed::Super => Speed::Super,
        }
    }

    /// The descriptor that wValue of GET_DESCRIPTOR names.
    pub(super) fn descriptor(&self, value: u16) -> Option<&[u8]> {
        match value.to_be_bytes() {
            [1, 0] => Some(&self.device.0),
            [2, 0] => Some(&self.configuration.0),
            [3, index] => match self.strings.get(&index.to_string()) {
                Some(string) => Some(&string.0),
                None if index == 0 && !self.strings.is_empty() => Some(&US_ENGLISH),
                None => None,
            },
            _ => None,
        }
    }

    /// Bytes of a packet of endpoint 0: a power of two from USB 3 on.
    pub(super) fn control_packet(&self) -> usize {
        match (self.speed, self.device.0.get(7)) {
            (OddSpeed::Super, _) => 512,
            (_, Some(&size)) if size > 0 => size.into(),
            _ => 8,
        }
    }
}

/// A device of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Odd(u16);

impl Odd {
    /// All of them, in the order of the table.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        (0..TABLE.len() as u16).map(Self)
    }

    /// The device with this name.
    pub fn find(name: &str) -> Option<Self> {
        Self::all().find(|odd| odd.device().name == name)
    }

    /// What the table says of it.
    pub fn device(self) -> &'static OddDevice {
        &TABLE[usize::from(self.0)]
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    device: Vec<OddDevice>,
}

static TABLE: LazyLock<Vec<OddDevice>> = LazyLock::new(|| {
    let table: Table = toml::from_str(include_str!("../../odd.toml")).expect("a test reads the table");
    table.device
});

/// The list of languages of a device that has strings and says nothing else.
const US_ENGLISH: [u8; 4] = [4, 3, 0x09, 0x04];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_reads_and_each_device_has_a_name_ids_and_a_case_of_its_own() {
        let devices: Vec<&OddDevice> = Odd::all().map(Odd::device).collect();
        let names: BTreeSet<&str> = devices.iter().map(|device| device.name.as_str()).collect();
        let ids: BTreeSet<&[u8]> = devices.iter().map(|device| &device.device.0[8..12]).collect();
        assert_eq!((names.len(), ids.len()), (devices.len(), devices.len()));
        for device in devices {
            assert!(!device.case.is_empty(), "{} has no case", device.name);
            assert!(device.list.contains(':'), "{} says nothing for `list`", device.name);
        }
    }

    #[test]
    fn a_step_does_one_thing() {
        for device in Odd::all().map(Odd::device) {
            for step in device.case.iter().flat_map(|case| &case.steps) {
                let things = [&step.open, &step.read, &step.write, &step.control, &step.serial, &step.line];
                assert_eq!(things.iter().filter(|thing| thing.is_some()).count(), 1, "{}: {step:?}", device.name);
            }
        }
    }
}
