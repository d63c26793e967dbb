//! The endpoints of an odd device: packets to send, and what becomes of those that come.
//!
//! One job: cut messages into packets and fill transfers with them, as a host controller does. It refuses to know
//! alternate settings and halts.
//!
//! ```text
//!  messages ──▶ packets ──▶ partial ── a short packet, or full ──▶ the transfer is done
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use usbip_wire::status;

use super::table::EndpointRules;
use crate::function::{InStep, OutStep, Payload};

/// The IN side of one endpoint.
pub(super) struct Sender {
    rules: &'static EndpointRules,
    packet: usize,
    /// Packets to be sent next.
    packets: VecDeque<Vec<u8>>,
    /// The message after those of `packets`.
    next: usize,
    /// What a transfer has got so far that waits for more.
    partial: Vec<u8>,
    due: Option<Instant>,
}

impl Sender {
    /// An endpoint with packets of `packet` bytes.
    pub(super) fn new(rules: &'static EndpointRules, packet: usize) -> Self {
        Self { rules, packet, packets: VecDeque::new(), next: 0, partial: Vec::new(), due: None }
    }

    /// When the next message may go, if there is one.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due.filter(|_| self.packets.is_empty())
    }

    /// Queues a message that came from elsewhere.
    pub(super) fn push(&mut self, message: &[u8]) {
        if self.packet == 0 {
            return;
        }
        self.packets.extend(message.chunks(self.packet).map(<[u8]>::to_vec));
        if message.is_empty() || self.rules.zlp && message.len().is_multiple_of(self.packet) {
            self.packets.push_back(Vec::new());
        }
    }

    /// See [`crate::function::Function::read`].
    pub(super) fn read(&mut self, max: usize, now: Instant) -> InStep {
        if let Some(status) = self.rules.fails {
            return InStep::Failed(status);
        }
        loop {
            if self.packets.is_empty() {
                self.refill(now);
            }
            let Some(packet) = self.packets.pop_front() else { return InStep::Nak };
            if self.partial.len() + packet.len() > max {
                self.partial.clear();
                return InStep::Failed(status::EOVERFLOW);
            }
            self.partial.extend(&packet);
            if packet.len() < self.packet || self.partial.len() == max {
                return InStep::Done(Payload::Bytes(std::mem::take(&mut self.partial)));
            }
        }
    }

    /// One isochronous packet.
    pub(super) fn iso(&mut self, buffer: &mut Vec<u8>) {
        if let Some(message) = self.message() {
            buffer.extend(message);
        }
    }

    fn refill(&mut self, now: Instant) {
        if self.due.is_some_and(|due| now < due) {
            return;
        }
        if let Some(message) = self.message() {
            self.push(message);
            self.due = (self.rules.every > 0).then(|| now + Duration::from_millis(self.rules.every));
        }
    }

    /// The next message of the table.
    fn message(&mut self) -> Option<&'static [u8]> {
        let sends = &self.rules.sends;
        if self.rules.again && self.next == sends.len() {
            self.next = 0;
        }
        let message = sends.get(self.next)?;
        self.next += 1;
        Some(&message.0)
    }
}

/// What an OUT endpoint does with a transfer; `echo` is told of each message.
pub(super) fn take(rules: &EndpointRules, data: &[u8], zlp: bool, mut echo: impl FnMut(u8, &[u8])) -> OutStep {
    if rules.fails.is_some() {
        return OutStep::Halt(0);
    }
    if let Some(address) = rules.echo {
        echo(address, data);
        if zlp && !data.is_empty() {
            echo(address, &[]);
        }
    }
    OutStep::Done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::odd::hex::Hex;

    fn sender(sends: &[&[u8]], zlp: bool) -> Sender {
        let sends = sends.iter().map(|bytes| Hex(bytes.to_vec())).collect();
        let rules = EndpointRules { address: 0x81, sends, again: false, every: 0, zlp, echo: None, fails: None };
        Sender::new(Box::leak(Box::new(rules)), 8)
    }

    fn done(bytes: &[u8]) -> InStep {
        InStep::Done(Payload::Bytes(bytes.to_vec()))
    }

    #[test]
    fn a_message_of_whole_packets_ends_a_transfer_only_with_a_zlp() {
        let now = Instant::now();
        let mut closed = sender(&[b"01234567", b"x"], true);
        assert_eq!([closed.read(64, now), closed.read(64, now)], [done(b"01234567"), done(b"x")]);
        let mut open = sender(&[b"01234567", b"x"], false);
        assert_eq!(open.read(64, now), done(b"01234567x"));
        let mut alone = sender(&[b"01234567"], false);
        assert_eq!(alone.read(64, now), InStep::Nak);
        alone.push(b"x");
        assert_eq!(alone.read(64, now), done(b"01234567x"), "what had come is not lost");
    }

    #[test]
    fn a_packet_that_does_not_fit_is_babble() {
        assert_eq!(sender(&[b"0123"], false).read(3, Instant::now()), InStep::Failed(status::EOVERFLOW));
    }
}
