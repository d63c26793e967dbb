//! All ports of the mock, and who holds each.
//!
//! One job: lend a port to one connection at a time and bring commands to wherever the port is. It refuses to
//! share a port: it is moved to its connection and moved back, so the hot path takes no lock.
//!
//! ```text
//!  free (port here) ──lend──▶ lent (port with its connection; commands go there) ──Lease dropped──▶ free
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot};
use usbip_wire::{DeviceRecord, InterfaceRecord};

use super::latency::Latency;
use crate::fault::{Command, Fault};
use crate::port::{Absence, Port};

/// The ports, in the order of their bus ids.
pub(crate) struct Hub {
    slots: Vec<Arc<Slot>>,
    /// Of every connection.
    pub(super) latency: Latency,
}

/// One port's place.
pub(crate) struct Slot {
    name: String,
    busid: String,
    devnum: u32,
    state: Mutex<State>,
    freed: Notify,
}

enum State {
    Free(Box<Port>),
    Lent { orders: mpsc::Sender<Order>, record: Record },
}

type Record = (DeviceRecord, Vec<InterfaceRecord>);

/// A fault on its way to the connection that holds the port.
pub(crate) struct Order {
    pub(crate) fault: Fault,
    pub(crate) answer: oneshot::Sender<Result<(), String>>,
}

/// A port in the hands of a connection; it goes back when this is dropped.
pub(crate) struct Lease {
    slot: Arc<Slot>,
    port: Option<Box<Port>>,
    pub(crate) orders: mpsc::Receiver<Order>,
    pub(crate) record: DeviceRecord,
}

/// Why a port was not lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No such bus id, or the device is away.
    NoDevice,
    /// Another connection has it.
    Busy,
    /// The fault `cut` is in force.
    Cut,
}

impl Hub {
    /// Puts the ports into their slots: name, port number on bus 1, port.
    pub(crate) fn new(ports: Vec<(String, u32, Port)>) -> Self {
        let slot = |(name, devnum, port)| {
            let state = Mutex::new(State::Free(Box::new(port)));
            Arc::new(Slot { name, busid: format!("1-{devnum}"), devnum, state, freed: Notify::new() })
        };
        Self { slots: ports.into_iter().map(slot).collect(), latency: Latency::default() }
    }

    /// Names and bus ids.
    pub(crate) fn busids(&self) -> Vec<(String, String)> {
        self.slots.iter().map(|slot| (slot.name.clone(), slot.busid.clone())).collect()
    }

    /// The records of the devices that are there.
    pub(crate) fn records(&self) -> Vec<Record> {
        self.slots.iter().filter_map(|slot| slot.record(Instant::now())).collect()
    }

    /// Lends the port with this bus id.
    ///
    /// A client that closes its connection and opens the next one may be faster than the news of the first one's
    /// end, so a port that is lent gets a moment to come back.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(crate) async fn lend(&self, busid: &str) -> Result<Lease, Refusal> {
        let slot = self.slots.iter().find(|slot| slot.busid == busid).ok_or(Refusal::NoDevice)?;
        let wait = tokio::time::sleep(GRACE);
        tokio::pin!(wait);
        loop {
            let freed = slot.freed.notified();
            match slot.try_lend(Instant::now()) {
                Err(Refusal::Busy) => {}
                result => return result,
            }
            tokio::select! {
                () = freed => {}
                () = &mut wait => return Err(Refusal::Busy),
            }
        }
    }

    /// Applies a command at once; only for ports that are not lent, as before serving.
    ///
    /// # Errors
    /// A text for people.
    pub(crate) fn apply(&self, command: &Command) -> Result<(), String> {
        let Some((device, fault)) = self.of_device(command) else { return Ok(()) };
        match &mut *self.find(device)?.lock() {
            State::Free(port) => port.apply(fault, Instant::now(), None),
            State::Lent { .. } => Err(format!("{device} is in use")),
        }
    }

    /// Applies a command wherever the port is, and answers when it has been done.
    ///
    /// # Errors
    /// A text for people.
    pub(crate) async fn order(&self, command: &Command) -> Result<(), String> {
        let Some((device, fault)) = self.of_device(command) else { return Ok(()) };
        let slot = self.find(device)?;
        loop {
            let (sender, receiver) = oneshot::channel();
            let orders = match &mut *slot.lock() {
                State::Free(port) => return port.apply(fault, Instant::now(), None),
                State::Lent { orders, .. } => orders.clone(),
            };
            // A connection that ends without an answer has given the port back: the next round finds it.
            if orders.send(Order { fault, answer: sender }).await.is_ok()
                && let Ok(result) = receiver.await
            {
                return result;
            }
        }
    }

    /// The device that a command is about; one about all connections is applied here.
    fn of_device<'a>(&self, command: &'a Command) -> Option<(&'a str, Fault)> {
        match command {
            Command::Device { device, fault } => Some((device, *fault)),
            Command::DelayLink(delay) => {
                self.latency.set(*delay);
                None
            }
        }
    }

    fn find(&self, name: &str) -> Result<&Arc<Slot>, String> {
        self.slots.iter().find(|slot| slot.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.slots.iter().map(|slot| &*slot.name).collect();
            format!("no device {name:?}; there are {}", names.join(", "))
        })
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, now: Instant) -> Option<Record> {
        match &mut *self.lock() {
            State::Free(port) => {
                port.advance(now);
                port.present().then(|| port.record(&self.busid, self.devnum))
            }
            State::Lent { record, .. } => Some(record.clone()),
        }
    }

    fn try_lend(self: &Arc<Self>, now: Instant) -> Result<Lease, Refusal> {
        let mut state = self.lock();
        let State::Free(port) = &mut *state else { return Err(Refusal::Busy) };
        port.advance(now);
        match port.absence(now) {
            Some(Absence::Unplugged) => return Err(Refusal::NoDevice),
            Some(Absence::Cut) => return Err(Refusal::Cut),
            None => {}
        }
        let record = port.record(&self.busid, self.devnum);
        let (sender, orders) = mpsc::channel(ORDERS);
        let lent = State::Lent { orders: sender, record: record.clone() };
        let State::Free(port) = std::mem::replace(&mut *state, lent) else { return Err(Refusal::Busy) };
        Ok(Lease { slot: self.clone(), port: Some(port), orders, record: record.0 })
    }
}

impl Lease {
    /// The port, and the commands for it.
    pub(crate) fn parts(&mut self) -> (&mut Port, &mut mpsc::Receiver<Order>) {
        (self.port.as_mut().expect("the port is taken only by drop"), &mut self.orders)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(mut port) = self.port.take() {
            port.release(Instant::now());
            *self.slot.lock() = State::Free(port);
            self.slot.freed.notify_one();
        }
    }
}

/// How long an import waits for the last owner's end to be noticed.
const GRACE: Duration = Duration::from_millis(100);
/// Commands that may wait for a connection.
const ORDERS: usize = 16;
