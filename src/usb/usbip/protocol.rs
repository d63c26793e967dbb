//! Hot path. The client's side of USB/IP after an import as a state machine: what pipes ask for and bytes of the server go
//! in, bytes for the server and ended transfers come out.
//!
//! It has no socket and no clock; [`super::link`] has both. What it refuses is to wait without an end: as long as something
//! is being cancelled, or this side ends the link, [`Protocol::deadline`] has a time, and when it is up there was progress or
//! the link ends. Transfers that nobody cancels may take as long as they do.
//!
//! ```text
//!           the server breaks the protocol, or makes no progress with what is being cancelled
//!   open ───────────────────────────────────────────────────────────────────────────────────► ended
//!     │ End                                                                                     ▲
//!     └──► closing ─────────────────────────────────────────────────────────────────────────────┤
//!             │ nothing is in flight any more                                       its time is up
//!             └──► closed: this side has ended, the server is given a moment for its own ───────┘
//! ```
//!
//! A transfer that is cancelled before any byte of it went out is simply not sent. Others first have [`GRACE`] to end by
//! themselves, as those of a device that sends all the time do: the kernel's own server does not survive an unlink that
//! meets the end of its transfer. Of those that do not, one unlink is outstanding at a time; the server has [`PATIENCE`] for
//! each, from when it was sent, and again whenever it got further with what precedes the answer. A round trip, however long,
//! is no fault.

use std::io::{self, IoSlice, IoSliceMut};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;
use usbip_wire::{Direction, Header, Submit, flags};

use super::in_flight::{Completion, InFlight};
use super::inbound::Inbound;
use super::outbound::{MAX_SLICES, Outbound};
use super::table::{Entry, PipeId, Table, Wait};
use super::timer::Timer;
use crate::usb::{Transfer, TransferError};

/// What pipes ask of their link.
pub(super) enum Command {
    /// Transfers of `pipe` will follow; what comes too late for one of them goes to `completions`.
    Open { pipe: PipeId, completions: UnboundedSender<Completion> },
    /// Start a transfer.
    Submit(Submission),
    /// Cancel what is in flight on `pipe`.
    Cancel { pipe: PipeId },
    /// Cancel it, and forget what comes back.
    Close { pipe: PipeId },
    /// Whatever the server does, the link has ended after this time.
    EndWithin(Duration),
    /// Cancel everything and close the link in order.
    End,
}

/// A transfer to start.
pub(super) struct Submission {
    pub(super) pipe: PipeId,
    pub(super) endpoint: u8,
    pub(super) interval: u32,
    pub(super) setup: [u8; 8],
    pub(super) flight: InFlight,
}

/// The state of one link.
pub(super) struct Protocol {
    devid: u32,
    pipes: Vec<OpenPipe>,
    table: Table,
    inbound: Inbound,
    outbound: Outbound,
    /// Whether what is in `outbound` goes out now.
    is_due: bool,
    state: State,
    /// Runs while what is to be unlinked may still end by itself.
    grace: Timer,
    /// Runs while an unlink is outstanding.
    unlink: Timer,
    /// What the server had done for it when the timer was started.
    progress: Progress,
    /// Runs while a reply is expected although its transfer was unlinked.
    reply: Timer,
    /// What of such a reply was there when the timer ended the last time.
    arrived: Option<(u32, usize)>,
    /// Runs while this side ends the link.
    closing: Timer,
    /// Runs once the daemon wants its end.
    end: Timer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Nobody commands it any more, and all is being cancelled.
    Closing,
    /// Nothing is in flight any more.
    Closed,
}

/// How far a server has come: what it took or answered, and how much of the reply that is arriving.
type Progress = (u64, Option<(u32, usize)>);

/// A pipe as its link sees it.
struct OpenPipe {
    id: PipeId,
    completions: UnboundedSender<Completion>,
    in_flight: usize,
    /// Submits in `outbound` that can wait for company, see [`OpenPipe::is_due`].
    held: usize,
}

impl Protocol {
    /// After the import of the device `devid`.
    pub(super) fn new(devid: u32) -> Self {
        Self {
            devid,
            pipes: Vec::new(),
            table: Table::default(),
            inbound: Inbound::new(),
            outbound: Outbound::default(),
            is_due: false,
            state: State::Open,
            grace: Timer::default(),
            unlink: Timer::default(),
            progress: (0, None),
            reply: Timer::default(),
            arrived: None,
            closing: Timer::default(),
            end: Timer::default(),
        }
    }

    /// Whether commands are still of use.
    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether this side has ended the link and the server may end it, too.
    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Does what a pipe asks for.
    pub(super) fn accept(&mut self, command: Command) {
        match command {
            Command::Open { pipe, completions } => {
                self.pipes.push(OpenPipe { id: pipe, completions, in_flight: 0, held: 0 });
            }
            Command::Submit(submission) => self.submit(submission),
            Command::Cancel { pipe } => self.cancel(|entry| entry.pipe == pipe),
            Command::Close { pipe } => {
                self.cancel(|entry| entry.pipe == pipe);
                self.pipes.retain(|open| open.id != pipe);
            }
            Command::EndWithin(time) => self.end.start(time),
            Command::End => {
                self.cancel(|_| true);
                self.state = State::Closing;
                self.closing.start(PATIENCE);
            }
        }
    }

    fn submit(&mut self, submission: Submission) {
        let Submission { pipe, endpoint, interval, setup, flight } = submission;
        let (is_in, is_control) = (endpoint & 0x80 != 0, endpoint & 0x0f == 0);
        let seqnum = self.table.next_seqnum();
        let (length, packets) = (flight.transfer.length, flight.transfer.packets.len());
        let packets = u32::try_from(packets).ok().filter(|&n| n > 0);
        let header = Header::Submit(Submit {
            seqnum,
            devid: self.devid,
            direction: direction(is_in),
            endpoint: endpoint & 0x0f,
            flags: if packets.is_some() { flags::ISO_ASAP } else { 0 },
            length: length as u32,
            start_frame: 0,
            packets,
            interval,
            setup,
        });
        let entry = Entry { flight, pipe, is_in, is_control, sent: false, unlinking: false, late: false };
        self.table.insert(seqnum, entry);
        self.outbound.push_submit(header.encode(), seqnum, if is_in { 0 } else { length }, &self.table);
        let can_wait = is_in && packets.is_none();
        match self.pipes.iter_mut().find(|open| open.id == pipe) {
            Some(open) => self.is_due |= open.submitted(can_wait),
            None => self.is_due = true,
        }
    }

    /// Gives back what was not sent yet, and has the rest unlinked.
    fn cancel(&mut self, wanted: impl Fn(&Entry) -> bool) {
        for victim in self.table.victims(wanted) {
            let is_unsent = self.table.get(victim).is_some_and(|entry| !entry.sent) && self.outbound.withdraw(victim);
            match is_unsent.then(|| self.table.remove(victim)).flatten() {
                Some(mut entry) => {
                    entry.flight.transfer.mark_failed(TransferError::Cancelled);
                    self.is_due |= finish(&mut self.pipes, entry);
                }
                None => {
                    self.table.unlink(victim);
                    if !self.unlink.is_on() && !self.grace.is_on() {
                        self.grace.start(GRACE);
                    }
                }
            }
        }
        self.next_unlink();
    }

    /// Queues the next unlink, unless one is outstanding or what is to be unlinked may end by itself.
    fn next_unlink(&mut self) {
        if self.table.unlink_wait().is_some() || self.grace.is_on() && !self.table.is_unlink_urgent() {
            return;
        }
        self.unlink.stop();
        let Some((seqnum, victim)) = self.table.next_unlink() else { return };
        let is_in = self.table.get(victim).is_some_and(|entry| entry.is_in);
        let unlink = Header::Unlink { seqnum, devid: self.devid, direction: direction(is_in), endpoint: 0, victim };
        self.outbound.push_unlink(unlink.encode(), seqnum);
        self.is_due = true;
        self.time_unlink();
    }

    fn time_unlink(&mut self) {
        self.unlink.start(PATIENCE);
        self.progress = self.progress_now();
    }

    /// Whether something is to be written now.
    pub(super) fn is_due(&self) -> bool {
        self.is_due && !self.outbound.is_empty()
    }

    /// Fills `slices` with what to write next and says how many of them are filled: at least one if anything is due.
    pub(super) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; MAX_SLICES]) -> usize {
        self.outbound.slices(&self.table, slices)
    }

    /// Takes note that `n` of these bytes were written.
    ///
    /// # Errors
    /// None were, so that going on would never end.
    pub(super) fn written(&mut self, n: usize) -> Result<(), String> {
        let waited = self.table.unlink_wait();
        self.outbound.advance(n, &mut self.table)?;
        if waited == Some(Wait::Sending) && self.table.unlink_wait() == Some(Wait::Answer) {
            self.time_unlink();
        }
        if self.outbound.is_empty() {
            self.is_due = false;
            self.pipes.iter_mut().for_each(|open| open.held = 0);
        }
        Ok(())
    }

    /// Lets `read` fill what is wanted next. Call [`Protocol::process`] after it.
    pub(super) fn fill(&mut self, read: impl FnOnce(&mut [IoSliceMut<'_>]) -> io::Result<usize>) -> io::Result<usize> {
        self.inbound.fill(&mut self.table, read)
    }

    /// Takes all messages of the server that are complete.
    ///
    /// # Errors
    /// What the server did against the protocol. The link has ended.
    pub(super) fn process(&mut self) -> Result<(), String> {
        let (pipes, is_due) = (&mut self.pipes, &mut self.is_due);
        let mut ends_by_itself = false;
        let done = |entry: Entry| {
            ends_by_itself |= entry.unlinking;
            *is_due |= finish(pipes, entry);
        };
        self.inbound.process(&mut self.table, done).map_err(|e| format!("the server broke USB/IP: {e}"))?;
        // Each start takes the end of one more transfer, so that the grace has an end.
        if ends_by_itself && self.grace.is_on() {
            self.grace.start(GRACE);
        }
        if self.unlink.is_on() {
            self.next_unlink();
            if !self.reply.is_on() && self.table.expects_reply() {
                self.reply.start(REPLY_PATIENCE);
            }
        }
        Ok(())
    }

    /// This side has nothing more to say. True when that is news.
    pub(super) fn close_if_done(&mut self) -> bool {
        let is_done = self.state == State::Closing && self.table.is_empty() && self.outbound.is_empty();
        if is_done {
            self.state = State::Closed;
            self.closing.start(LINGER);
        }
        is_done
    }

    /// When to call [`Protocol::expire`]; costs nothing where no time counts.
    pub(super) fn deadline(&mut self, now: impl Fn() -> Instant) -> Option<Instant> {
        let timers = [&mut self.grace, &mut self.unlink, &mut self.reply, &mut self.closing, &mut self.end];
        timers.into_iter().filter_map(|timer| timer.deadline(&now)).min()
    }

    /// Does what is due at `now`.
    ///
    /// # Errors
    /// Why the link has ended.
    pub(super) fn expire(&mut self, now: Instant) -> Result<(), String> {
        if self.end.is_over(now) {
            return Err(OWN_END.to_owned());
        }
        if self.grace.is_over(now) {
            self.grace.stop();
            self.next_unlink();
        }
        if self.reply.is_over(now) {
            self.give_up_replies()?;
        }
        if self.unlink.is_over(now) {
            if self.progress_now() == self.progress {
                return Err(self.no_progress());
            }
            self.time_unlink();
        }
        if self.closing.is_over(now) {
            // What is being cancelled has a time of its own.
            let is_cancelling = self.grace.is_on() || self.unlink.is_on() || self.reply.is_on();
            if self.state == State::Closed || !is_cancelling {
                return Err(OWN_END.to_owned());
            }
            self.closing.start(PATIENCE);
        }
        Ok(())
    }

    fn no_progress(&self) -> String {
        let seconds = PATIENCE.as_secs();
        match self.table.unlink_wait() {
            Some(Wait::Sending) => format!("the server took nothing for {seconds} s while a cancellation waits"),
            _ => format!("the server did not answer a cancellation for {seconds} s"),
        }
    }

    /// Gives up replies that are expected in vain.
    fn give_up_replies(&mut self) -> Result<(), String> {
        self.reply.stop();
        let arriving = self.arriving();
        for entry in self.table.give_up_expected(|seqnum| arriving.is_some_and(|(current, _)| current == seqnum)) {
            self.is_due |= finish(&mut self.pipes, entry);
        }
        let before = std::mem::replace(&mut self.arrived, arriving);
        if self.table.expects_reply() {
            if before == arriving {
                return Err(format!("the server stopped in a reply for {} s", PATIENCE.as_secs()));
            }
            self.reply.start(PATIENCE);
        }
        Ok(())
    }

    fn progress_now(&self) -> Progress {
        (self.table.progress(), self.arriving().filter(|&(seqnum, _)| self.table.is_before_unlink(seqnum)))
    }

    /// The reply that has begun to arrive, and how far it is, in units that take a server some effort.
    fn arriving(&self) -> Option<(u32, usize)> {
        self.inbound.arriving().map(|(seqnum, got)| (seqnum, got / PROGRESS))
    }

    /// Gives back everything that is in flight, in the order of submission.
    pub(super) fn disconnect(&mut self) {
        for entry in self.table.take_all() {
            entry.flight.fail(TransferError::Disconnected);
        }
    }
}

/// Gives an ended transfer back to its pipe. True when submits of this pipe that waited are due now.
fn finish(pipes: &mut [OpenPipe], entry: Entry) -> bool {
    let open = pipes.iter_mut().find(|open| open.id == entry.pipe);
    if entry.late {
        // The pipe has had this transfer back; only the data is news, however the transfer ended.
        let (ordinal, transfer) = (entry.flight.ordinal(), entry.flight.into_transfer());
        let status = transfer.status.map_err(|_| TransferError::Cancelled);
        if let Some(open) = open.filter(|_| transfer.actual > 0) {
            let _ = open.completions.send((ordinal, Transfer { status, ..transfer }));
        }
        return false;
    }
    entry.flight.complete();
    open.is_some_and(|open| {
        open.in_flight -= 1;
        open.is_due()
    })
}

impl OpenPipe {
    /// Takes note of a submit; true when it must go out now.
    fn submitted(&mut self, can_wait: bool) -> bool {
        self.in_flight += 1;
        self.held += usize::from(can_wait);
        !can_wait || self.is_due()
    }

    /// IN transfers that go back into flight one by one would each cost a write here and a wakeup there. While at
    /// least half of the pipe's are on the wire, the others wait for something that goes out anyway.
    fn is_due(&self) -> bool {
        self.held > 0 && self.held * 2 >= self.in_flight
    }
}

fn direction(is_in: bool) -> Direction {
    if is_in { Direction::In } else { Direction::Out }
}

/// How long what is cancelled may go without the end of one of its transfers before the first is unlinked.
const GRACE: Duration = Duration::from_millis(20);
/// How long a server may make no progress with a cancellation before it is taken for dead.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// How long after an unlink that came too late its reply may come. It was sent before, or is about to be.
const REPLY_PATIENCE: Duration = Duration::from_millis(500);
/// How long a server may take to close its side.
const LINGER: Duration = Duration::from_millis(500);
/// Bytes of a reply that count as progress.
const PROGRESS: usize = 4096;
/// Why a link ended that this side ended.
pub(super) const OWN_END: &str = "closed by this side";

#[cfg(test)]
mod tests {
    use std::io::Read;

    use tokio::sync::mpsc::unbounded_channel;
    use usbip_wire::{HEADER_LEN, RetSubmit, status};

    use super::*;

    /// A protocol with two IN transfers of one pipe out and cancelled.
    fn cancelled() -> (Protocol, Instant) {
        let (completions, _) = unbounded_channel();
        let mut protocol = Protocol::new(1);
        protocol.accept(Command::Open { pipe: 1, completions: completions.clone() });
        for ordinal in 0..2 {
            let flight = InFlight::new(Transfer::new(64), ordinal, completions.clone());
            protocol.accept(Command::Submit(Submission {
                pipe: 1,
                endpoint: 0x81,
                interval: 0,
                setup: [0; 8],
                flight,
            }));
        }
        assert_eq!(sent(&mut protocol), 2);
        protocol.accept(Command::Cancel { pipe: 1 });
        (protocol, Instant::now())
    }

    /// Takes all that is due, and returns how many messages without data that is.
    fn sent(protocol: &mut Protocol) -> usize {
        let mut bytes = 0;
        while protocol.is_due() {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let filled = protocol.slices(&mut slices);
            let n = slices[..filled].iter().map(|slice| slice.len()).sum();
            protocol.written(n).unwrap();
            bytes += n;
        }
        bytes / HEADER_LEN
    }

    fn reply(protocol: &mut Protocol, seqnum: u32) {
        let reply =
            RetSubmit { seqnum, status: status::OK, actual_length: 0, start_frame: 0, packets: None, error_count: 0 };
        let bytes = Header::RetSubmit(reply).encode();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            protocol.fill(|slices| rest.read_vectored(slices)).unwrap();
            protocol.process().unwrap();
        }
    }

    fn pass(protocol: &mut Protocol, now: &mut Instant) {
        *now = protocol.deadline(|| *now).expect("something is being cancelled");
        protocol.expire(*now).unwrap();
    }

    #[test]
    fn what_ends_by_itself_within_the_grace_is_not_unlinked() {
        let (mut protocol, mut now) = cancelled();
        assert_eq!(sent(&mut protocol), 0);
        reply(&mut protocol, 1);
        reply(&mut protocol, 2);
        pass(&mut protocol, &mut now);
        assert_eq!(sent(&mut protocol), 0);
        assert_eq!(protocol.deadline(|| now), None);
    }

    #[test]
    fn what_does_not_end_by_itself_is_unlinked_after_the_grace() {
        let (mut protocol, mut now) = cancelled();
        let began = now;
        pass(&mut protocol, &mut now);
        assert_eq!(sent(&mut protocol), 1);
        assert!(now - began >= GRACE);
    }
}
