//! Hot path. Holds back what is to be sent to a board that would not hear it, in reset or still booting.
//!
//! It knows no reason and no time: whoever has one holds the gate shut. What was handed to the driver before is on its
//! way and stays so.

use std::collections::VecDeque;
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

use crate::usb::{Pipe, Transfer, TransferError};

/// The gate before the OUT endpoint of one serial function.
#[derive(Default)]
pub struct Gate {
    holds: AtomicUsize,
    /// Transfers that have passed and have not come out of the pipe.
    in_flight: AtomicUsize,
    sent: Notify,
    /// Of the one pipe that waits.
    waker: AtomicWaker,
    /// Asked before each transfer: may find a reason to hold the gate shut.
    sentinel: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// Keeps a gate shut for as long as it lives.
#[derive(Debug)]
pub struct Hold(Arc<Gate>);

impl Gate {
    /// Shuts the gate until the result is dropped; others may hold it longer.
    pub fn hold(self: &Arc<Self>) -> Hold {
        self.holds.fetch_add(1, Ordering::SeqCst);
        Hold(self.clone())
    }

    /// This pipe, behind the gate.
    pub fn guard(self: &Arc<Self>, pipe: Box<dyn Pipe>) -> Box<dyn Pipe> {
        Box::new(GatedPipe { pipe, gate: self.clone(), held: VecDeque::new(), cancelled: 0 })
    }

    /// Waits until all that has passed is sent.
    pub async fn all_sent(&self) {
        loop {
            let mut sent = pin!(self.sent.notified());
            sent.as_mut().enable();
            if self.in_flight.load(Ordering::SeqCst) == 0 {
                return;
            }
            sent.await;
        }
    }

    fn set_in_flight(&self, transfers: usize) {
        if self.in_flight.swap(transfers, Ordering::SeqCst) != 0 && transfers == 0 {
            self.sent.notify_waiters();
        }
    }

    /// Asks this before each transfer, which may then [`Gate::hold`] the gate; only the first that is given counts.
    pub fn ask_before_sending(&self, sentinel: Box<dyn Fn() + Send + Sync>) {
        let _ = self.sentinel.set(sentinel);
    }

    fn is_open(&self) -> bool {
        self.holds.load(Ordering::SeqCst) == 0
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("holds", &self.holds).finish_non_exhaustive()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.0.holds.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.waker.wake();
        }
    }
}

/// An OUT pipe that submits nothing while its gate is shut.
struct GatedPipe {
    pipe: Box<dyn Pipe>,
    gate: Arc<Gate>,
    /// Submitted while the gate was shut, oldest first.
    held: VecDeque<Transfer>,
    /// How many of the oldest of those were cancelled.
    cancelled: usize,
}

impl GatedPipe {
    fn let_through(&mut self) {
        while self.cancelled == 0
            && let Some(transfer) = self.held.pop_front()
        {
            self.pipe.submit(transfer);
        }
        self.gate.set_in_flight(self.pipe.in_flight());
    }
}

impl Drop for GatedPipe {
    fn drop(&mut self) {
        self.gate.set_in_flight(0);
    }
}

impl Pipe for GatedPipe {
    fn submit(&mut self, transfer: Transfer) {
        if let Some(sentinel) = self.gate.sentinel.get() {
            sentinel();
        }
        if self.held.is_empty() && self.gate.is_open() {
            self.pipe.submit(transfer);
            self.gate.set_in_flight(self.pipe.in_flight());
        } else {
            self.held.push_back(transfer);
        }
    }

    /// What was submitted first comes out first, so what is held comes out when nothing else is in flight.
    fn poll_complete(&mut self, cx: &mut Context<'_>) -> Poll<Transfer> {
        if !self.held.is_empty() {
            self.gate.waker.register(cx.waker());
            if self.gate.is_open() {
                self.let_through();
            }
        }
        if self.cancelled > 0
            && self.pipe.in_flight() == 0
            && let Some(transfer) = self.held.pop_front()
        {
            self.cancelled -= 1;
            return Poll::Ready(transfer.fail(TransferError::Cancelled));
        }
        let transfer = ready!(self.pipe.poll_complete(cx));
        self.gate.set_in_flight(self.pipe.in_flight());
        Poll::Ready(transfer)
    }

    fn allocate(&self, size: usize) -> Transfer {
        self.pipe.allocate(size)
    }

    fn moves_when_polled(&self) -> bool {
        self.pipe.moves_when_polled()
    }

    fn in_flight(&self) -> usize {
        self.held.len() + self.pipe.in_flight()
    }

    fn cancel_all(&mut self) {
        self.cancelled = self.held.len();
        self.pipe.cancel_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicBool;
    use std::task::{Wake, Waker};

    use futures_util::FutureExt;

    use super::*;

    /// Ends each transfer at the next question and keeps its bytes.
    #[derive(Default)]
    struct Sent {
        waiting: VecDeque<Transfer>,
        bytes: Arc<Mutex<Vec<u8>>>,
    }

    impl Pipe for Sent {
        fn submit(&mut self, mut transfer: Transfer) {
            self.bytes.lock().unwrap().extend(&transfer.buffer[..transfer.length]);
            transfer.actual = transfer.length;
            self.waiting.push_back(transfer);
        }

        fn poll_complete(&mut self, _cx: &mut Context<'_>) -> Poll<Transfer> {
            self.waiting.pop_front().map_or(Poll::Pending, Poll::Ready)
        }

        fn in_flight(&self) -> usize {
            self.waiting.len()
        }

        fn cancel_all(&mut self) {}
    }

    #[derive(Default)]
    struct Flag(AtomicBool);

    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    fn one(byte: u8) -> Transfer {
        let mut transfer = Transfer::new(1);
        (transfer.buffer[0], transfer.length) = (byte, 1);
        transfer
    }

    #[test]
    fn what_comes_while_it_is_shut_goes_out_in_order_once_the_last_hold_is_gone() {
        let (gate, bytes) = (Arc::<Gate>::default(), Arc::<Mutex<Vec<u8>>>::default());
        let mut pipe = gate.guard(Box::new(Sent { bytes: bytes.clone(), ..Sent::default() }));
        let flag = Arc::<Flag>::default();
        let waker = Waker::from(flag.clone());
        let mut cx = Context::from_waker(&waker);
        pipe.submit(one(1));
        let holds = [gate.hold(), gate.hold()];
        pipe.submit(one(2));
        assert_eq!(pipe.poll_complete(&mut cx).map(|t| t.buffer[0]), Poll::Ready(1));
        assert!(pipe.poll_complete(&mut cx).is_pending());
        assert!(gate.all_sent().now_or_never().is_some(), "what is held has not passed");
        let [first, second] = holds;
        drop(first);
        assert!(!flag.0.load(Ordering::SeqCst) && pipe.poll_complete(&mut cx).is_pending());
        drop(second);
        assert!(flag.0.load(Ordering::SeqCst), "whoever waits is woken");
        // Nothing overtakes what was held.
        pipe.submit(one(3));
        assert_eq!(pipe.in_flight(), 2);
        for n in [2, 3] {
            assert_eq!(pipe.poll_complete(&mut cx).map(|t| t.buffer[0]), Poll::Ready(n));
            assert_eq!(gate.all_sent().now_or_never().is_some(), n == 3);
        }
        assert_eq!(*bytes.lock().unwrap(), [1, 2, 3]);
    }

    #[test]
    fn who_is_asked_before_each_transfer_may_shut_it_for_that_one_already() {
        let (gate, bytes) = (Arc::<Gate>::default(), Arc::<Mutex<Vec<u8>>>::default());
        let mut pipe = gate.guard(Box::new(Sent { bytes: bytes.clone(), ..Sent::default() }));
        let holds = Arc::<Mutex<Vec<Hold>>>::default();
        let (weak, kept) = (Arc::downgrade(&gate), holds.clone());
        gate.ask_before_sending(Box::new(move || kept.lock().unwrap().extend(weak.upgrade().map(|gate| gate.hold()))));
        pipe.submit(one(1));
        assert!(bytes.lock().unwrap().is_empty());
        holds.lock().unwrap().clear();
        assert!(pipe.poll_complete(&mut Context::from_waker(Waker::noop())).is_ready());
        assert_eq!(*bytes.lock().unwrap(), [1]);
    }

    #[test]
    fn what_is_held_can_be_cancelled_and_has_sent_nothing() {
        let (gate, bytes) = (Arc::<Gate>::default(), Arc::<Mutex<Vec<u8>>>::default());
        let mut pipe = gate.guard(Box::new(Sent { bytes: bytes.clone(), ..Sent::default() }));
        let mut cx = Context::from_waker(Waker::noop());
        let _hold = gate.hold();
        pipe.submit(one(1));
        pipe.cancel_all();
        let Poll::Ready(transfer) = pipe.poll_complete(&mut cx) else { panic!("it stays") };
        assert_eq!((transfer.status, transfer.actual), (Err(TransferError::Cancelled), 0));
        assert_eq!(pipe.in_flight(), 0);
        assert!(bytes.lock().unwrap().is_empty());
    }
}
