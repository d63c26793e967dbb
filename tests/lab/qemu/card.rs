//! A smart card and its reader. The card is played here, in libcacard's protocol; the reader is QEMU's, and is spoken to as
//! CCID says. Refuses to know what is on a card.

use std::fs::File;
use std::io::Write;

use crate::common::{Daemon, read_exactly};

/// What the card says of itself when it is powered: direct convention, T=0, four historical bytes.
pub(super) const ATR: &[u8] = &[0x3b, 0x04, b'u', b's', b'b', b'p'];

pub(super) const POWER_ON: u8 = 0x62;
pub(super) const TRANSFER: u8 = 0x6f;
const SLOT_STATUS: u8 = 0x65;

/// In the status: whether there is a card.
pub(super) const ACTIVE: u8 = 0;
pub(super) const NO_CARD: u8 = 2;

/// What the interrupt endpoint says when a card is put into slot 0.
pub(super) const INSERTED: [u8; 2] = [0x50, 0b11];

/// A message from a reader.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    kind: u8,
    status: u8,
    error: u8,
    data: Vec<u8>,
}

impl Answer {
    /// A data block from an active card.
    pub(super) fn data(data: &[u8]) -> Self {
        Self { kind: 0x80, status: ACTIVE, error: 0, data: data.to_vec() }
    }

    /// The status of the slot.
    pub(super) fn status(status: u8) -> Self {
        Self { kind: 0x81, status, error: 0, data: Vec::new() }
    }
}

/// A reader whose bulk endpoints are 0x82 and 0x03.
pub(super) struct Reader {
    from: File,
    to: File,
    sequence: u8,
}

impl Reader {
    pub(super) fn of(daemon: &Daemon, name: &str) -> Self {
        let (from, to) = (daemon.reader(&format!("{name}/ep_82")), daemon.writer(&format!("{name}/ep_03")));
        Self { from, to, sequence: 0 }
    }

    pub(super) fn status(&mut self) -> Answer {
        self.ask(SLOT_STATUS, b"")
    }

    pub(super) fn ask(&mut self, kind: u8, data: &[u8]) -> Answer {
        self.say(kind, data);
        self.hear()
    }

    /// Sends a message for slot 0.
    pub(super) fn say(&mut self, kind: u8, data: &[u8]) {
        self.sequence += 1;
        let mut bytes = vec![kind];
        bytes.extend((data.len() as u32).to_le_bytes());
        bytes.extend([0, self.sequence, 0, 0, 0]);
        bytes.extend(data);
        self.to.write_all(&bytes).unwrap();
    }

    /// The message that answers the last one.
    pub(super) fn hear(&self) -> Answer {
        let read = |n| read_exactly(self.from.try_clone().unwrap(), n).1;
        let header = read(10);
        let length = u32::from_le_bytes(header[1..5].try_into().unwrap());
        assert_eq!(header[5..7], [0, self.sequence], "slot and sequence number in {header:02x?}");
        Answer { kind: header[0], status: header[7], error: header[8], data: read(length as usize) }
    }
}

/// The card's side, which QEMU reaches by a port.
pub(super) struct Card<'a>(&'a File);

impl<'a> Card<'a> {
    /// Says hello; no card is in the reader yet.
    pub(super) fn present(port: &'a File) {
        let card = Self(port);
        card.send(HELLO, &[b"VSCD", &[0, 0, 0, 2][..], &[0; 4]].concat());
        card.send(ADD_READER, b"lab");
    }

    pub(super) fn of(port: &'a File) -> Self {
        Self(port)
    }

    pub(super) fn insert(&self) {
        self.send(PRESENT_ATR, ATR);
    }

    /// The next command for the card; other messages are passed over.
    pub(super) fn next_command(&mut self) -> Vec<u8> {
        loop {
            let (kind, content) = self.receive();
            if kind == COMMAND {
                return content;
            }
        }
    }

    pub(super) fn answer(&self, response: &[u8]) {
        self.send(COMMAND, response);
    }

    fn send(&self, kind: u32, content: &[u8]) {
        let header = [kind, 0, content.len() as u32].map(u32::to_be_bytes).concat();
        (&mut &*self.0).write_all(&[&header[..], content].concat()).unwrap();
    }

    fn receive(&self) -> (u32, Vec<u8>) {
        let read = |n| read_exactly(self.0.try_clone().unwrap(), n).1;
        let header = read(12);
        let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
        (number(0), read(number(8) as usize))
    }
}

/// Types of libcacard's messages, which begin with type, reader and length in network order.
const HELLO: u32 = 1;
const ADD_READER: u32 = 3;
const PRESENT_ATR: u32 = 5;
const COMMAND: u32 = 7;
