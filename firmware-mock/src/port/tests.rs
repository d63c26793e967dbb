//! Whatever a client does, every transfer is answered once and in order.

use std::collections::{HashMap, HashSet};
use std::io::IoSlice;

use proptest::prelude::*;
use usbip_wire::{HEADER_LEN, Header};

use super::*;
use crate::board::{Board, Program};
use crate::direct::{Direct, Regs, Tone, Zero};
use crate::fault::Fault;

#[derive(Debug, Clone)]
enum Event {
    Submit { into: bool, endpoint: u8, length: u32, packets: u32 },
    Control([u8; 8]),
    Unlink(usize),
    Wait(u64),
    Fault(Fault),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let endpoint = 1u8..5;
    let fault = prop_oneof![
        Just(Fault::Stall(0x82)),
        Just(Fault::Stall(0x00)),
        (0u64..4).prop_map(|ms| Fault::Delay(0x82, Duration::from_millis(ms))),
        (0u64..4).prop_map(|ms| Fault::Delay(0x01, Duration::from_millis(ms))),
        (0u64..4).prop_map(|ms| Fault::Delay(0x00, Duration::from_millis(ms))),
        (0u32..9).prop_map(|bytes| Fault::Short(0x82, bytes)),
        (0u32..9).prop_map(|bytes| Fault::Short(0x83, bytes)),
    ];
    let requests = prop_oneof![
        Just([0x80, 6, 0, 2, 0, 0, 255, 0]),
        Just([0x02, 1, 0, 0, 0x82, 0, 0, 0]),
        Just([0x01, 11, 1, 0, 1, 0, 0, 0]),
        Just([0x01, 11, 0, 0, 1, 0, 0, 0]),
        Just([0x40, 4, 3, 0, 0, 0, 0, 0]),
        Just([0x21, 0x22, 1, 0, 0, 0, 0, 0]),
        Just([0x23, 3, 4, 0, 1, 0, 0, 0]),
        any::<[u8; 6]>().prop_map(|b| [b[0] | 0x80, b[1], b[2], b[3], b[4], b[5], 9, 0]),
    ];
    let event = prop_oneof![
        6 => (any::<bool>(), endpoint.clone(), 0u32..2000)
            .prop_map(|(into, endpoint, length)| Event::Submit { into, endpoint, length, packets: 0 }),
        2 => (any::<bool>(), 1u32..6)
            .prop_map(|(into, packets)| Event::Submit { into, endpoint: 3, length: packets * 192, packets }),
        3 => requests.prop_map(Event::Control),
        3 => (0usize..60).prop_map(Event::Unlink),
        3 => (0u64..40).prop_map(Event::Wait),
        1 => fault.prop_map(Event::Fault),
    ];
    prop::collection::vec(event, 0..60)
}

fn device(kind: usize, now: Instant) -> Box<dyn Function> {
    match kind {
        0 => Box::new(Direct::<Zero>::new()),
        1 => Box::new(Direct::<Tone>::new()),
        2 => Box::new(Direct::<Regs>::new()),
        3 => Box::new(Board::new(Program::Echo, None, now)),
        4 => Box::new(Board::new(Program::Knob, None, now)),
        _ => Box::new(Board::new(Program::Uno, None, now)),
    }
}

/// A client that knows what it has asked for.
struct Client {
    port: Port,
    out: Outbox,
    now: Instant,
    control_in: HashSet<u32>,
    /// Where each transfer went, in the order of their sequence numbers from 1.
    submitted: Vec<usize>,
    unlinks: HashMap<u32, u32>,
    answered: HashSet<u32>,
    last: [u32; 32],
}

impl Client {
    fn of(kind: usize) -> Self {
        let now = Instant::now();
        Self {
            port: Port::new(device(kind, now), now),
            out: Outbox::default(),
            now,
            control_in: HashSet::new(),
            submitted: Vec::new(),
            unlinks: HashMap::new(),
            answered: HashSet::new(),
            last: [0; 32],
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Submit { into, endpoint, length, packets } => {
                let direction = if into { Direction::In } else { Direction::Out };
                self.submit(direction, endpoint, length, packets, [0; 8]);
            }
            Event::Control(setup) => {
                let direction = if setup[0] & 0x80 == 0 { Direction::Out } else { Direction::In };
                self.submit(direction, 0, setup[6].into(), 0, setup);
            }
            Event::Unlink(at) => {
                let victim = at as u32 + 1;
                let seqnum = 1_000_000 + self.unlinks.len() as u32;
                self.unlinks.insert(seqnum, victim);
                self.port.unlink(seqnum, victim, self.now, &mut self.out);
            }
            Event::Wait(ms) => self.now += Duration::from_millis(ms),
            // A fault for an endpoint that this device lacks is an error, which is fine here.
            Event::Fault(fault) => drop(self.port.apply(fault, self.now, Some(&mut self.out))),
        }
        self.port.service(self.now, &mut self.out);
        self.read_replies();
    }

    fn submit(&mut self, direction: Direction, endpoint: u8, length: u32, packets: u32, setup: [u8; 8]) {
        self.submitted.push(index(direction, endpoint));
        if (direction, endpoint) == (Direction::In, 0) {
            self.control_in.insert(self.submitted.len() as u32);
        }
        let submit = Submit {
            seqnum: self.submitted.len() as u32,
            devid: 0,
            direction,
            endpoint,
            flags: 0,
            length,
            start_frame: 0,
            packets: (packets > 0).then_some(packets),
            interval: 0,
            setup,
        };
        let descriptors: Vec<u8> = (0..packets)
            .flat_map(|i| IsoPacket { offset: i * 192, length: 192, ..IsoPacket::default() }.encode())
            .collect();
        let data = vec![b'\n'; if direction == Direction::Out { length as usize } else { 0 }];
        self.port.submit(&submit, &data, &descriptors, self.now, &mut self.out).expect("little is queued");
    }

    fn read_replies(&mut self) {
        let mut bytes = Vec::new();
        while self.out.backlog() > 0 {
            let mut slices = [IoSlice::new(&[]); 8];
            let filled = self.out.slices(&mut slices);
            let before = bytes.len();
            slices[..filled].iter().for_each(|slice| bytes.extend_from_slice(slice));
            self.out.written(bytes.len() - before);
        }
        let mut rest = &bytes[..];
        while let Some((header, after)) = rest.split_first_chunk::<HEADER_LEN>() {
            rest = after;
            match Header::decode(header).expect("a reply") {
                Header::RetSubmit(reply) => {
                    let index = self.submitted[reply.seqnum as usize - 1];
                    assert!(self.answered.insert(reply.seqnum), "answered twice");
                    assert!(self.last[index] < reply.seqnum, "out of order on {index}");
                    self.last[index] = reply.seqnum;
                    let data =
                        if index >= 16 || self.control_in.contains(&reply.seqnum) { reply.actual_length } else { 0 };
                    rest = &rest[data as usize + reply.packets.unwrap_or(0) as usize * ISO_PACKET_LEN..];
                }
                Header::RetUnlink { seqnum, status } => {
                    let victim = self.unlinks[&seqnum];
                    if status != status::OK {
                        assert!(self.answered.insert(victim), "cancelled after its reply");
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(rest.is_empty());
    }
}

#[test]
fn who_was_listening_is_greeted_even_when_the_machine_is_late() {
    let uno = 5;
    let mut client = Client::of(uno);
    client.happen(Event::Submit { into: true, endpoint: 2, length: 64, packets: 0 });
    assert!(client.answered.is_empty());
    // The greeting is on offer from 100 to 150 ms after power-up, and nobody looked in between.
    client.happen(Event::Wait(400));
    assert_eq!(client.answered.len(), 1);
}

#[test]
fn who_begins_to_listen_too_late_is_not_greeted() {
    let uno = 5;
    let mut client = Client::of(uno);
    client.happen(Event::Wait(400));
    client.happen(Event::Submit { into: true, endpoint: 2, length: 64, packets: 0 });
    assert!(client.answered.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_transfer_is_answered_once_and_in_order(kind in 0usize..6, events in events()) {
        let mut client = Client::of(kind);
        for event in events {
            client.happen(event);
        }
        for at in 0..client.submitted.len() {
            client.happen(Event::Unlink(at));
        }
        prop_assert_eq!(client.answered.len(), client.submitted.len());
        prop_assert_eq!((client.port.waiting, client.port.waiting_bytes, client.port.pending), (0, 0, 0));
    }
}
