//! A USB/IP server that lies in every way the conversation has room for: each field, length, order and time, and how it is cut
//! into segments. What a session does is made from its seed alone, so that a seed found once can be run again.
//!
//! It knows nothing of the program under test.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "each test binary uses its own part of it"
)]

use std::io::{Result, Write};
use std::net::{Shutdown, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use socket2::SockRef;
use usbip_wire::{Direction, HEADER_LEN, Header, Submit, status};

use crate::urbs::{Descriptors, Request, Urbs, import_reply, record, replied};

/// What is wrong with a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    // The import.
    ImportVersion,
    ImportCode,
    ImportStatus,
    ImportCut,
    ImportRecord,
    ImportInBytes,
    ImportThenGarbage,
    ImportSilence,
    // Descriptors and control requests.
    DescriptorBits,
    DescriptorLength,
    ControlStalls,
    ControlShort,
    ControlStatus,
    ControlLate,
    // Fields of replies.
    Command,
    Seqnum,
    Twice,
    Longer,
    Huge,
    Negative,
    Shorter,
    Status,
    PacketCount,
    UnusedFields,
    // Isochronous packets.
    PacketLonger,
    PacketSum,
    PacketFields,
    PacketStatus,
    PacketsCut,
    // Cancellations.
    UnlinkStatus,
    UnlinkTwice,
    UnlinkGuessed,
    UnlinkUnanswered,
    UnlinkSeqnum,
    ReplyAfterUnlink,
    ReplyNeverComes,
    // Order and time.
    Backwards,
    Bursts,
    Delays,
    StopsReading,
    Silence,
    // Streams.
    HeaderCut,
    PayloadCut,
    Reset,
    HalfClosed,
    RequestOfServer,
    Garbage,
    BitFlips,
    Missing,
    Inserted,
    Swapped,
    // Nothing: the conversation alone, in odd segments.
    SingleBytes,
    OddSegments,
    Merged,
    Honest,
}

impl Kind {
    pub const ALL: [Self; 55] = [
        Self::ImportVersion,
        Self::ImportCode,
        Self::ImportStatus,
        Self::ImportCut,
        Self::ImportRecord,
        Self::ImportInBytes,
        Self::ImportThenGarbage,
        Self::ImportSilence,
        Self::DescriptorBits,
        Self::DescriptorLength,
        Self::ControlStalls,
        Self::ControlShort,
        Self::ControlStatus,
        Self::ControlLate,
        Self::Command,
        Self::Seqnum,
        Self::Twice,
        Self::Longer,
        Self::Huge,
        Self::Negative,
        Self::Shorter,
        Self::Status,
        Self::PacketCount,
        Self::UnusedFields,
        Self::PacketLonger,
        Self::PacketSum,
        Self::PacketFields,
        Self::PacketStatus,
        Self::PacketsCut,
        Self::UnlinkStatus,
        Self::UnlinkTwice,
        Self::UnlinkGuessed,
        Self::UnlinkUnanswered,
        Self::UnlinkSeqnum,
        Self::ReplyAfterUnlink,
        Self::ReplyNeverComes,
        Self::Backwards,
        Self::Bursts,
        Self::Delays,
        Self::StopsReading,
        Self::Silence,
        Self::HeaderCut,
        Self::PayloadCut,
        Self::Reset,
        Self::HalfClosed,
        Self::RequestOfServer,
        Self::Garbage,
        Self::BitFlips,
        Self::Missing,
        Self::Inserted,
        Self::Swapped,
        Self::SingleBytes,
        Self::OddSegments,
        Self::Merged,
        Self::Honest,
    ];
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The number at this place of the sequence.
    pub fn nth(&self, number: u64) -> u64 {
        Self(self.0.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))).next()
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    pub fn one_in(&mut self, number: usize) -> bool {
        self.below(number) == 0
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most) + 1).map(|_| self.next() as u8).collect()
    }
}

/// One session.
pub struct Session {
    random: Random,
    pub kind: Kind,
    /// How many messages of the kind that is changed are left alone before the first lie.
    fuse: usize,
    device: Descriptors,
    pending: Vec<Submit>,
    last_seqnum: u32,
    /// Bytes that wait to be sent together.
    held: Vec<u8>,
    /// A message that waits to be swapped with the next one.
    swapped: Option<Vec<u8>>,
}

/// The device's endpoints in setting 0 of interface 0: bulk and interrupt. The isochronous ones are in interface 1.
pub const ENDPOINTS: [(u8, u8); 4] = [(0x81, 2), (0x02, 2), (0x83, 3), (0x04, 3)];

/// Bytes of an endpoint descriptor: USB 2.0, 9.6.6.
const ENDPOINT: usize = 7;

impl Session {
    pub fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let kind = Kind::ALL[random.below(Kind::ALL.len())];
        let fuse = random.below(12);
        let device = Descriptors::with(&ENDPOINTS);
        Self { random, kind, fuse, device, pending: Vec::new(), last_seqnum: 0, held: Vec::new(), swapped: None }
    }

    /// One that keeps to the protocol.
    pub fn honest(seed: u64) -> Self {
        Self { kind: Kind::Honest, ..Self::new(seed) }
    }

    /// Serves a connection to its end, whoever brings it about.
    pub fn run(mut self, mut stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        if self.kind == Kind::UnlinkGuessed {
            SockRef::from(&stream).set_recv_buffer_size(4096)?;
        }
        stream.set_write_timeout(Some(Duration::from_millis(500)))?;
        let result = self.serve(&mut stream);
        if self.kind == Kind::Reset || self.random.one_in(8) {
            SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        }
        if self.kind == Kind::HalfClosed {
            stream.shutdown(Shutdown::Write)?;
            sleep(Duration::from_millis(50));
        }
        result
    }

    fn serve(&mut self, stream: &mut TcpStream) -> Result<()> {
        if self.kind == Kind::DescriptorBits {
            self.flip_descriptors();
        }
        if !self.import(stream)? {
            return Ok(());
        }
        let mut urbs = Urbs::imported(stream.try_clone()?);
        let end = Instant::now() + Duration::from_millis(40 + self.random.below(160) as u64);
        while Instant::now() < end {
            for request in urbs.within(Duration::from_millis(1))? {
                self.take(&mut urbs, request)?;
            }
            self.go_on(&mut urbs)?;
            if self.is_over() {
                return Ok(());
            }
        }
        self.flush(&mut urbs)?;
        let is_silent = matches!(self.kind, Kind::UnlinkUnanswered | Kind::Silence | Kind::StopsReading);
        if is_silent && self.random.one_in(10) {
            // Until the client has had enough.
            let end = Instant::now() + Duration::from_secs(8);
            while Instant::now() < end {
                urbs.within(Duration::from_millis(100))?;
            }
        }
        Ok(())
    }

    /// False when that was all.
    fn import(&mut self, stream: &mut TcpStream) -> Result<bool> {
        use std::io::Read;
        stream.read_exact(&mut [0; 40])?;
        let mut record = record(1);
        if self.kind == Kind::ImportRecord {
            record.num_configurations = self.random.next() as u8;
            record.configuration_value = self.random.next() as u8 % 3;
            record.num_interfaces = self.random.next() as u8;
        }
        let mut reply = import_reply(&record);
        let value = self.random.next() as u32 % 300;
        match self.kind {
            Kind::ImportVersion => reply[..2].copy_from_slice(&(value as u16).to_be_bytes()),
            Kind::ImportCode => reply[2..4].copy_from_slice(&(value as u16).to_be_bytes()),
            Kind::ImportStatus => reply[4..8].copy_from_slice(&value.to_be_bytes()),
            Kind::ImportCut => reply.truncate(self.random.below(reply.len())),
            Kind::ImportRecord => {
                for _ in 0..self.random.below(8) {
                    let at = 8 + self.random.below(reply.len() - 8);
                    reply[at] = self.random.next() as u8;
                }
            }
            Kind::ImportThenGarbage => reply.extend(self.random.bytes(200)),
            Kind::ImportSilence => sleep(Duration::from_millis(100)),
            _ => {}
        }
        match self.kind {
            Kind::ImportInBytes => reply.iter().try_for_each(|&byte| stream.write_all(&[byte]))?,
            _ => stream.write_all(&reply)?,
        }
        let ends = [Kind::ImportVersion, Kind::ImportCode, Kind::ImportStatus, Kind::ImportCut];
        Ok(!ends.contains(&self.kind))
    }

    /// Leaves alone how much an isochronous endpoint moves: a pipe may take tens of megabytes for it, which look like growth.
    fn flip_descriptors(&mut self) {
        let tail = self.device.configuration.len() - 2 * ENDPOINT;
        let endpoints = self.device.configuration[tail..].to_vec();
        for _ in 0..=self.random.below(4) {
            let Descriptors { device, configuration } = &mut self.device;
            let raw = if self.random.one_in(3) { device } else { configuration };
            let at = self.random.below(raw.len());
            raw[at] =
                if self.random.one_in(2) { raw[at] ^ (1 << self.random.below(8)) } else { self.random.next() as u8 };
        }
        for (n, endpoint) in endpoints.chunks(ENDPOINT).enumerate() {
            let size = tail + n * ENDPOINT + 4;
            self.device.configuration[size..size + 3].copy_from_slice(&endpoint[4..]);
        }
    }

    /// Whether the next message of what is changed is to be changed.
    fn lies(&mut self) -> bool {
        match self.fuse {
            0 => true,
            _ => {
                self.fuse -= 1;
                false
            }
        }
    }

    fn is_over(&mut self) -> bool {
        self.kind == Kind::Reset && self.fuse == 0
    }

    fn take(&mut self, urbs: &mut Urbs, request: Request) -> Result<()> {
        match request {
            Request::Submit(submit) => {
                self.last_seqnum = submit.seqnum;
                if submit.endpoint == 0 && self.kind != Kind::ControlLate {
                    return self.answer_control(urbs, &submit);
                }
                self.pending.push(submit);
            }
            Request::Unlink { seqnum, victim } => {
                self.last_seqnum = seqnum;
                self.unlink(urbs, seqnum, victim)?;
            }
        }
        Ok(())
    }

    fn answer_control(&mut self, urbs: &mut Urbs, submit: &Submit) -> Result<()> {
        let mut reply = self.device.answer(submit);
        let is_kind = matches!(
            self.kind,
            Kind::DescriptorLength | Kind::ControlStalls | Kind::ControlShort | Kind::ControlStatus
        );
        if is_kind && self.lies() {
            match self.kind {
                Kind::ControlStalls => reply = replied(submit, status::EPIPE, &[]),
                Kind::ControlShort => {
                    let data = self.random.below(reply.len() - HEADER_LEN + 1);
                    reply.truncate(HEADER_LEN + data);
                    put(&mut reply, 24, data as u32);
                }
                Kind::ControlStatus => put(&mut reply, 20, (self.random.below(140) as i32).wrapping_neg() as u32),
                _ => put(&mut reply, 24, u32::from(submit.setup[6]) + 1),
            }
        }
        self.say(urbs, reply)
    }

    fn unlink(&mut self, urbs: &mut Urbs, seqnum: u32, victim: u32) -> Result<()> {
        let submit = self.pending.iter().position(|submit| submit.seqnum == victim).map(|at| self.pending.remove(at));
        let code = if submit.is_some() { status::ECONNRESET } else { status::OK };
        let mut answer = Header::RetUnlink { seqnum, status: code }.encode().to_vec();
        let is_kind = matches!(
            self.kind,
            Kind::UnlinkStatus
                | Kind::UnlinkTwice
                | Kind::UnlinkUnanswered
                | Kind::UnlinkSeqnum
                | Kind::ReplyAfterUnlink
                | Kind::ReplyNeverComes
        );
        if is_kind && (self.lies() || self.random.one_in(2)) {
            match self.kind {
                Kind::UnlinkStatus => put(&mut answer, 20, (self.random.below(140) as i32).wrapping_neg() as u32),
                Kind::UnlinkTwice => answer.extend_from_within(..),
                Kind::UnlinkUnanswered => return Ok(()),
                Kind::UnlinkSeqnum => {
                    put(&mut answer, 4, seqnum.wrapping_add(self.random.below(5) as u32).wrapping_sub(2))
                }
                Kind::ReplyAfterUnlink => {
                    if let Some(submit) = submit {
                        answer.extend(self.reply(&submit));
                    }
                }
                _ => put(&mut answer, 20, 0),
            }
        }
        self.say(urbs, answer)
    }

    /// An honest reply with as much data as there happens to be.
    fn reply(&mut self, submit: &Submit) -> Vec<u8> {
        let length = self.random.below(submit.length as usize + 1).min(3000);
        replied(submit, status::OK, &vec![length as u8; length])
    }

    /// Answers some of what waits, and does what is to be done by time.
    fn go_on(&mut self, urbs: &mut Urbs) -> Result<()> {
        let can_wait = [Kind::Silence, Kind::StopsReading, Kind::ControlLate, Kind::UnlinkGuessed].contains(&self.kind);
        if can_wait && !self.pending.is_empty() && self.lies() {
            return self.waits(urbs);
        }
        match self.kind {
            Kind::Delays => sleep(Duration::from_millis(self.random.below(20) as u64)),
            Kind::Bursts if !self.random.one_in(10) => return Ok(()),
            _ => {}
        }
        let count = if self.kind == Kind::Bursts { self.pending.len() } else { self.random.below(4) };
        for _ in 0..count.min(self.pending.len()) {
            let at = match self.kind {
                Kind::Backwards => self.pending.len() - 1,
                _ => self.random.below(self.pending.len().min(2)),
            };
            let submit = self.pending.remove(at);
            if submit.endpoint == 0 {
                let answer = self.device.answer(&submit);
                self.say(urbs, answer)?;
                continue;
            }
            let reply = self.reply(&submit);
            let reply = if self.changes(&submit) && self.lies() { self.change(&submit, reply) } else { reply };
            self.say(urbs, reply)?;
        }
        Ok(())
    }

    /// Answers nothing for a while, and then perhaps something that it cannot know.
    fn waits(&mut self, urbs: &mut Urbs) -> Result<()> {
        // Control requests that wait behind data have their time up meanwhile.
        sleep(Duration::from_millis(self.random.below(600) as u64));
        if self.kind == Kind::UnlinkGuessed || self.kind == Kind::StopsReading {
            let seqnum = self.last_seqnum.wrapping_add(self.random.below(16) as u32);
            let code = if self.random.one_in(2) { status::OK } else { status::ECONNRESET };
            self.say(urbs, Header::RetUnlink { seqnum, status: code }.encode().to_vec())?;
        }
        Ok(())
    }

    /// Whether the kind of the session is about this reply.
    fn changes(&self, submit: &Submit) -> bool {
        match self.kind {
            Kind::PacketLonger | Kind::PacketSum | Kind::PacketFields | Kind::PacketStatus | Kind::PacketsCut => {
                submit.packets.is_some()
            }
            Kind::PayloadCut => submit.direction == Direction::In,
            _ => true,
        }
    }

    /// What becomes of a reply.
    fn change(&mut self, submit: &Submit, mut reply: Vec<u8>) -> Vec<u8> {
        let packets = reply.len() - 16 * submit.packets.unwrap_or(0) as usize;
        let some = self.random.next() as u32;
        let small = some % 8;
        match self.kind {
            Kind::Command => put(&mut reply, 0, some % 8),
            Kind::Seqnum => put(&mut reply, 4, if some & 1 == 0 { some } else { submit.seqnum.wrapping_add(small) }),
            Kind::Twice => reply.extend_from_within(..),
            Kind::Longer => put(&mut reply, 24, submit.length + 1 + small),
            Kind::Huge => put(&mut reply, 24, 0x7fff_ffff),
            Kind::Negative => put(&mut reply, 24, u32::MAX - small),
            Kind::Shorter => put(&mut reply, 24, small),
            Kind::Status => put(&mut reply, 20, (some % 140).wrapping_neg()),
            Kind::PacketCount => put(&mut reply, 32, if some & 1 == 0 { small } else { some }),
            Kind::UnusedFields => {
                [8, 12, 16, 28, 36].iter().for_each(|&at| put(&mut reply, at, some.rotate_left(at as u32)))
            }
            Kind::PacketLonger => {
                let length = submit.length / submit.packets.unwrap_or(1);
                put(&mut reply, packets + 8, length + 1);
            }
            Kind::PacketSum => put(&mut reply, packets + 8, small),
            Kind::PacketFields => {
                let at = packets + self.random.below((reply.len() - packets) / 4) * 4;
                put(&mut reply, at, some);
            }
            Kind::PacketStatus => put(&mut reply, packets + 12, (some % 140).wrapping_neg()),
            Kind::PacketsCut => reply.truncate(packets + 1),
            Kind::HeaderCut => reply.truncate(1 + self.random.below(HEADER_LEN - 1)),
            Kind::PayloadCut => reply.truncate(HEADER_LEN + self.random.below(reply.len() - HEADER_LEN + 1)),
            Kind::RequestOfServer => {
                reply = match some & 1 {
                    0 => Header::Submit(*submit).encode().to_vec(),
                    _ => Header::Unlink { seqnum: 1, devid: 0, direction: Direction::In, endpoint: 0, victim: 2 }
                        .encode()
                        .to_vec(),
                }
            }
            Kind::Garbage => reply = self.random.bytes(400),
            _ => {}
        }
        reply
    }

    /// Sends a message as the session cuts its stream.
    fn say(&mut self, urbs: &mut Urbs, mut message: Vec<u8>) -> Result<()> {
        let is_kind = matches!(self.kind, Kind::BitFlips | Kind::Missing | Kind::Inserted | Kind::Swapped);
        if is_kind && self.lies() {
            let at = self.random.below(message.len().max(1));
            match self.kind {
                Kind::BitFlips if !message.is_empty() => message[at] ^= 1 << self.random.below(8),
                Kind::Missing if !message.is_empty() => drop(message.remove(at)),
                Kind::Inserted => message.insert(at, self.random.next() as u8),
                Kind::Swapped => match self.swapped.take() {
                    Some(earlier) => message.extend(earlier),
                    None => {
                        self.swapped = Some(message);
                        return Ok(());
                    }
                },
                _ => {}
            }
        }
        let stream = &mut urbs.stream;
        match self.kind {
            Kind::SingleBytes => message
                .iter()
                .take(300)
                .try_for_each(|&byte| stream.write_all(&[byte]))
                .and_then(|()| stream.write_all(message.get(300..).unwrap_or(&[]))),
            Kind::Merged => {
                self.held.extend(message);
                if self.held.len() < 2000 && !self.random.one_in(6) {
                    return Ok(());
                }
                stream.write_all(&std::mem::take(&mut self.held))
            }
            Kind::OddSegments => {
                let mut rest = &message[..];
                while !rest.is_empty() {
                    let (part, after) = rest.split_at(1 + self.random.below(rest.len()));
                    stream.write_all(part)?;
                    rest = after;
                }
                Ok(())
            }
            _ => stream.write_all(&message),
        }
    }

    fn flush(&mut self, urbs: &mut Urbs) -> Result<()> {
        let held = std::mem::take(&mut self.held);
        urbs.stream.write_all(&held)
    }
}

fn put(message: &mut [u8], at: usize, value: u32) {
    if let Some(field) = message.get_mut(at..at + 4) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}
