//! Runs the client's state machine against a server made of bytes: for property tests and for cargo-fuzz.
//!
//! Any bytes are a script of what pipes ask for, of what the server takes, answers and claims, and of passing time. Whatever it
//! is, afterwards every transfer that was submitted has come back exactly once and in order, no time limit is missing while
//! something is being cancelled, and no step does nothing. A violation is a panic. It uses no socket, no clock and no task.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;
use usbip_wire::{Direction, HEADER_LEN, Header, ISO_PACKET_LEN, IsoPacket, RetSubmit, Submit, status};

use super::device::{UsbipDevice, UsbipPipe, detached};
use super::outbound::MAX_SLICES;
use super::protocol::{Command, Protocol};
use crate::usb::{Pipe, Transfer};

/// Runs a script, and then checks that everything has come back.
///
/// # Panics
/// When an invariant is violated.
pub fn usbip(script: &[u8]) {
    let mut script = Script(script);
    let mut world = World::new();
    while let Some(step) = script.next() {
        world.step(step, &mut script);
        world.collect();
    }
    world.finish();
}

struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// 0 when the script has ended.
    fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    fn number(&mut self) -> u32 {
        u32::from_be_bytes(std::array::from_fn(|_| self.byte()))
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit.max(1)
    }
}

/// A pipe and what it has to bring back.
struct User {
    pipe: UsbipPipe,
    packets: usize,
    submitted: usize,
    returned: usize,
    /// What came once more for transfers that were cancelled.
    late: Vec<usize>,
}

struct World {
    device: UsbipDevice,
    commands: UnboundedReceiver<Command>,
    protocol: Protocol,
    users: Vec<Option<User>>,
    server: Server,
    now: Instant,
    ended: Option<String>,
}

/// What the far end has seen, and what it has said and is not delivered yet.
#[derive(Default)]
struct Server {
    input: Vec<u8>,
    submits: Vec<Submit>,
    unlinks: Vec<(u32, u32)>,
    output: VecDeque<u8>,
    last_seqnum: u32,
    last: Vec<u8>,
    /// It may have answered what it had not read.
    lied: bool,
}

impl World {
    fn new() -> Self {
        let (device, commands) = detached();
        let protocol = Protocol::new(7);
        let users = ENDPOINTS.iter().map(|_| None).collect();
        Self { device, commands, protocol, users, server: Server::default(), now: Instant::now(), ended: None }
    }

    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        match step % 16 {
            0 | 1 => self.submit(script),
            2 => self.user(script).pipe.cancel_all(),
            3 => {
                let at = script.below(ENDPOINTS.len());
                self.users[at] = None;
            }
            4 => {
                let most = script.below(256) * 4;
                self.write(most);
            }
            5 => self.write(usize::MAX),
            6 => self.server.reply(script),
            7 => self.server.answer_unlink(status::ECONNRESET, false, script),
            8 => self.server.answer_unlink(status::OK, script.byte() & 1 == 1, script),
            9 => self.server.lie(script),
            10 => self.server.guess(script),
            11 => {
                self.server.lied = true;
                let again = self.server.last.clone();
                self.server.output.extend(again);
            }
            12 => {
                let most = script.below(256);
                self.deliver(most, script.below(64) + 1);
            }
            13 => self.deliver(usize::MAX, usize::MAX),
            14 => self.pass(script),
            _ => self.end(script),
        }
        self.accept();
    }

    fn user(&mut self, script: &mut Script<'_>) -> &mut User {
        let at = script.below(ENDPOINTS.len());
        let (endpoint, packets) = ENDPOINTS[at];
        let device = &self.device;
        self.users[at].get_or_insert_with(|| User {
            pipe: device.pipe(endpoint, 1),
            packets,
            submitted: 0,
            returned: 0,
            late: Vec::new(),
        })
    }

    fn submit(&mut self, script: &mut Script<'_>) {
        let count = script.below(4) + 1;
        let user = self.user(script);
        for _ in 0..count {
            let size = SMALLEST + user.submitted;
            user.submitted += 1;
            user.pipe.submit(match user.packets {
                0 => Transfer::new(size),
                packets => Transfer::isochronous(packets, size),
            });
        }
    }

    /// What pipes asked for reaches the link.
    fn accept(&mut self) {
        while self.ended.is_none() && self.protocol.is_open() {
            let Ok(command) = self.commands.try_recv() else { return };
            self.protocol.accept(command);
        }
        if self.ended.is_some() {
            while self.commands.try_recv().is_ok() {}
        }
    }

    /// The server takes at most so many bytes.
    fn write(&mut self, most: usize) {
        let mut left = most;
        while self.ended.is_none() && self.protocol.is_due() && left > 0 {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let filled = self.protocol.slices(&mut slices);
            let bytes: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).take(left).collect();
            assert!(!bytes.is_empty(), "something is due, and there is nothing to write");
            left -= bytes.len();
            self.server.input.extend(&bytes);
            let written = self.protocol.written(bytes.len());
            self.ended = written.err();
        }
        self.server.take();
        self.settle();
    }

    /// At most so many bytes of the server arrive, in pieces.
    fn deliver(&mut self, most: usize, piece: usize) {
        let mut left = most.min(self.server.output.len());
        while self.ended.is_none() && left > 0 {
            let output = &mut self.server.output;
            let read = |slices: &mut [IoSliceMut<'_>]| {
                let mut n = 0;
                for byte in slices.iter_mut().flat_map(|slice| slice.iter_mut()).take(left.min(piece)) {
                    *byte = output.pop_front().unwrap_or(0);
                    n += 1;
                }
                Ok(n)
            };
            let n = self.protocol.fill(read).unwrap_or(0);
            assert!(n > 0, "there is no room for what the server sends");
            left -= n;
            self.ended = self.protocol.process().err();
        }
        self.settle();
    }

    fn settle(&mut self) {
        self.protocol.close_if_done();
        if self.ended.is_some() {
            self.protocol.disconnect();
        }
    }

    /// Time passes: to the next deadline, or some milliseconds.
    fn pass(&mut self, script: &mut Script<'_>) {
        let some = self.now + Duration::from_millis(u64::from(script.byte()) * 20);
        let deadline = self.protocol.deadline(|| self.now);
        self.expire(deadline.filter(|_| script.byte() & 1 == 1).unwrap_or(some));
    }

    fn expire(&mut self, now: Instant) {
        self.now = now;
        if self.ended.is_none() {
            self.ended = self.protocol.expire(now).err();
            let next = self.protocol.deadline(|| now);
            assert!(self.ended.is_some() || next.is_none_or(|next| next > now), "a time limit that is up goes on");
        }
        self.settle();
    }

    fn end(&mut self, script: &mut Script<'_>) {
        let time = Duration::from_millis(u64::from(script.byte()) * 20);
        let command = if script.byte() & 1 == 1 { Command::EndWithin(time) } else { Command::End };
        if self.ended.is_none() && self.protocol.is_open() {
            self.protocol.accept(command);
        }
    }

    /// Takes what has come back, and checks that it is what must come.
    fn collect(&mut self) {
        for user in self.users.iter_mut().flatten() {
            let mut cx = Context::from_waker(Waker::noop());
            while let Poll::Ready(transfer) = user.pipe.poll_complete(&mut cx) {
                user.take(&transfer);
            }
        }
    }

    /// Everything is cancelled, and the server does nothing more but to take what it is sent, or not even that.
    fn finish(&mut self) {
        for user in self.users.iter_mut().flatten() {
            user.pipe.cancel_all();
        }
        self.accept();
        let takes = self.server.last_seqnum & 1 == 0;
        for _ in 0..MOST_STEPS {
            if takes {
                self.write(usize::MAX);
            }
            self.accept();
            self.collect();
            if self.users.iter().flatten().all(|user| user.pipe.in_flight() == 0) {
                return self.users.iter().flatten().for_each(User::check);
            }
            assert!(self.ended.is_none(), "the link has ended, and transfers are missing");
            let deadline = self.protocol.deadline(|| self.now);
            self.expire(deadline.expect("a cancellation has a time limit"));
        }
        panic!("the end of what was cancelled does not come");
    }
}

impl User {
    fn take(&mut self, transfer: &Transfer) {
        let ordinal = transfer.buffer.len() / self.packets.max(1) - SMALLEST;
        assert!(transfer.actual <= transfer.length && transfer.length <= transfer.buffer.len());
        let inside = |p: &crate::usb::IsoPacket| p.actual <= p.length && p.offset + p.actual <= transfer.buffer.len();
        assert!(transfer.packets.iter().all(inside), "a packet lies outside of its transfer");
        if ordinal == self.returned {
            self.returned += 1;
            return;
        }
        assert!(ordinal < self.returned, "transfer {ordinal} came back before {}", self.returned);
        assert!(transfer.actual > 0 && !self.late.contains(&ordinal), "transfer {ordinal} came back twice");
        self.late.push(ordinal);
    }

    fn check(&self) {
        assert_eq!(self.returned, self.submitted, "some transfers did not come back");
    }
}

impl Server {
    /// Understands what has arrived.
    fn take(&mut self) {
        while let Some(header) = self.input.first_chunk::<HEADER_LEN>() {
            let header = Header::decode(header).expect("the client keeps to the protocol");
            let length = HEADER_LEN + tail(&header);
            if self.input.len() < length {
                return;
            }
            self.input.drain(..length);
            match header {
                Header::Submit(submit) => {
                    self.last_seqnum = submit.seqnum;
                    self.submits.push(submit);
                }
                Header::Unlink { seqnum, victim, .. } => {
                    self.last_seqnum = seqnum;
                    self.unlinks.push((seqnum, victim));
                    assert!(self.unlinks.len() == 1 || self.lied, "one unlink at a time");
                }
                Header::RetSubmit(_) | Header::RetUnlink { .. } => panic!("a client never replies"),
            }
        }
    }

    fn say(&mut self, bytes: Vec<u8>) {
        self.output.extend(&bytes);
        self.last = bytes;
    }

    /// A reply that keeps to the protocol.
    fn reply(&mut self, script: &mut Script<'_>) {
        if self.submits.is_empty() {
            return;
        }
        let submit = self.submits.remove(script.below(self.submits.len()));
        let bytes = honest(&submit, script);
        self.say(bytes);
    }

    /// The answer to the oldest unlink, with the reply before it if that came first.
    fn answer_unlink(&mut self, status: i32, replied: bool, script: &mut Script<'_>) {
        let Some(&(seqnum, victim)) = self.unlinks.first() else { return };
        self.unlinks.clear();
        let at = self.submits.iter().position(|submit| submit.seqnum == victim);
        if replied && let Some(at) = at {
            let submit = self.submits[at];
            let bytes = honest(&submit, script);
            self.say(bytes);
        }
        // What was not replied to may still be, too late.
        if let Some(at) = at.filter(|_| replied || script.byte() & 1 == 0) {
            self.submits.remove(at);
        }
        self.say(Header::RetUnlink { seqnum, status }.encode().to_vec());
    }

    /// Something that a server may not say, or only by chance.
    fn lie(&mut self, script: &mut Script<'_>) {
        self.lied = true;
        let submit = self.submits.get(script.below(self.submits.len())).copied();
        let mut bytes = match submit {
            Some(submit) => honest(&submit, script),
            None => vec![0; HEADER_LEN],
        };
        let (at, value) = (script.below(bytes.len() / 4) * 4, script.number());
        let old = u32::from_be_bytes(std::array::from_fn(|n| bytes[at + n]));
        let value = match script.byte() % 4 {
            0 => value,
            1 => old.wrapping_add(1),
            2 => old.wrapping_sub(1),
            _ => value % 256,
        };
        bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
        if script.byte().is_multiple_of(8) {
            bytes.truncate(script.below(bytes.len()));
        }
        self.say(bytes);
    }

    /// An answer to what was not sent yet: numbers can be guessed.
    fn guess(&mut self, script: &mut Script<'_>) {
        self.lied = true;
        let seqnum = self.last_seqnum.wrapping_add(u32::from(script.byte() % 8));
        let reply = RetSubmit { seqnum, status: 0, actual_length: 0, start_frame: 0, packets: None, error_count: 0 };
        let bytes = match script.byte() % 3 {
            0 => Header::RetSubmit(reply).encode(),
            1 => Header::RetUnlink { seqnum, status: status::OK }.encode(),
            _ => Header::RetUnlink { seqnum, status: status::ECONNRESET }.encode(),
        };
        self.say(bytes.to_vec());
    }
}

/// Bytes that follow a request on the wire.
fn tail(header: &Header) -> usize {
    match header {
        Header::Submit(submit) => {
            let data = if submit.direction == Direction::Out { submit.length as usize } else { 0 };
            data + submit.packets.unwrap_or(0) as usize * ISO_PACKET_LEN
        }
        _ => 0,
    }
}

/// A reply with as much data as the script has it.
fn honest(submit: &Submit, script: &mut Script<'_>) -> Vec<u8> {
    let packets = submit.packets.unwrap_or(0);
    let size = submit.length / packets.max(1);
    let actual: Vec<u32> = (0..packets.max(1)).map(|_| u32::from(script.byte()) % (size + 1)).collect();
    let actual_length = actual.iter().sum();
    let code = if script.byte().is_multiple_of(8) { status::EPIPE } else { status::OK };
    let reply = RetSubmit {
        seqnum: submit.seqnum,
        status: code,
        actual_length,
        start_frame: 0,
        packets: submit.packets,
        error_count: 0,
    };
    let mut bytes = Header::RetSubmit(reply).encode().to_vec();
    if submit.direction == Direction::In {
        bytes.resize(bytes.len() + actual_length as usize, 7);
    }
    let descriptors = actual.iter().take(packets as usize);
    bytes.extend(
        descriptors.flat_map(|&actual_length| {
            IsoPacket { offset: 0, length: size, actual_length, status: status::OK }.encode()
        }),
    );
    bytes
}

/// Control, bulk and isochronous endpoints in both directions, with the packets of their transfers.
const ENDPOINTS: [(u8, usize); 6] = [(0x80, 0), (0x00, 0), (0x81, 0), (0x02, 0), (0x83, 3), (0x03, 3)];
/// Bytes of the first transfer of a pipe, or of its packets; each that follows is larger by one, which tells them apart.
const SMALLEST: usize = 16;
/// More than there are transfers in any script.
const MOST_STEPS: usize = 100_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]
        #[test]
        fn whatever_a_server_does_everything_comes_back_once(script in prop::collection::vec(any::<u8>(), 0..1500)) {
            usbip(&script);
        }
    }

    #[test]
    fn a_cancellation_that_is_answered_before_it_was_sent_ends_the_link() {
        // Two control transfers; one goes out in part; both are cancelled; the answer is guessed; all is taken then.
        usbip(&[0, 1, 1, 4, 5, 2, 1, 10, 1, 1, 13, 5, 13]);
        // The same of one that is out, whose unlink is not.
        usbip(&[0, 0, 2, 5, 2, 2, 10, 1, 1, 13, 5, 13]);
    }
}
