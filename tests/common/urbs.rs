//! The server's end of a USB/IP connection for tests that decide each answer themselves: it imports, describes a device with
//! pipes of every type, and splits what the client sends into requests. It answers nothing else by itself.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "each test binary uses its own part of it"
)]

use std::io::{ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::time::Duration;

use usbip_wire::{
    BUSID_LEN, DEVICE_RECORD_LEN, DeviceRecord, Direction, HEADER_LEN, Header, ISO_PACKET_LEN, IsoPacket,
    OP_HEADER_LEN, OpCode, OpHeader, RetSubmit, Speed, Submit, status,
};

/// A connection after its import.
pub struct Urbs {
    pub stream: TcpStream,
    input: Vec<u8>,
}

/// A request of the client. OUT data is of no interest to any test.
#[derive(Debug, Clone, Copy)]
pub enum Request {
    Submit(Submit),
    Unlink { seqnum: u32, victim: u32 },
}

impl Urbs {
    /// Answers the import with this record.
    pub fn import(mut stream: TcpStream, record: &DeviceRecord) -> Result<Self> {
        stream.read_exact(&mut [0; OP_HEADER_LEN + BUSID_LEN])?;
        stream.write_all(&import_reply(record))?;
        Ok(Self::imported(stream))
    }

    /// A connection whose import was answered.
    pub fn imported(stream: TcpStream) -> Self {
        Self { stream, input: Vec::new() }
    }

    /// The next request; waits for it.
    pub fn next(&mut self) -> Result<Request> {
        loop {
            if let Some(request) = self.take() {
                return Ok(request);
            }
            self.read()?;
        }
    }

    /// What has arrived of requests, waiting at most `time` for something.
    pub fn within(&mut self, time: Duration) -> Result<Vec<Request>> {
        self.stream.set_read_timeout(Some(time))?;
        match self.read() {
            Err(e) if !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Err(e),
            _ => {}
        }
        Ok(std::iter::from_fn(|| self.take()).collect())
    }

    fn read(&mut self) -> Result<()> {
        let mut bytes = [0; 65536];
        match self.stream.read(&mut bytes)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            n => {
                self.input.extend(&bytes[..n]);
                Ok(())
            }
        }
    }

    fn take(&mut self) -> Option<Request> {
        let header = Header::decode(self.input.first_chunk::<HEADER_LEN>()?).unwrap();
        let (request, tail) = match header {
            Header::Submit(submit) => {
                let data = if submit.direction == Direction::Out { submit.length as usize } else { 0 };
                (Request::Submit(submit), data + submit.packets.unwrap_or(0) as usize * ISO_PACKET_LEN)
            }
            Header::Unlink { seqnum, victim, .. } => (Request::Unlink { seqnum, victim }, 0),
            Header::RetSubmit(_) | Header::RetUnlink { .. } => panic!("the client sent a reply"),
        };
        if self.input.len() < HEADER_LEN + tail {
            return None;
        }
        self.input.drain(..HEADER_LEN + tail);
        Some(request)
    }

    /// Serves control requests until the header of another transfer has come, and takes no more than that.
    pub fn until_transfer(&mut self, device: &Descriptors) -> Result<Submit> {
        loop {
            if let Some(header) = self.input.first_chunk::<HEADER_LEN>()
                && let Ok(Header::Submit(submit)) = Header::decode(header)
                && submit.endpoint != 0
            {
                return Ok(submit);
            }
            match self.take() {
                Some(Request::Submit(submit)) => self.stream.write_all(&device.answer(&submit))?,
                Some(Request::Unlink { .. }) => {}
                None => self.read()?,
            }
        }
    }

    pub fn send(&mut self, header: Header) -> Result<()> {
        self.stream.write_all(&header.encode())
    }
}

/// Descriptors of a device, and the answers to requests for them.
#[derive(Clone)]
pub struct Descriptors {
    pub device: Vec<u8>,
    pub configuration: Vec<u8>,
}

impl Descriptors {
    /// A high-speed device with these endpoints in setting 0 of interface 0, as address and bmAttributes, and an isochronous
    /// one in each direction, 0x85 and 0x06, in setting 1 of interface 1.
    pub fn with(endpoints: &[(u8, u8)]) -> Self {
        let mut configuration = vec![9, 2, 0, 0, 2, 1, 0, 0x80, 50];
        configuration.extend([9, 4, 0, 0, endpoints.len() as u8, 0xff, 0, 0, 0]);
        for &(address, kind) in endpoints {
            let [low, high] = if kind == 2 { [0, 2] } else { [64, 0] };
            configuration.extend([7, 5, address, kind, low, high, 4]);
        }
        configuration.extend([9, 4, 1, 0, 0, 0xff, 0, 0, 0, 9, 4, 1, 1, 2, 0xff, 0, 0, 0]);
        for address in [0x85, 0x06] {
            configuration.extend([7, 5, address, 1, 192, 0, 4]);
        }
        configuration[2] = configuration.len() as u8;
        let device = vec![18, 1, 0, 2, 0, 0, 0, 64, 0x09, 0x12, 0x78, 0, 0, 1, 0, 0, 0, 1];
        Self { device, configuration }
    }

    /// The reply to a control request: descriptors where they are asked for, otherwise success.
    pub fn answer(&self, submit: &Submit) -> Vec<u8> {
        let data: &[u8] = match submit.setup {
            [0x80, 6, _, 1, ..] => &self.device,
            [0x80, 6, _, 2, ..] => &self.configuration,
            [0x80, 6, ..] => return replied(submit, status::EPIPE, &[]),
            _ => &[],
        };
        replied(submit, status::OK, data)
    }
}

/// The answer to an import.
pub fn import_reply(record: &DeviceRecord) -> Vec<u8> {
    [&OpHeader { code: OpCode::RepImport, status: 0 }.encode()[..], &record.encode()].concat()
}

/// The record of a device with so many configurations.
pub fn record(configurations: u8) -> DeviceRecord {
    DeviceRecord {
        busid: "1-1".into(),
        speed: Speed::High,
        vendor_id: 0x1209,
        product_id: 0x78,
        configuration_value: 1,
        num_configurations: configurations,
        num_interfaces: 2,
        ..DeviceRecord::decode(&[0; DEVICE_RECORD_LEN])
    }
}

/// A reply that keeps to the protocol: with as much of `data` as was asked for. OUT takes everything, and each isochronous IN
/// packet is full.
pub fn replied(submit: &Submit, code: i32, data: &[u8]) -> Vec<u8> {
    let is_in = submit.direction == Direction::In;
    let count = submit.packets.unwrap_or(0);
    let data = match count {
        0 => data[..data.len().min(submit.length as usize)].to_vec(),
        _ => vec![7; submit.length as usize],
    };
    let actual_length = if is_in { data.len() as u32 } else { submit.length };
    let (seqnum, packets) = (submit.seqnum, submit.packets);
    let reply = RetSubmit { seqnum, status: code, actual_length, start_frame: 0, packets, error_count: 0 };
    let mut bytes = Header::RetSubmit(reply).encode().to_vec();
    if is_in {
        bytes.extend(data);
    }
    for n in 0..count {
        let length = submit.length / count;
        let packet = IsoPacket { offset: n * length, length, actual_length: length, status: status::OK };
        bytes.extend(packet.encode());
    }
    bytes
}
