//! `zero`: bulk source, sink and loopback, after Linux's gadget zero.
//!
//! One job: the bytes of three bulk pipes. It refuses to hold more than [`LOOPBACK_LIMIT`] of loopback data:
//! then OUT waits until IN has taken some.

use std::collections::VecDeque;

use usbip_wire::Speed;

use super::{
    Behaviour,
    descriptor::Description,
    pattern::{self, PACKET},
};
use crate::function::{InStep, OutStep, Payload};

/// State of the loopback; source and sink have none.
#[derive(Default)]
pub(crate) struct Zero {
    messages: VecDeque<Message>,
    queued: usize,
}

/// One OUT transfer, and how much of it has gone back.
struct Message {
    bytes: Vec<u8>,
    sent: usize,
}

impl Behaviour for Zero {
    const SPEED: Speed = Speed::High;

    fn description() -> Description {
        const MAX: u16 = PACKET as u16;
        let endpoints = [(SOURCE, 2, MAX, 0), (SINK, 2, MAX, 0), (LOOP_IN, 2, MAX, 0), (LOOP_OUT, 2, MAX, 0)];
        Description::new(0x0525, 0xa4a0, "zero").interface(0, 0, &endpoints)
    }

    fn out(&mut self, endpoint: u8, data: &[u8]) -> OutStep {
        match endpoint {
            SINK => match pattern::matching(data) {
                all if all == data.len() => OutStep::Done,
                good => OutStep::Halt(good),
            },
            _ => self.store(data),
        }
    }

    fn read(&mut self, endpoint: u8, max: usize) -> InStep {
        match endpoint {
            SOURCE => InStep::Done(Payload::Pattern(max)),
            _ => self.fetch(max),
        }
    }
}

impl Zero {
    /// Each OUT transfer is one message, also an empty one.
    fn store(&mut self, data: &[u8]) -> OutStep {
        let cost = data.len() + MESSAGE_COST;
        if self.queued > 0 && self.queued + cost > LOOPBACK_LIMIT {
            return OutStep::Nak(0);
        }
        self.queued += cost;
        self.messages.push_back(Message { bytes: data.to_vec(), sent: 0 });
        OutStep::Done
    }

    /// What does not fit the IN transfer goes into the next one.
    fn fetch(&mut self, max: usize) -> InStep {
        let Some(message) = self.messages.front_mut() else { return InStep::Nak };
        let left = message.bytes.len() - message.sent;
        if left > max {
            let part = message.bytes[message.sent..message.sent + max].to_vec();
            message.sent += max;
            self.queued -= max;
            return InStep::Done(Payload::Bytes(part));
        }
        let mut part = std::mem::take(&mut message.bytes);
        part.drain(..message.sent);
        self.messages.pop_front();
        self.queued -= left + MESSAGE_COST;
        InStep::Done(Payload::Bytes(part))
    }
}

const SOURCE: u8 = 0x81;
const SINK: u8 = 0x01;
const LOOP_IN: u8 = 0x82;
const LOOP_OUT: u8 = 0x02;
/// Bytes of loopback held, bookkeeping included.
const LOOPBACK_LIMIT: usize = 1 << 20;
/// What a message costs beside its bytes, so that empty ones are bounded too.
const MESSAGE_COST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(step: InStep) -> Option<Vec<u8>> {
        match step {
            InStep::Done(Payload::Bytes(bytes)) => Some(bytes),
            _ => None,
        }
    }

    #[test]
    fn a_long_message_is_spread_over_short_reads_and_an_empty_one_stays_empty() {
        let mut zero = Zero::default();
        zero.out(LOOP_OUT, b"hello");
        zero.out(LOOP_OUT, b"");
        zero.out(LOOP_OUT, b"abc");
        assert_eq!(bytes(zero.read(LOOP_IN, 3)).as_deref(), Some(&b"hel"[..]));
        assert_eq!(bytes(zero.read(LOOP_IN, 3)).as_deref(), Some(&b"lo"[..]));
        assert_eq!(bytes(zero.read(LOOP_IN, 3)).as_deref(), Some(&b""[..]));
        assert_eq!(bytes(zero.read(LOOP_IN, 3)).as_deref(), Some(&b"abc"[..]));
        assert_eq!((zero.read(LOOP_IN, 3), zero.queued), (InStep::Nak, 0));
    }

    #[test]
    fn a_full_loopback_says_nak_until_something_is_read() {
        let mut zero = Zero::default();
        let block = vec![7; 600_000];
        assert_eq!(zero.out(LOOP_OUT, &block), OutStep::Done);
        assert_eq!(zero.out(LOOP_OUT, &block), OutStep::Nak(0));
        zero.read(LOOP_IN, 600_000);
        assert_eq!(zero.out(LOOP_OUT, &block), OutStep::Done);
    }

    #[test]
    fn a_message_above_the_limit_passes_when_it_is_alone() {
        let mut zero = Zero::default();
        assert_eq!(zero.out(LOOP_OUT, &vec![1; 3 << 20]), OutStep::Done);
        assert_eq!(zero.out(LOOP_OUT, b"x"), OutStep::Nak(0));
    }

    #[test]
    fn the_sink_halts_at_the_first_wrong_byte() {
        let mut zero = Zero::default();
        assert_eq!(zero.out(SINK, &[0, 1, 2]), OutStep::Done);
        assert_eq!(zero.out(SINK, &[0, 1, 9, 3]), OutStep::Halt(2));
    }
}
