//! The programs at one line's outlets: where they become readers or writers of it, and what `status` shows of them.
//!
//! ```text
//!   socket: accept ───┐
//!   exec, run = …     ├──► adopt(descriptor, who) ──► reader or writer of the line, until its other end is closed
//!   admin.sock, pty ──┘
//! ```
//!
//! It moves no byte: that is the pump's, to which each newcomer goes through a channel.

use std::io;
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Events;
use super::entrance::{MOST_CLIENTS, too_many};
use super::lock::lock;
use super::status::ClientStatus;
use super::terminals::TTY;
use crate::bridge::{Account, Guest, NewReader, NewWriter, Tally};
use crate::name::line_of_outlet;
use crate::outlet::{Connection, InEnd, Listener, OutEnd, Peer, Sink, Source};

/// How a program came to a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// It connected to the line's Unix socket, or on Windows to its named pipe.
    Socket,
    /// It was given its descriptor: by `exec`, by `run`, or over `admin.sock`.
    Descriptor,
    /// It opened the line's pty.
    Tty,
    /// It connected to the line's TCP port.
    Tcp,
    /// It connected to the line's RFC 2217 port.
    Rfc2217,
}

impl Via {
    /// As `status` shows it.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Socket => Listener::KIND,
            Self::Descriptor => "descriptor",
            Self::Tty => "tty",
            Self::Tcp => "tcp",
            Self::Rfc2217 => "rfc2217",
        }
    }
}

/// What a line of either direction knows of its programs.
pub(super) struct Hub {
    device: String,
    /// The line's name: `ep_81`, `serial.rx`.
    line: String,
    events: Events,
    door: Door,
    rules: Rules,
    /// The programs behind the FIFO together, and one of them, as far as anybody has looked.
    fifo: Arc<Account>,
    fifo_peer: Mutex<Peer>,
    fifo_told: Mutex<Tally>,
    guests: Arc<Mutex<Vec<Arc<Entry>>>>,
}

/// Who is let in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// Each write into an adopted pipe is to be one read: `framing = "packet"`.
    pub(super) packets: bool,
    /// `writers = "one"`.
    pub(super) exclusive: bool,
    /// The longest transfer in bytes.
    pub(super) transfer: u32,
}

/// The way to the line's pump.
enum Door {
    In(Mutex<UnboundedSender<NewReader>>),
    Out(Mutex<UnboundedSender<NewWriter>>),
}

/// A program that is there.
struct Entry {
    via: Via,
    peer: Peer,
    account: Arc<Account>,
    /// What it had lost when that was last told.
    told: Mutex<Tally>,
}

/// A place at a line that a program may take: nothing is delivered before it does. Dropped, it is as if it had never been.
#[must_use = "the program is refused when this is dropped"]
pub(super) struct Offer {
    end: OfferedEnd,
    card: Card,
}

/// The way to the program or from it, and to the line's pump.
enum OfferedEnd {
    In(Box<dyn Sink>, UnboundedSender<NewReader>),
    Out(Box<dyn Source>, UnboundedSender<NewWriter>),
}

/// Belongs to the reader or writer, and ends with it.
pub(super) struct Card {
    /// Whether the program has taken its place.
    is_taken: bool,
    entry: Arc<Entry>,
    guests: Arc<Mutex<Vec<Arc<Entry>>>>,
    events: Events,
    device: String,
    outlet: String,
}

impl Hub {
    /// The hub of an IN line, and where its pump finds newcomers.
    pub(super) fn of_in(
        device: &str,
        line: &str,
        events: &Events,
        rules: Rules,
    ) -> (Arc<Self>, UnboundedReceiver<NewReader>) {
        let (sender, receiver) = unbounded_channel();
        (Self::new(device, line, events, rules, Door::In(Mutex::new(sender))), receiver)
    }

    /// The hub of an OUT line, and where its pump finds newcomers.
    pub(super) fn of_out(
        device: &str,
        line: &str,
        events: &Events,
        rules: Rules,
    ) -> (Arc<Self>, UnboundedReceiver<NewWriter>) {
        let (sender, receiver) = unbounded_channel();
        (Self::new(device, line, events, rules, Door::Out(Mutex::new(sender))), receiver)
    }

    /// Where newcomers come from now on, for an IN line that starts over.
    pub(super) fn renew_in(&self) -> UnboundedReceiver<NewReader> {
        let (sender, receiver) = unbounded_channel();
        if let Door::In(door) = &self.door {
            *lock(door) = sender;
        }
        receiver
    }

    /// The same for an OUT line.
    pub(super) fn renew_out(&self) -> UnboundedReceiver<NewWriter> {
        let (sender, receiver) = unbounded_channel();
        if let Door::Out(door) = &self.door {
            *lock(door) = sender;
        }
        receiver
    }

    fn new(device: &str, line: &str, events: &Events, rules: Rules, door: Door) -> Arc<Self> {
        Arc::new(Self {
            device: device.to_owned(),
            line: line.to_owned(),
            events: events.clone(),
            door,
            rules,
            fifo: Arc::default(),
            fifo_peer: Mutex::default(),
            fifo_told: Mutex::default(),
            guests: Arc::default(),
        })
    }

    /// Whether its programs read.
    pub(super) fn is_in(&self) -> bool {
        matches!(self.door, Door::In(_))
    }

    pub(super) fn rules(&self) -> Rules {
        self.rules
    }

    /// The account of the programs behind the FIFO.
    pub(super) fn fifo(&self) -> Arc<Account> {
        self.fifo.clone()
    }

    /// A place for the program at the other end of `fd` as a reader (IN) or a writer (OUT) of this line, until that end is
    /// closed. `fd` is a connected Unix socket, stream or SEQPACKET, or the fitting end of a pipe; it becomes
    /// non-blocking. On a SEQPACKET socket each transfer is one message.
    ///
    /// # Errors
    /// What to tell the program's user: `fd` is something else.
    pub(super) fn offer(&self, fd: Connection, card: Card) -> Result<Offer, String> {
        let unfit = |e: io::Error| format!("its descriptor cannot be used as an outlet: {e}");
        let end = match &self.door {
            Door::In(door) => {
                OfferedEnd::In(Box::new(InEnd::new(fd, self.rules.packets).map_err(unfit)?), lock(door).clone())
            }
            Door::Out(door) => OfferedEnd::Out(Box::new(OutEnd::new(fd).map_err(unfit)?), lock(door).clone()),
        };
        Ok(Offer { end, card })
    }

    /// As [`Hub::offer`], with any [`Sink`] as the way to the program; for IN lines.
    ///
    /// # Errors
    /// As of [`Hub::admit`].
    pub(super) fn offer_reader(&self, sink: Box<dyn Sink>, via: Via, peer: Peer) -> Result<Offer, String> {
        let Door::In(door) = &self.door else { return Err(format!("{} is for writing only", self.line)) };
        Ok(Offer { end: OfferedEnd::In(sink, lock(door).clone()), card: self.admit(via, peer)? })
    }

    /// As [`Hub::offer`], with any [`Source`] as the way from the program; for OUT lines.
    ///
    /// # Errors
    /// As of [`Hub::admit`].
    pub(super) fn offer_writer(&self, source: Box<dyn Source>, via: Via, peer: Peer) -> Result<Offer, String> {
        let Door::Out(door) = &self.door else { return Err(format!("{} is for reading only", self.line)) };
        Ok(Offer { end: OfferedEnd::Out(source, lock(door).clone()), card: self.admit(via, peer)? })
    }

    /// Room for one more program. To be had before an end is made, because ends that are dropped end their connections.
    ///
    /// # Errors
    /// What to tell the program's user: too many are there, or a second writer is not wanted.
    pub(super) fn admit(&self, via: Via, peer: Peer) -> Result<Card, String> {
        let mut guests = lock(&self.guests);
        if guests.len() >= MOST_CLIENTS {
            return Err(too_many());
        }
        if self.rules.exclusive {
            let other = guests.first().map(|other| other.peer.to_string());
            let other = other.or_else(|| self.fifo.is_open().then(|| "a program".to_owned() + " at the FIFO"));
            if let Some(other) = other {
                return Err(format!("{other} writes to it, and `writers = \"one\"` allows no second"));
            }
        }
        let entry = Arc::new(Entry { via, peer, account: Arc::default(), told: Mutex::default() });
        guests.push(entry.clone());
        let (events, device, outlet) = (self.events.clone(), self.device.clone(), self.outlet(via));
        Ok(Card { is_taken: false, entry, guests: self.guests.clone(), events, device, outlet })
    }

    /// The name that users know for this way to the line.
    fn outlet(&self, via: Via) -> String {
        match via {
            Via::Socket => Listener::name_for(&self.line),
            Via::Descriptor => self.line.clone(),
            Via::Tcp | Via::Rfc2217 => {
                format!("{}.{}", line_of_outlet(&self.line).unwrap_or(&self.line), via.kind())
            }
            Via::Tty => format!("{}.{TTY}", line_of_outlet(&self.line).unwrap_or(&self.line)),
        }
    }

    /// The process that was seen to have the FIFO open; `None` while nobody has looked.
    pub(super) fn saw_at_fifo(&self, pid: Option<u32>) {
        *lock(&self.fifo_peer) = pid.map(Peer::process).unwrap_or_default();
    }

    /// Who is there, those at the FIFO first.
    pub(super) fn clients(&self) -> Vec<ClientStatus> {
        let fifo = self.fifo.is_open().then(|| client_status("fifo", &lock(&self.fifo_peer), &self.fifo));
        let guests = lock(&self.guests);
        fifo.into_iter().chain(guests.iter().map(|entry| entry.status())).collect()
    }

    /// Tells what each program that is there has lost since the last time.
    pub(super) fn tell_losses(&self) {
        self.tell_loss(&self.line, "the reader", &self.fifo, &self.fifo_told);
        for entry in lock(&self.guests).iter() {
            self.tell_loss(&self.outlet(entry.via), &entry.peer.to_string(), &entry.account, &entry.told);
        }
    }

    fn tell_loss(&self, outlet: &str, who: &str, account: &Account, told: &Mutex<Tally>) {
        let now = account.tally();
        let before = std::mem::replace(&mut *lock(told), now);
        // The account of a FIFO begins anew with each program.
        let since = |now: u64, before: u64| if now < before { now } else { now - before };
        let packets = since(now.lost_packets, before.lost_packets);
        let transfers = since(now.lost_transfers, before.lost_transfers);
        let bytes = since(now.lost_bytes, before.lost_bytes);
        let text = match (packets, transfers) {
            (0, 0) => return,
            (0, _) => format!("{transfers} transfers of {bytes} bytes were lost: {who} is too slow"),
            (_, _) => format!("{packets} packets were lost: {who} is too slow"),
        };
        self.events.tell("loss", &self.device, Some(outlet), text);
    }
}

impl Entry {
    fn status(&self) -> ClientStatus {
        client_status(self.via.kind(), &self.peer, &self.account)
    }
}

fn client_status(kind: &str, peer: &Peer, account: &Account) -> ClientStatus {
    let Peer { pid, uid, command, address } = peer.clone();
    let address = address.map(|address| address.to_string());
    ClientStatus { kind: kind.to_owned(), pid, uid, command, address, tally: account.tally() }
}

impl Offer {
    /// The program takes its place: from now on bytes are delivered.
    pub(super) fn take(self) {
        let Self { end, mut card } = self;
        card.is_taken = true;
        card.events.tell("open", &card.device, Some(&card.outlet), format!("{} connected", card.entry.peer));
        let account = card.entry.account.clone();
        match end {
            OfferedEnd::In(sink, door) => drop(door.send(NewReader { sink, account, guest: Box::new(card) })),
            OfferedEnd::Out(source, door) => drop(door.send(NewWriter { source, account, guest: Box::new(card) })),
        }
    }
}

impl Guest for Card {
    fn failed(&mut self, why: &io::Error) {
        let text = format!("the connection to {} failed: {why}", self.entry.peer);
        self.events.tell("error", &self.device, Some(&self.outlet), text);
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        lock(&self.guests).retain(|entry| !Arc::ptr_eq(entry, &self.entry));
        if !self.is_taken {
            return;
        }
        let tally = self.entry.account.tally();
        let lost = match tally.lost_bytes {
            0 => String::new(),
            bytes => format!(", {bytes} lost"),
        };
        let text = format!("{} is gone; {} bytes{lost}", self.entry.peer, tally.bytes);
        self.events.tell("close", &self.device, Some(&self.outlet), text);
    }
}
