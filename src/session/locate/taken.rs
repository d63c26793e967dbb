//! Which of this machine's devices have a keeper: two keepers never fight for one device.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use crate::session::lock::lock;

/// The places of devices that are taken.
#[derive(Clone, Default)]
pub struct Taken(Arc<Mutex<BTreeSet<String>>>);

/// One place; free again when this is dropped.
pub struct Mark {
    taken: Taken,
    place: String,
}

impl Taken {
    /// Whether somebody has the device at this place.
    pub fn contains(&self, place: &str) -> bool {
        lock(&self.0).contains(place)
    }

    /// Takes a place; `None` when somebody has it.
    pub fn take(&self, place: &str) -> Option<Mark> {
        let is_new = lock(&self.0).insert(place.to_owned());
        is_new.then(|| Mark { taken: self.clone(), place: place.to_owned() })
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        lock(&self.taken.0).remove(&self.place);
    }
}
