//! Finds a board again that has come back as its bootloader, or as its application: other ids, the same place or the same
//! serial number.
//!
//! What a configuration says goes first. It follows known boards alone, see [`counterpart`]; for others a configuration
//! names both products: `pid = [0x8036, 0x0036]`.

use super::locate::{Found, Own, locate, uses_port};
use crate::config::{Backend, DeviceConfig, Match};
use crate::serial::{counterpart, is_bootloader};
use crate::usb::OpenError;
use crate::usb::descriptors::Descriptors;

/// A board that was there.
#[derive(Debug, Default)]
pub(super) struct Follow {
    /// What to look for, one after the other, when nothing fits the configuration.
    other: Vec<Match>,
}

impl Follow {
    /// The board of a session, and where it was plugged in.
    pub(super) fn of(d: &Descriptors, port: Option<&str>) -> Self {
        let Some(other) = counterpart(d.vendor_id, d.product_id) else { return Self::default() };
        let same = (d.vendor_id, d.product_id);
        let with = |port: Option<&str>, serial: Option<&str>| {
            [other, same].map(|(vid, pid)| Match {
                vid: Some(vid),
                pid: vec![pid],
                port: port.map(str::to_owned),
                serial: serial.map(str::to_owned),
                ..Match::default()
            })
        };
        let at_port = port.map(|port| with(Some(port), None));
        let of_serial = d.serial_number.as_deref().map(|serial| with(None, Some(serial)));
        Self { other: at_port.into_iter().chain(of_serial).flatten().collect() }
    }

    /// Opens the device that `config` means, or the board that it has become.
    ///
    /// # Errors
    /// As [`locate`].
    pub(super) async fn locate(&self, config: &DeviceConfig, own: &Own) -> Result<Found, OpenError> {
        let missing = match locate(config, own).await {
            Err(OpenError::NotFound(text)) => text,
            found => return found,
        };
        let backend = if uses_port(config) { Backend::Serial } else { config.backend };
        for matches in self.other.iter().map(|other| restricted(other, &config.matches)) {
            let config = DeviceConfig { matches, backend, ..config.clone() };
            match locate(&config, own).await {
                Err(OpenError::NotFound(_)) => {}
                found => return found,
            }
        }
        Err(OpenError::NotFound(missing))
    }
}

/// Another board of the same kind at the same place is not the one that was meant by its serial number or product. Of a
/// bootloader they say nothing: it has its own.
fn restricted(other: &Match, wanted: &Match) -> Match {
    let has_meant_ids = |vid, pid| {
        wanted.vid.is_none_or(|wanted| wanted == vid) && (wanted.pid.is_empty() || wanted.pid.contains(&pid))
    };
    match (other.vid, other.pid.as_slice()) {
        (Some(vid), &[pid]) if has_meant_ids(vid, pid) && !is_bootloader(vid, pid) => Match {
            serial: wanted.serial.clone().or_else(|| other.serial.clone()),
            product: wanted.product.clone(),
            ..other.clone()
        },
        _ => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usb::descriptors::Speed;

    fn board(ids: (u16, u16), serial: Option<&str>) -> Descriptors {
        Descriptors {
            vendor_id: ids.0,
            product_id: ids.1,
            device_version: 0,
            class: 2,
            speed: Speed::Full,
            manufacturer: None,
            product: None,
            serial_number: serial.map(str::to_owned),
            configuration_value: 1,
            alt_settings: Vec::new(),
            remarks: Vec::new(),
            associations: Vec::new(),
        }
    }

    fn sought(follow: &Follow) -> Vec<String> {
        follow.other.iter().map(Match::to_string).collect()
    }

    #[test]
    fn a_board_is_sought_in_its_other_state_where_it_was_and_by_its_serial_number_elsewhere() {
        let follow = Follow::of(&board((0x2341, 0x8036), Some("HIDPC")), Some("1-1.4"));
        assert_eq!(
            sought(&follow),
            ["2341:0036, port 1-1.4", "2341:8036, port 1-1.4", "2341:0036:HIDPC", "2341:8036:HIDPC"]
        );
        assert_eq!(sought(&Follow::of(&board((0x2341, 0x0036), None), Some("2-1"))).len(), 2);
    }

    #[test]
    fn another_board_in_the_same_place_is_not_taken_for_the_one_that_was_meant() {
        let follow = Follow::of(&board((0x2341, 0x0036), None), Some("1-1.4"));
        let wanted =
            Match { vid: Some(0x2341), pid: vec![0x8036, 0x0036], serial: Some("A".into()), ..Match::default() };
        let sought: Vec<String> = follow.other.iter().map(|other| restricted(other, &wanted).to_string()).collect();
        assert_eq!(sought, ["2341:8036, serial \"A\", port 1-1.4", "2341:0036, port 1-1.4"]);
    }

    #[test]
    fn what_never_changes_its_ids_is_not_followed() {
        let follow = Follow::of(&board((0x2341, 0x0043), Some("75330303035351E0F1B1")), Some("1-1.4"));
        assert!(sought(&follow).is_empty());
        assert!(sought(&Follow::of(&board((0x2341, 0x8036), None), None)).is_empty(), "nothing says which it is");
    }
}
