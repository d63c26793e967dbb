//! MTP, a camera's protocol, as a program with two FIFOs speaks it: containers of command, data and response. Refuses to
//! change files.

use std::fs::File;
use std::io::Write;

use crate::common::{Daemon, read_exactly};

pub(super) const GET_DEVICE_INFO: u16 = 0x1001;
pub(super) const OPEN_SESSION: u16 = 0x1002;
pub(super) const CLOSE_SESSION: u16 = 0x1003;
pub(super) const GET_OBJECT_HANDLES: u16 = 0x1007;
pub(super) const GET_OBJECT_INFO: u16 = 0x1008;
pub(super) const GET_OBJECT: u16 = 0x1009;

/// The code of a response.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response(u16);

impl Response {
    pub(super) const OK: Self = Self(0x2001);
    pub(super) const SESSION_NOT_OPEN: Self = Self(0x2003);
}

/// A camera whose bulk endpoints are 0x81 and 0x02.
pub(super) struct Files {
    from: File,
    to: File,
    transaction: u32,
}

impl Files {
    pub(super) fn of(daemon: &Daemon, name: &str) -> Self {
        let (from, to) = (daemon.reader(&format!("{name}/ep_81")), daemon.writer(&format!("{name}/ep_02")));
        Self { from, to, transaction: 0 }
    }

    /// Runs an operation that gives no data.
    pub(super) fn ask(&mut self, operation: u16, parameters: &[u32]) -> Response {
        self.command(operation, parameters);
        self.response()
    }

    /// Runs an operation that gives data.
    pub(super) fn fetch(&mut self, operation: u16, parameters: &[u32]) -> Vec<u8> {
        self.command(operation, parameters);
        let (kind, code, data) = self.container();
        assert_eq!((kind, code), (DATA, operation), "{data:02x?}");
        assert_eq!(self.response(), Response::OK, "to {operation:04x}");
        data
    }

    /// The same for an array of numbers.
    pub(super) fn numbers(&mut self, operation: u16, parameters: &[u32]) -> Vec<u32> {
        let data = self.fetch(operation, parameters);
        let mut numbers = data.chunks(4).map(|bytes| u32::from_le_bytes(bytes.try_into().unwrap()));
        assert_eq!(numbers.next(), Some(data.len() as u32 / 4 - 1), "the array's own length");
        numbers.collect()
    }

    fn command(&mut self, operation: u16, parameters: &[u32]) {
        self.transaction += 1;
        let mut bytes = (12 + 4 * parameters.len() as u32).to_le_bytes().to_vec();
        bytes.extend(COMMAND.to_le_bytes());
        bytes.extend(operation.to_le_bytes());
        bytes.extend(self.transaction.to_le_bytes());
        bytes.extend(parameters.iter().flat_map(|p| p.to_le_bytes()));
        self.to.write_all(&bytes).unwrap();
    }

    fn response(&mut self) -> Response {
        let (kind, code, parameters) = self.container();
        assert_eq!(kind, RESPONSE, "{parameters:02x?}");
        Response(code)
    }

    /// The next container: its type, its code and what is in it.
    fn container(&mut self) -> (u16, u16, Vec<u8>) {
        let header = self.hear(12);
        let number = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
        assert_eq!(number(8), self.transaction, "{header:02x?}");
        let content = self.hear(number(0) as usize - 12);
        let (kind, code) = (number(4) as u16, (number(4) >> 16) as u16);
        (kind, code, content)
    }

    fn hear(&self, n: usize) -> Vec<u8> {
        read_exactly(self.from.try_clone().unwrap(), n).1
    }
}

/// Whether a text is among data, as MTP writes it: its length with a NUL in one byte, then UTF-16.
pub(super) fn has_text(data: &[u8], text: &str) -> bool {
    let mut bytes = vec![text.len() as u8 + 1];
    bytes.extend(text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
    data.windows(bytes.len()).any(|window| window == bytes)
}

const COMMAND: u16 = 1;
const DATA: u16 = 2;
const RESPONSE: u16 = 3;
