//! Hot path. The transfers in flight on one link, by sequence number.
//!
//! It finds and forgets; it decides nothing about what a reply means and touches no socket.
//!
//! ```text
//!             cancel                next_unlink            -ECONNRESET
//!   in flight ───────► to_unlink ─────────────────► unlink ─────────────► late: given back, a bounded number is known
//!       │                  │      one at a time       │ 0                   ▲                  │
//!       │                  │                          └──► expected ────────┘ no reply came    │
//!       └──── reply ───────┴─────────────────── reply ────────┴─────────── reply with data ────┴──► ended
//! ```

use std::collections::{HashMap, VecDeque};

use super::in_flight::InFlight;
use crate::usb::{Transfer, TransferError};

/// Names a pipe on its link.
pub(super) type PipeId = u32;

/// One transfer that the peer knows of, or soon will.
pub(super) struct Entry {
    pub(super) flight: InFlight,
    pub(super) pipe: PipeId,
    pub(super) is_in: bool,
    /// A control transfer, whose asker has a time limit.
    pub(super) is_control: bool,
    /// All bytes of the submit have been handed to the kernel, so an answer is possible.
    pub(super) sent: bool,
    /// An unlink is on its way, or waits for the one before it.
    pub(super) unlinking: bool,
    /// The pipe has this transfer back as cancelled already; here is what came for it after all.
    pub(super) late: bool,
}

/// A transfer that was given back as cancelled although the peer may still reply to it.
pub(super) struct Late {
    pub(super) pipe: PipeId,
    pub(super) ordinal: u64,
    pub(super) is_in: bool,
    pub(super) length: usize,
    pub(super) packets: usize,
}

/// An unlink that awaits its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unlink {
    seqnum: u32,
    victim: u32,
    /// All of it has been handed to the kernel, so an answer is possible.
    sent: bool,
}

/// What an outstanding unlink waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// For the server to read it.
    Sending,
    /// For its answer.
    Answer,
}

/// Transfers in flight, and their cancellation.
#[derive(Default)]
pub(super) struct Table {
    entries: HashMap<u32, Entry>,
    /// Transfers that are to be unlinked, in this order.
    to_unlink: VecDeque<u32>,
    /// The unlink that awaits its answer, and its victim. There is one at a time: the kernel's own server does not survive
    /// many at once.
    unlink: Option<Unlink>,
    /// How often the server showed that it is on its way to the answer.
    progress: u64,
    /// Transfers whose unlink came too late, so that they are replied to.
    expected: Vec<u32>,
    /// The server has not replied to such a one, so that no reply is waited for any more.
    never_replies: bool,
    /// The oldest are forgotten first.
    late: VecDeque<(u32, Late)>,
    last_seqnum: u32,
}

impl Table {
    /// The next sequence number; never 0 and never one that is in use.
    pub(super) fn next_seqnum(&mut self) -> u32 {
        loop {
            self.last_seqnum = self.last_seqnum.wrapping_add(1);
            let n = self.last_seqnum;
            if n == 0 {
                self.late.clear();
            } else if !self.entries.contains_key(&n) && self.unlink.is_none_or(|unlink| unlink.seqnum != n) {
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

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Every transfer that `wanted` chooses and that is not being cancelled yet, newest first: the oldest is cancelled last,
    /// so that the peer never starts the next transfer while an older one is being cancelled.
    pub(super) fn victims(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<u32> {
        let chosen = |e: &Entry| !e.unlinking && !e.late && wanted(e);
        let mut victims: Vec<u32> = self.entries.iter().filter(|(_, e)| chosen(e)).map(|(&n, _)| n).collect();
        victims.sort_unstable_by(|a, b| b.cmp(a));
        victims
    }

    /// Has this transfer unlinked, after those that wait for it already; a control transfer before them, because there is
    /// somebody who waits for its end.
    pub(super) fn unlink(&mut self, victim: u32) {
        let Some(entry) = self.entries.get_mut(&victim) else { return };
        entry.unlinking = true;
        match entry.is_control {
            true => self.to_unlink.push_front(victim),
            false => self.to_unlink.push_back(victim),
        }
    }

    /// The next unlink to send and its victim, unless one awaits its answer or nothing is left to unlink.
    pub(super) fn next_unlink(&mut self) -> Option<(u32, u32)> {
        if self.unlink.is_some() {
            return None;
        }
        // A victim that ended while it waited needs no unlink.
        let victim = loop {
            let victim = self.to_unlink.pop_front()?;
            if self.entries.contains_key(&victim) {
                break victim;
            }
        };
        let seqnum = self.next_seqnum();
        self.unlink = Some(Unlink { seqnum, victim, sent: false });
        Some((seqnum, victim))
    }

    /// Whether the next transfer to unlink is one that somebody waits for.
    pub(super) fn is_unlink_urgent(&self) -> bool {
        let next = self.to_unlink.iter().find_map(|victim| self.entries.get(victim));
        next.is_some_and(|entry| entry.is_control)
    }

    /// All bytes of this submit have been handed to the kernel.
    pub(super) fn sent(&mut self, seqnum: u32) {
        if let Some(entry) = self.entries.get_mut(&seqnum) {
            entry.sent = true;
        }
    }

    /// Takes note that some bytes of what is queued have been handed to the kernel.
    pub(super) fn sent_some(&mut self) {
        if self.unlink.is_some_and(|unlink| !unlink.sent) {
            self.progress += 1;
        }
    }

    /// The unlink that is outstanding can be answered from now on.
    pub(super) fn unlink_sent(&mut self, seqnum: u32) {
        if let Some(unlink) = self.unlink.as_mut().filter(|unlink| unlink.seqnum == seqnum) {
            unlink.sent = true;
            self.progress += 1;
        }
    }

    /// Takes note of a reply. One to a transfer that was submitted after the unlink does not bring its answer nearer.
    pub(super) fn replied(&mut self, seqnum: u32) {
        if self.is_before_unlink(seqnum) {
            self.progress += 1;
        }
    }

    /// Whether this transfer was submitted before the unlink that awaits its answer.
    pub(super) fn is_before_unlink(&self, seqnum: u32) -> bool {
        self.unlink.is_some_and(|unlink| unlink.seqnum.wrapping_sub(seqnum) < u32::MAX / 2)
    }

    /// Grows when the server does something of what must come before the answer.
    pub(super) fn progress(&self) -> u64 {
        self.progress
    }

    /// The victim of this unlink, which has been answered. None when it was not sent, and then no answer is possible.
    pub(super) fn take_unlink(&mut self, seqnum: u32) -> Option<u32> {
        self.unlink.take_if(|unlink| unlink.sent && unlink.seqnum == seqnum).map(|unlink| unlink.victim)
    }

    /// What the outstanding unlink waits for, if there is one.
    pub(super) fn unlink_wait(&self) -> Option<Wait> {
        self.unlink.map(|unlink| if unlink.sent { Wait::Answer } else { Wait::Sending })
    }

    /// Leaves in flight what was not unlinked because it had ended; false where that is no use.
    pub(super) fn expect_reply(&mut self, victim: u32) -> bool {
        let is_expected = !self.never_replies && self.entries.contains_key(&victim);
        if is_expected {
            self.expected.push(victim);
        }
        is_expected
    }

    /// Whether a reply is expected that was sent, or will be, although its transfer was unlinked.
    pub(super) fn expects_reply(&mut self) -> bool {
        self.expected.retain(|seqnum| self.entries.contains_key(seqnum));
        !self.expected.is_empty()
    }

    /// Gives up the transfers whose replies are expected in vain, but for those that are just `arriving`.
    pub(super) fn give_up_expected(&mut self, arriving: impl Fn(u32) -> bool) -> impl Iterator<Item = Entry> {
        self.expected.retain(|seqnum| self.entries.contains_key(seqnum));
        let (kept, missed): (Vec<u32>, Vec<u32>) = self.expected.drain(..).partition(|&seqnum| arriving(seqnum));
        self.expected = kept;
        self.never_replies |= !missed.is_empty();
        missed.into_iter().filter_map(|seqnum| self.give_up(seqnum))
    }

    /// Takes out a transfer that is given back as cancelled, and remembers what a late reply to it would look like.
    pub(super) fn give_up(&mut self, seqnum: u32) -> Option<Entry> {
        let mut entry = self.entries.remove(&seqnum)?;
        if self.late.len() == MOST_LATE {
            self.late.pop_front();
        }
        let Transfer { length, packets, .. } = &entry.flight.transfer;
        let (length, packets, ordinal) = (*length, packets.len(), entry.flight.ordinal());
        self.late.push_back((seqnum, Late { pipe: entry.pipe, ordinal, is_in: entry.is_in, length, packets }));
        entry.flight.transfer.mark_failed(TransferError::Cancelled);
        Some(entry)
    }

    /// The transfer with this number, if it was given up and has not been replied to since.
    pub(super) fn take_late(&mut self, seqnum: u32) -> Option<Late> {
        let at = self.late.iter().position(|(known, _)| *known == seqnum)?;
        self.late.remove(at).map(|(_, late)| late)
    }

    /// Takes out everything, in the order of submission.
    pub(super) fn take_all(&mut self) -> Vec<Entry> {
        let mut all: Vec<(u32, Entry)> = self.entries.drain().collect();
        all.sort_unstable_by_key(|&(seqnum, _)| seqnum);
        self.to_unlink.clear();
        self.expected.clear();
        self.unlink = None;
        self.late.clear();
        all.into_iter().map(|(_, entry)| entry).collect()
    }
}

/// Transfers that were given up and are still known. A reply comes later by a round trip or so, not by hundreds of
/// transfers.
const MOST_LATE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn in_flight(count: u32) -> Table {
        let mut table = Table::default();
        for ordinal in 0..count {
            let (seqnum, flight) = (table.next_seqnum(), InFlight::returned(Transfer::new(64), ordinal.into()));
            let (is_in, is_control) = (true, false);
            let entry = Entry { flight, pipe: 1, is_in, is_control, sent: true, unlinking: false, late: false };
            table.insert(seqnum, entry);
        }
        table
    }

    fn cancel(table: &mut Table) -> usize {
        let victims = table.victims(|e| e.pipe == 1);
        victims.iter().for_each(|&victim| table.unlink(victim));
        victims.len()
    }

    #[test]
    fn one_unlink_is_outstanding_at_a_time_the_newest_transfer_first_and_none_for_what_ended_meanwhile() {
        let mut table = in_flight(3);
        assert_eq!((cancel(&mut table), cancel(&mut table)), (3, 0));
        let (unlink, victim) = table.next_unlink().unwrap();
        assert_eq!((victim, table.next_unlink()), (3, None), "the first is not answered");
        table.unlink_sent(unlink);
        assert_eq!(table.take_unlink(unlink + 1), None);
        assert_eq!(table.take_unlink(unlink), Some(3));
        table.remove(2);
        assert_eq!(table.next_unlink().map(|(_, victim)| victim), Some(1));
    }

    #[test]
    fn an_unlink_has_no_answer_before_it_was_sent() {
        let mut table = in_flight(1);
        cancel(&mut table);
        let (unlink, _) = table.next_unlink().unwrap();
        assert_eq!((table.take_unlink(unlink), table.unlink_wait()), (None, Some(Wait::Sending)));
        table.unlink_sent(unlink);
        assert_eq!((table.unlink_wait(), table.take_unlink(unlink)), (Some(Wait::Answer), Some(1)));
    }

    #[test]
    fn replies_to_what_was_submitted_later_do_not_bring_the_answer_nearer() {
        let mut table = in_flight(2);
        cancel(&mut table);
        let (unlink, _) = table.next_unlink().unwrap();
        table.unlink_sent(unlink);
        let before = table.progress();
        table.replied(unlink + 1);
        assert_eq!(table.progress(), before);
        table.replied(1);
        assert_eq!(table.progress(), before + 1);
    }

    #[test]
    fn a_control_transfer_is_unlinked_before_all_that_waits_for_it() {
        let mut table = in_flight(3);
        let flight = InFlight::returned(Transfer::new(8), 0);
        let (is_in, is_control) = (true, true);
        table.insert(9, Entry { flight, pipe: 2, is_in, is_control, sent: true, unlinking: false, late: false });
        cancel(&mut table);
        table.unlink(9);
        assert_eq!(table.next_unlink().map(|(_, victim)| victim), Some(9));
    }

    #[test]
    fn transfers_that_were_given_up_are_remembered_in_a_bounded_number() {
        let mut table = in_flight(MOST_LATE as u32 + 10);
        for seqnum in 1..=MOST_LATE as u32 + 10 {
            assert!(table.give_up(seqnum).is_some());
        }
        assert_eq!(table.late.len(), MOST_LATE);
        assert!(table.take_late(10).is_none() && table.take_late(11).is_some());
        assert!(table.take_late(11).is_none(), "a second reply is one too many");
    }
}
