//! Hot path. The transfers in flight on one link, by sequence number.
//!
//! It finds and forgets; it decides nothing about what a reply means and touches no socket.

use std::collections::HashMap;

use crate::usb::Transfer;

/// Names a pipe on its link.
pub(super) type PipeId = u32;

/// One transfer that the peer knows of, or soon will.
pub(super) struct Entry {
    pub(super) transfer: Transfer,
    pub(super) pipe: PipeId,
    /// Its place among the transfers of its pipe.
    pub(super) ordinal: u64,
    pub(super) is_in: bool,
    /// All bytes of the submit have been handed to the kernel, so an answer is possible.
    pub(super) sent: bool,
    /// An unlink is on its way.
    pub(super) unlinking: bool,
}

/// Transfers in flight, and unlinks that await their answers.
#[derive(Default)]
pub(super) struct Table {
    entries: HashMap<u32, Entry>,
    /// Sequence number of the unlink → of its victim.
    unlinks: HashMap<u32, u32>,
    last_seqnum: u32,
}

impl Table {
    /// The next sequence number; never 0 and never one that is in use.
    pub(super) fn next_seqnum(&mut self) -> u32 {
        loop {
            self.last_seqnum = self.last_seqnum.wrapping_add(1);
            let n = self.last_seqnum;
            if n != 0 && !self.entries.contains_key(&n) && !self.unlinks.contains_key(&n) {
                return n;
            }
        }
    }

    pub(super) fn insert(&mut self, seqnum: u32, entry: Entry) {
        self.entries.insert(seqnum, entry);
    }

    pub(super) fn get(&self, seqnum: u32) -> Option<&Entry> {
        self.entries.get(&seqnum)
    }

    pub(super) fn get_mut(&mut self, seqnum: u32) -> Option<&mut Entry> {
        self.entries.get_mut(&seqnum)
    }

    pub(super) fn remove(&mut self, seqnum: u32) -> Option<Entry> {
        self.entries.remove(&seqnum)
    }

    /// Registers an unlink for every transfer of `pipe` that has none yet: (unlink, victim), oldest victim last, so
    /// that the peer never starts the next transfer while an older one is being cancelled.
    pub(super) fn unlink_pipe(&mut self, pipe: PipeId) -> Vec<(u32, u32)> {
        let mut victims: Vec<u32> =
            self.entries.iter().filter(|(_, e)| e.pipe == pipe && !e.unlinking).map(|(&n, _)| n).collect();
        victims.sort_unstable_by(|a, b| b.cmp(a));
        victims
            .into_iter()
            .map(|victim| {
                let unlink = self.next_seqnum();
                self.unlinks.insert(unlink, victim);
                if let Some(entry) = self.entries.get_mut(&victim) {
                    entry.unlinking = true;
                }
                (unlink, victim)
            })
            .collect()
    }

    /// The victim of an unlink that has been answered.
    pub(super) fn take_unlink(&mut self, unlink: u32) -> Option<u32> {
        self.unlinks.remove(&unlink)
    }

    /// Whether any unlink awaits its answer.
    pub(super) fn has_unlinks(&self) -> bool {
        !self.unlinks.is_empty()
    }

    /// Takes out everything, in the order of submission.
    pub(super) fn take_all(&mut self) -> Vec<Entry> {
        let mut all: Vec<(u32, Entry)> = self.entries.drain().collect();
        all.sort_unstable_by_key(|&(seqnum, _)| seqnum);
        self.unlinks.clear();
        all.into_iter().map(|(_, entry)| entry).collect()
    }
}
