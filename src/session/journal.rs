//! Which kernel drivers were sent away from which interfaces, on disk, so that a killed daemon's successor gives them
//! back.
//!
//! One line an interface: place, configuration, interface, driver. A file that cannot be written or read costs only that.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::lock::lock;
use crate::outlet::{Access, Dir};
use crate::usb::local;

/// The journal of one run dir.
pub struct Journal {
    dir: Arc<Dir>,
    /// By place, configuration and interface.
    entries: Mutex<BTreeMap<Key, String>>,
}

type Key = (String, u8, u8);

impl Journal {
    /// The journal of this run dir, empty. What an earlier daemon wrote there is for [`Journal::restore`].
    pub fn new(dir: Arc<Dir>) -> Self {
        Self { dir, entries: Mutex::default() }
    }

    /// Gives interfaces back that an earlier daemon took and that nobody has now, then forgets them. Blocks for as long
    /// as the drivers need.
    pub fn restore(&self) {
        let text = self.dir.read_file(FILE).ok().flatten().unwrap_or_default();
        for ((place, configuration, interface), driver) in text.lines().filter_map(parse) {
            if local::driver(&place, configuration, interface).is_some() {
                continue;
            }
            match local::attach_driver(&place, interface) {
                Ok(()) => tracing::info!("interface {interface} of {place} is given back to {driver}"),
                Err(e) => tracing::debug!("interface {interface} of {place} is not given back to {driver}: {e}"),
            }
        }
        self.write(&BTreeMap::new());
    }

    /// A driver is about to be sent away.
    pub(super) fn remember(&self, place: &str, configuration: u8, interface: u8, driver: &str) {
        let mut entries = lock(&self.entries);
        entries.insert((place.to_owned(), configuration, interface), driver.to_owned());
        self.write(&entries);
    }

    /// The device at this place has its drivers back, or has gone. Returns interfaces that are there without one, and
    /// the driver that they had.
    pub(super) fn forget(&self, place: &str) -> Vec<(u8, String)> {
        let mut entries = lock(&self.entries);
        let (gone, kept): (BTreeMap<_, _>, _) =
            std::mem::take(&mut *entries).into_iter().partition(|((known, ..), _)| known == place);
        *entries = kept;
        if !gone.is_empty() {
            self.write(&entries);
        }
        let is_bare = |(place, configuration, interface): &Key| {
            local::is_there(place, *configuration, *interface)
                && local::driver(place, *configuration, *interface).is_none()
        };
        gone.into_iter().filter(|(key, _)| is_bare(key)).map(|((.., interface), driver)| (interface, driver)).collect()
    }

    fn write(&self, entries: &BTreeMap<Key, String>) {
        let line = |((place, configuration, interface), driver): (&Key, &String)| {
            format!("{place} {configuration} {interface} {driver}\n")
        };
        if entries.is_empty() {
            return self.dir.remove(FILE);
        }
        let text: String = entries.iter().map(line).collect();
        if let Err(e) = self.dir.write_file(FILE, text.as_bytes(), MODE, &Access::default()) {
            tracing::warn!("{e}; after a crash kernel drivers would not come back");
        }
    }
}

/// Beside the devices in the run dir, while a kernel driver is sent away.
const FILE: &str = "detached";
const MODE: u32 = 0o600;

/// Nothing but what [`Journal::write`] writes is understood.
fn parse(line: &str) -> Option<(Key, String)> {
    let mut words = line.split(' ');
    let (place, configuration, interface, driver) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let is_place = crate::selector::is_port(place);
    let key = (place.to_owned(), configuration.parse().ok()?, interface.parse().ok()?);
    (is_place && words.next().is_none()).then(|| (key, driver.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn journal() -> Journal {
        Journal::new(Arc::new(Dir::private("usbpipe-journal").unwrap()))
    }

    #[test]
    fn what_is_remembered_is_read_back_and_what_is_forgotten_leaves_no_file() {
        let journal = journal();
        let file = journal.dir.file_path(FILE);
        journal.remember("1-1.4", 1, 0, "cdc_acm");
        journal.remember("1-1.4", 1, 1, "cdc_acm");
        journal.remember("2-1", 1, 0, "usbhid");
        let text = fs::read_to_string(&file).unwrap();
        let read: Vec<_> = text.lines().map(|line| parse(line).unwrap()).collect();
        assert_eq!(read.len(), 3);
        assert_eq!(read[2], (("2-1".to_owned(), 1, 0), "usbhid".to_owned()));
        journal.forget("1-1.4");
        assert_eq!(fs::read_to_string(&file).unwrap(), "2-1 1 0 usbhid\n");
        journal.forget("2-1");
        assert!(!file.exists());
        journal.dir.remove_itself();
    }

    #[test]
    fn a_journal_of_nonsense_is_ignored() {
        for line in ["", "1-1", "../../etc 1 0 x", "1-1 1 999 usbhid", "1-1 1 0 usbhid more"] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
