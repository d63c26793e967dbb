//! SCSI over the bulk-only transport, as a program with two FIFOs speaks it: a command block of 31 bytes, data, and a
//! status of 13 bytes. Refuses to keep the IN FIFO open between commands: a disk that is asked for data while it has
//! no command may stall.

use std::fs::File;
use std::io::Write;

use crate::common::{Daemon, read_exactly, wait_for};

pub(super) const SECTOR: usize = 512;

/// A disk whose bulk endpoints are 0x81 and 0x02, the latter in `length` framing.
pub(super) struct Disk<'a> {
    daemon: &'a Daemon,
    from: String,
    to: File,
    tag: u32,
}

impl<'a> Disk<'a> {
    pub(super) fn of(daemon: &'a Daemon, name: &str) -> Self {
        let to = daemon.writer(&format!("{name}/ep_02"));
        Self { daemon, from: format!("{name}/ep_81"), to, tag: 0x7531 }
    }

    /// Waits until the medium is there: after a reset a disk says first that it was reset.
    pub(super) fn wait_ready(&mut self) {
        wait_for(|| (self.command(&[0; 6], Phase::None).1 == 0).then_some(()), || "the disk stays unready".to_owned());
    }

    /// Runs a command that gives `length` bytes.
    pub(super) fn read(&mut self, block: &[u8], length: usize) -> Vec<u8> {
        let (data, status) = self.command(block, Phase::In(length));
        assert_eq!(status, 0, "the status of {block:02x?}");
        data
    }

    /// READ(10).
    pub(super) fn read_sectors(&mut self, first: usize, count: usize) -> Vec<u8> {
        self.read(&at(0x28, first, count), count * SECTOR)
    }

    /// WRITE(10).
    pub(super) fn write_sectors(&mut self, first: usize, data: &[u8]) {
        let block = at(0x2a, first, data.len() / SECTOR);
        assert_eq!(self.command(&block, Phase::Out(data)).1, 0, "the status of {block:02x?}");
    }

    /// Gives what came and the status: 0 for done, 1 for failed.
    fn command(&mut self, block: &[u8], phase: Phase) -> (Vec<u8>, u8) {
        self.tag += 1;
        self.transfer(&wrapper(self.tag, block, &phase));
        if let Phase::Out(data) = phase {
            data.chunks(LARGEST).for_each(|chunk| self.transfer(chunk));
        }
        let length = if let Phase::In(length) = phase { length } else { 0 };
        let (from, mut data) = read_exactly(self.daemon.reader(&self.from), length);
        let status = read_exactly(from, 13).1;
        assert_eq!(status[..4], *b"USBS", "after {block:02x?}: {status:02x?}");
        assert_eq!(status[4..8], self.tag.to_le_bytes(), "after {block:02x?}");
        assert_eq!(status[8..12], [0; 4], "bytes left over after {block:02x?}");
        data.truncate(length);
        (data, status[12])
    }

    /// One record, one transfer.
    fn transfer(&mut self, bytes: &[u8]) {
        self.to.write_all(&[&(bytes.len() as u32).to_le_bytes(), bytes].concat()).unwrap();
    }
}

/// What follows a command.
enum Phase<'a> {
    None,
    In(usize),
    Out(&'a [u8]),
}

/// The command block wrapper: USB Mass Storage Bulk Only 1.0, 5.1.
fn wrapper(tag: u32, block: &[u8], phase: &Phase) -> Vec<u8> {
    let (length, flags) = match phase {
        Phase::None => (0, 0x80),
        Phase::In(length) => (*length, 0x80),
        Phase::Out(data) => (data.len(), 0),
    };
    let mut bytes = b"USBC".to_vec();
    bytes.extend(tag.to_le_bytes());
    bytes.extend((length as u32).to_le_bytes());
    bytes.extend([flags, 0, block.len() as u8]);
    bytes.extend(block);
    bytes.resize(31, 0);
    bytes
}

/// A command for so many sectors from the first on.
fn at(operation: u8, first: usize, count: usize) -> [u8; 10] {
    let [a, b, c, d] = (first as u32).to_be_bytes();
    let [e, f] = (count as u16).to_be_bytes();
    [operation, 0, a, b, c, d, 0, e, f, 0]
}

/// Data of a transfer: at most what a pipe takes as one message.
const LARGEST: usize = 4096;
