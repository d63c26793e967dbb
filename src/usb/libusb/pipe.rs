//! Hot path. The pipe of one endpoint: transfers fly with libusb and come out in the order they went in.
//!
//! It has no opinion on errors: a transfer that failed comes out like any other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::flight::{Canceller, Flying, Idle, Route, end_now};
use super::link::Link;
use crate::usb::local::lost_by;
use crate::usb::{Pipe, Transfer, TransferError};

/// Takes over the transfers of pipes that were dropped. When all of these are gone, nobody uses the device any more.
pub(super) type Orphanage = mpsc::UnboundedSender<Vec<Flying>>;

/// One endpoint.
pub(super) struct LibusbPipe {
    route: Route,
    idle: Vec<Idle>,
    submitted: VecDeque<Place>,
    waker: Arc<AtomicWaker>,
    /// Cancellations that are still being asked for on helper threads. Until they are through nothing comes out, so
    /// that none hits a transfer that was submitted anew.
    cancellations: Arc<AtomicUsize>,
    link: Arc<Link>,
    orphanage: Orphanage,
}

/// A place in the queue.
enum Place {
    Flying(Flying),
    /// libusb did not take it.
    Refused(Transfer),
}

impl LibusbPipe {
    pub(super) fn new(route: Route, link: Arc<Link>, orphanage: Orphanage) -> Self {
        Self {
            route,
            idle: Vec::new(),
            submitted: VecDeque::new(),
            waker: Arc::default(),
            cancellations: Arc::default(),
            link,
            orphanage,
        }
    }

    /// An idle one with room for these packets. What is too small is freed: sizes change once in a pipe's life.
    fn idle(&mut self, packets: usize) -> Result<Idle, TransferError> {
        while let Some(idle) = self.idle.pop() {
            if idle.packets() >= packets {
                return Ok(idle);
            }
        }
        Idle::new(packets, self.waker.clone(), self.link.clone())
    }

    fn refuse(&mut self, transfer: Transfer) {
        self.notice(&transfer);
        self.submitted.push_back(Place::Refused(transfer));
        self.waker.wake();
    }

    /// A device that is of no more use shows itself in whatever fails first.
    fn notice(&self, transfer: &Transfer) {
        if let Some(reason) = transfer.status.err().and_then(lost_by) {
            self.link.tell_gone(reason);
        }
    }

    fn front_has_ended(&self) -> bool {
        match self.submitted.front() {
            None => false,
            Some(Place::Refused(_)) => true,
            Some(Place::Flying(_)) if self.link.is_without_events() => true,
            Some(Place::Flying(flying)) => flying.has_ended() && self.cancellations.load(Ordering::Acquire) == 0,
        }
    }
}

impl Pipe for LibusbPipe {
    fn submit(&mut self, transfer: Transfer) {
        let idle = match self.idle(transfer.packets.len()) {
            Ok(idle) => idle,
            Err(e) => return self.refuse(transfer.fail(e)),
        };
        match idle.submit(self.route, transfer) {
            Ok(flying) => self.submitted.push_back(Place::Flying(flying)),
            Err((idle, transfer)) => {
                self.idle.push(idle);
                self.refuse(transfer);
            }
        }
    }

    fn poll_complete(&mut self, cx: &mut Context<'_>) -> Poll<Transfer> {
        if !self.front_has_ended() {
            self.waker.register(cx.waker());
            if !self.front_has_ended() {
                return Poll::Pending;
            }
        }
        match self.submitted.pop_front() {
            None => Poll::Pending,
            Some(Place::Refused(transfer)) => Poll::Ready(transfer),
            Some(Place::Flying(flying)) if !flying.has_ended() => Poll::Ready(flying.abandon()),
            Some(Place::Flying(flying)) => {
                let (idle, transfer) = flying.finish();
                self.idle.push(idle);
                self.notice(&transfer);
                Poll::Ready(transfer)
            }
        }
    }

    fn in_flight(&self) -> usize {
        self.submitted.len()
    }

    fn cancel_all(&mut self) {
        let flying = self.submitted.iter().filter_map(|place| match place {
            Place::Flying(flying) if !flying.has_ended() => Some(flying.canceller()),
            _ => None,
        });
        let flying: Vec<Canceller> = flying.collect();
        if flying.is_empty() {
            return;
        }
        self.cancellations.fetch_add(1, Ordering::Relaxed);
        let order = CancelOrder { flying, running: self.cancellations.clone(), waker: self.waker.clone() };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(order))),
            Err(_) => drop(order),
        }
    }
}

impl Drop for LibusbPipe {
    fn drop(&mut self) {
        self.cancel_all();
        let flying = self.submitted.drain(..).filter_map(|place| match place {
            Place::Flying(flying) => Some(flying),
            Place::Refused(_) => None,
        });
        let flying: Vec<Flying> = flying.collect();
        if flying.is_empty() {
            return;
        }
        if let Err(mpsc::error::SendError(flying)) = self.orphanage.send(flying) {
            end_now(&self.link, flying);
        }
    }
}

/// Cancels when it is dropped, so that it does so even if its helper thread never starts. The kernel waits for the host
/// controller with each transfer, hence the thread. The newest goes first: otherwise each would start as the one before
/// it goes, and bytes of OUT transfers would leave with a gap.
struct CancelOrder {
    flying: Vec<Canceller>,
    running: Arc<AtomicUsize>,
    waker: Arc<AtomicWaker>,
}

impl Drop for CancelOrder {
    fn drop(&mut self) {
        self.flying.drain(..).rev().for_each(|canceller| canceller.cancel());
        self.running.fetch_sub(1, Ordering::Release);
        self.waker.wake();
    }
}
