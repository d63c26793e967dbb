//! Readers under any course of events: records, room, programs that come and go.

use std::collections::VecDeque;
use std::future::{Future, pending, poll_fn};
use std::io::{self, IoSlice};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use proptest::prelude::*;
use tokio::sync::mpsc::unbounded_channel;

use super::super::{BulkIn, Framing, Sizes, Verdict};
use super::*;
use crate::usb::{Pipe, Transfer, TransferError};

/// A program's end: takes so many bytes more.
#[derive(Default)]
struct Program {
    bytes: Vec<u8>,
    room: usize,
    open: bool,
}

#[derive(Clone, Default)]
struct End(Arc<Mutex<Program>>);

impl Sink for End {
    fn poll_write(&mut self, _cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut program = self.0.lock().unwrap();
        if !program.open {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let all: Vec<u8> = slices.iter().flat_map(|s| s.to_vec()).collect();
        let n = all.len().min(program.room);
        if n == 0 {
            return Poll::Pending;
        }
        program.room -= n;
        program.bytes.extend_from_slice(&all[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_closed(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        if self.0.lock().unwrap().open { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl StandingSink for End {
    fn is_open(&self) -> bool {
        self.0.lock().unwrap().open
    }

    fn poll_came(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        if self.is_open() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn discard(&mut self) -> usize {
        0
    }

    fn take_back(&mut self) -> Vec<u8> {
        Vec::new()
    }

    fn rest(&mut self) {}
}

struct Nobody;

impl Guest for Nobody {
    fn failed(&mut self, why: &io::Error) {
        panic!("an end failed: {why}");
    }
}

/// What the device has to send, and how much of it has gone.
#[derive(Default)]
struct Bus {
    messages: VecDeque<Vec<u8>>,
    sent: usize,
    queued: VecDeque<Transfer>,
    most_queued: usize,
    cancelled: bool,
    /// Whether it moves bytes when it is polled.
    is_lazy: bool,
}

#[derive(Clone, Default)]
struct Wire(Arc<Mutex<Bus>>);

impl Pipe for Wire {
    fn submit(&mut self, transfer: Transfer) {
        let mut bus = self.0.lock().unwrap();
        bus.cancelled = false;
        bus.queued.push_back(transfer);
        bus.most_queued = bus.most_queued.max(bus.queued.len());
    }

    fn poll_complete(&mut self, _cx: &mut Context<'_>) -> Poll<Transfer> {
        let mut bus = self.0.lock().unwrap();
        if bus.cancelled {
            let cancelled = bus.queued.pop_front().map(|transfer| transfer.fail(TransferError::Cancelled));
            return cancelled.map_or(Poll::Pending, Poll::Ready);
        }
        if bus.queued.is_empty() || bus.messages.is_empty() {
            return Poll::Pending;
        }
        let (mut transfer, message) = (bus.queued.pop_front().unwrap(), bus.messages.pop_front().unwrap());
        bus.sent += 1;
        transfer.buffer[..message.len()].copy_from_slice(&message);
        transfer.actual = message.len();
        transfer.status = Ok(());
        Poll::Ready(transfer)
    }

    fn moves_when_polled(&self) -> bool {
        self.0.lock().unwrap().is_lazy
    }

    fn in_flight(&self) -> usize {
        self.0.lock().unwrap().queued.len()
    }

    fn cancel_all(&mut self) {
        self.0.lock().unwrap().cancelled = true;
    }
}

#[derive(Debug, Clone)]
enum Event {
    /// The device has a message of this length.
    Message(usize),
    /// A reader takes so many bytes; 0 is the FIFO's.
    Room(usize, usize),
    /// A client connects.
    Come,
    /// A reader closes its end; 0 is the FIFO's.
    Go(usize),
    /// A program opens the FIFO.
    Open,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0usize..40).prop_map(Event::Message),
        6 => (0usize..5, 1usize..120).prop_map(|(who, room)| Event::Room(who, room)),
        1 => Just(Event::Come),
        1 => (0usize..5).prop_map(Event::Go),
        1 => Just(Event::Open),
    ]
}

/// A client, since which message it is there, and what it lost.
struct Seat {
    end: End,
    since: usize,
    account: Arc<Account>,
}

/// What came of a course of events. Those who are there at the end have got everything.
struct Outcome {
    messages: Vec<Vec<u8>>,
    fifo: Vec<u8>,
    seats: Vec<Seat>,
    lost_bytes: u64,
    discarded_bytes: u64,
    most_queued: usize,
}

const QUEUE: usize = 3;

/// Number and length of the message make up its bytes.
fn message(n: usize, length: usize) -> Vec<u8> {
    let mut message = (n as u32).to_le_bytes().to_vec();
    message.extend(std::iter::repeat_n(n as u8, length));
    message
}

fn play(events: &[Event], patience: Option<Duration>, is_lazy: bool) -> Outcome {
    play_line(events, patience, is_lazy, None)
}

/// With an `input`, of a serial line, whose bytes have no frames.
fn play_line(events: &[Event], patience: Option<Duration>, is_lazy: bool, input: Option<Arc<InputPolicy>>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (wire, fifo, counters) = (Wire::default(), End::default(), Arc::<Counters>::default());
        wire.0.lock().unwrap().is_lazy = is_lazy;
        let (door, arrivals) = unbounded_channel();
        let policy = ReadersPolicy { patience, forgets: false };
        let mut readers = Readers::new(Some(fifo.clone()), Arc::default(), arrivals, policy, counters.clone());
        let sizes = Sizes { transfer: 64, max_packet: 64, queue: QUEUE };
        let framing = if input.is_some() { Framing::Stream } else { Framing::Length };
        let mut pump = BulkIn::new(0x81, framing, sizes, &mut readers, counters.clone());
        if let Some(input) = &input {
            readers = readers.keeping_unread(input.clone());
            pump = pump.with_input(input.clone());
        }
        let mut pipe = wire.clone();
        let mut line = pin!(async move {
            loop {
                let mut stop = Box::pin(pending());
                while !readers.is_open() {
                    match readers.keep_unread() {
                        true => drop(pump.keep(&mut pipe, &mut readers, stop.as_mut()).await),
                        false => poll_fn(|cx| readers.poll_opened(cx)).await,
                    }
                }
                let verdict = pump.run(&mut pipe, &mut readers, stop.as_mut()).await;
                assert!(matches!(verdict, Verdict::Closed), "{verdict:?}");
            }
        });
        let mut turn = async || {
            for _ in 0..3 {
                let done = poll_fn(|cx| Poll::Ready(line.as_mut().poll(cx).is_ready())).await;
                let _: bool = done;
            }
        };
        let (mut messages, mut seats) = (Vec::new(), Vec::<Seat>::new());
        for event in events {
            match *event {
                Event::Message(length) => {
                    messages.push(message(messages.len(), length));
                    wire.0.lock().unwrap().messages.extend(messages.last().cloned());
                }
                Event::Room(0, room) => fifo.0.lock().unwrap().room += room,
                Event::Go(0) => fifo.0.lock().unwrap().open = false,
                Event::Open => fifo.0.lock().unwrap().open = true,
                Event::Room(who, room) => {
                    if let Some(seat) = seats.get(who - 1) {
                        seat.end.0.lock().unwrap().room += room;
                    }
                }
                Event::Go(who) => {
                    if let Some(seat) = seats.get(who - 1) {
                        seat.end.0.lock().unwrap().open = false;
                    }
                }
                Event::Come => {
                    let (end, account) = (End::default(), Arc::<Account>::default());
                    end.0.lock().unwrap().open = true;
                    let sink = Box::new(end.clone());
                    let _ = door.send(NewReader { sink, account: account.clone(), guest: Box::new(Nobody) });
                    seats.push(Seat { end, since: wire.0.lock().unwrap().sent, account });
                }
            }
            turn().await;
        }
        // In the end everybody who is there takes everything, and the FIFO's next reader what is left.
        fifo.0.lock().unwrap().open = true;
        fifo.0.lock().unwrap().room = usize::MAX / 2;
        seats.iter().for_each(|seat| seat.end.0.lock().unwrap().room = usize::MAX / 2);
        for _ in 0..=messages.len() {
            turn().await;
        }
        let fifo = fifo.0.lock().unwrap().bytes.clone();
        let bus = wire.0.lock().unwrap();
        assert_eq!(bus.sent, messages.len(), "the device got rid of everything");
        let snapshot = counters.snapshot();
        let (lost_bytes, discarded_bytes) = (snapshot.lost_bytes, snapshot.discarded_bytes);
        Outcome { messages, fifo, seats, lost_bytes, discarded_bytes, most_queued: bus.most_queued }
    })
}

/// The numbers of the records in these bytes, which are those messages; of one that was cut off nothing is left but its
/// beginning.
fn numbers(bytes: &[u8], messages: &[Vec<u8>]) -> Vec<usize> {
    let (mut rest, mut numbers) = (bytes, Vec::new());
    while rest.len() >= 8 {
        let length = u32::from_le_bytes(rest[..4].try_into().unwrap()) as usize;
        let number = u32::from_le_bytes(rest[4..8].try_into().unwrap()) as usize;
        assert_eq!(length, messages[number].len(), "the record is whole, and not another's");
        let body = &rest[4..rest.len().min(4 + length)];
        assert_eq!(body, &messages[number][..body.len()]);
        if body.len() < length {
            return numbers;
        }
        numbers.push(number);
        rest = &rest[4 + length..];
    }
    numbers
}

fn check_seats(outcome: &Outcome) {
    for seat in &outcome.seats {
        let program = seat.end.0.lock().unwrap();
        let numbers = numbers(&program.bytes, &outcome.messages);
        assert!(numbers.is_sorted_by(|a, b| a < b), "in order, once each: {numbers:?}");
        assert!(numbers.first().is_none_or(|&first| first >= seat.since), "{numbers:?} since {}", seat.since);
        if program.open {
            let lost = seat.account.tally().lost_transfers as usize;
            assert_eq!(numbers.len() + lost, outcome.messages.len() - seat.since, "{numbers:?}");
        }
    }
    assert!(outcome.most_queued <= QUEUE);
}

proptest! {
    #[test]
    fn with_endless_patience_each_reader_gets_every_record_from_its_coming_on(
        events in prop::collection::vec(event(), 0..60),
        is_lazy: bool,
    ) {
        let outcome = play(&events, None, is_lazy);
        check_seats(&outcome);
        prop_assert_eq!(outcome.lost_bytes, 0);
    }

    #[test]
    fn without_patience_each_reader_gets_whole_records_and_has_lost_the_others(
        events in prop::collection::vec(event(), 0..60),
        is_lazy: bool,
    ) {
        let outcome = play(&events, Some(Duration::ZERO), is_lazy);
        check_seats(&outcome);
        let fifo = numbers(&outcome.fifo, &outcome.messages);
        prop_assert!(fifo.is_sorted_by(|a, b| a < b), "{:?}", fifo);
    }

    #[test]
    fn programs_that_follow_each_other_at_a_fifo_get_every_record_once(
        events in prop::collection::vec(event(), 0..60),
        is_lazy: bool,
    ) {
        let alone: Vec<Event> = events.into_iter().filter(|event| !matches!(event, Event::Come)).collect();
        let outcome = play(&alone, Some(Duration::ZERO), is_lazy);
        let expected: Vec<usize> = (0..outcome.messages.len()).collect();
        prop_assert_eq!(numbers(&outcome.fifo, &outcome.messages), expected);
        prop_assert_eq!((outcome.lost_bytes, outcome.discarded_bytes), (0, 0));
    }
}

/// The bytes of these messages.
fn joined(messages: &[Vec<u8>]) -> Vec<u8> {
    messages.concat()
}

proptest! {
    #[test]
    fn programs_that_follow_each_other_at_a_serial_line_get_every_byte_once(
        events in prop::collection::vec(event(), 0..60),
        is_lazy: bool,
    ) {
        let alone: Vec<Event> = events.into_iter().filter(|event| !matches!(event, Event::Come)).collect();
        let outcome = play_line(&alone, None, is_lazy, Some(Arc::new(InputPolicy::new(None, None))));
        prop_assert_eq!(&outcome.fifo, &joined(&outcome.messages));
        prop_assert_eq!((outcome.lost_bytes, outcome.discarded_bytes), (0, 0));
        prop_assert!(outcome.most_queued <= QUEUE);
    }

    #[test]
    fn of_a_serial_line_that_keeps_nothing_each_program_gets_what_comes_while_it_is_there(
        events in prop::collection::vec(event(), 0..60),
        is_lazy: bool,
    ) {
        let outcome = play_line(&events, None, is_lazy, Some(Arc::new(InputPolicy::new(Some(Duration::ZERO), None))));
        for seat in &outcome.seats {
            let program = seat.end.0.lock().unwrap();
            let since = joined(&outcome.messages[seat.since..]);
            let expected = if program.open { &since } else { &since[..program.bytes.len().min(since.len())] };
            prop_assert_eq!(&program.bytes, expected);
        }
        prop_assert_eq!(outcome.lost_bytes, 0);
    }
}

/// What random courses find only in thousands of cases: a FIFO's readers who leave and come while clients do.
#[test]
fn courses_that_once_gave_a_record_twice_or_in_anothers_frame_go_well() {
    use Event::{Come, Go, Message, Open, Room};
    let courses: [&[Event]; 2] = [
        &[Open, Message(0), Go(0), Message(1), Message(0), Come, Message(0), Go(1), Come],
        &[Message(0), Open, Come, Come, Room(0, 9), Message(0), Go(1), Go(0), Go(2), Come],
    ];
    for course in courses {
        let outcome = play(course, Some(Duration::ZERO), false);
        check_seats(&outcome);
        let fifo = numbers(&outcome.fifo, &outcome.messages);
        assert!(fifo.is_sorted_by(|a, b| a < b), "{fifo:?} in {course:?}");
    }
}
