//! Where a device can be listened to: over all its sessions, by several at once. It does not know what crosses.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::pcapng::{self, MOST_CAPTURED};
use super::spool::Spool;
use super::tapped::TappedDevice;
use super::usbmon::{Event, HEADER};
use crate::usb::{TransferError, UsbDevice, enumerate};

/// The tap of one device.
#[derive(Default)]
pub struct Tap {
    /// Whether anybody captures: the one thing that is looked at while nobody does.
    on: AtomicBool,
    listeners: Mutex<Vec<Listener>>,
    /// No more will cross.
    closed: AtomicBool,
    /// Told when a capture has ended.
    left: Notify,
    sessions: AtomicU8,
    pipes: AtomicU64,
}

struct Listener {
    spool: Spool,
    news: Arc<Notify>,
}

/// One capture. Dropping it ends it.
pub struct Capture {
    tap: Arc<Tap>,
    news: Arc<Notify>,
}

/// As many capture this device as may.
#[derive(Debug)]
pub struct Refused;

impl Tap {
    /// The device of a new session, with the tap before it.
    pub fn wrap(self: &Arc<Self>, device: Arc<dyn UsbDevice>) -> Arc<dyn UsbDevice> {
        // Addresses as a host would give them: USB 2.0, 9.4.6.
        let address = self.sessions.fetch_add(1, Ordering::Relaxed) % 127 + 1;
        Arc::new(TappedDevice::new(device, self.clone(), address))
    }

    /// Begins a capture of all that crosses from now on. `name` and `description` stand in it, and `limit` is the
    /// longest record in bytes, header included.
    ///
    /// # Errors
    /// [`Refused`] while as many as may capture already.
    pub fn open(self: &Arc<Self>, name: &str, description: &str, limit: u32) -> Result<Capture, Refused> {
        let mut listeners = self.listeners();
        if listeners.len() >= MOST_LISTENERS {
            return Err(Refused);
        }
        let news = Arc::new(Notify::new());
        let spool = Spool::new(name, description, limit.clamp(HEADER as u32, MOST_CAPTURED));
        listeners.push(Listener { spool, news: news.clone() });
        self.on.store(true, Ordering::Relaxed);
        Ok(Capture { tap: self.clone(), news })
    }

    /// Nothing more will cross. Waits until all who capture have taken what there was, but not longer than `patience`.
    pub async fn close(&self, patience: Duration) {
        self.closed.store(true, Ordering::Relaxed);
        self.listeners().iter().for_each(|listener| listener.news.notify_one());
        let _ = tokio::time::timeout(patience, async {
            while self.is_on() {
                self.left.notified().await;
            }
        })
        .await;
    }

    /// Whether anybody captures.
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Tells all who capture.
    #[cold]
    pub(super) fn tell(&self, event: &Event<'_>) {
        let now = pcapng::now();
        for listener in &mut *self.listeners() {
            listener.spool.push(event, now);
            listener.news.notify_one();
        }
    }

    /// A number for a pipe that no other has had.
    pub(super) fn next_pipe(&self) -> u64 {
        self.pipes.fetch_add(1, Ordering::Relaxed)
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Listener>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Capture {
    /// What there is to read, once there is something; `spare` is a buffer that was read. `None` when nothing more will
    /// cross. Cancel safe.
    pub async fn next(&mut self, spare: &mut Vec<u8>) -> Option<Vec<u8>> {
        loop {
            let bytes = self.with(|spool| (!spool.is_empty()).then(|| spool.take(std::mem::take(spare))));
            if bytes.is_some() || self.tap.closed.load(Ordering::Relaxed) {
                return bytes;
            }
            self.news.notified().await;
        }
    }

    /// The end of the capture: all that was not read, and how much was left out. To be the last that is taken.
    pub fn finish(&mut self) -> Vec<u8> {
        self.with(|spool| {
            spool.finish();
            Some(spool.take(Vec::new()))
        })
        .unwrap_or_default()
    }

    fn with<T>(&self, f: impl FnOnce(&mut Spool) -> Option<T>) -> Option<T> {
        let mut listeners = self.tap.listeners();
        let own = listeners.iter_mut().find(|l| Arc::ptr_eq(&l.news, &self.news));
        own.and_then(|listener| f(&mut listener.spool))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let mut listeners = self.tap.listeners();
        listeners.retain(|l| !Arc::ptr_eq(&l.news, &self.news));
        self.tap.on.store(!listeners.is_empty(), Ordering::Relaxed);
        self.tap.left.notify_one();
    }
}

/// Asks the device for its descriptors, which makes them part of the capture: who reads it learns from them of what
/// class the interfaces are. Ends with the first that is not answered.
///
/// # Errors
/// Those of the control transfers.
pub async fn introduce(device: Arc<dyn UsbDevice>) -> Result<(), TransferError> {
    enumerate::read_device(&*device, INTRODUCTION_TIMEOUT).await?;
    enumerate::read_configuration(&*device, 0, INTRODUCTION_TIMEOUT).await.map(drop)
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MOST_LISTENERS} captures of it run already; end one of them first")
    }
}

impl std::error::Error for Refused {}

/// Each has its own memory.
const MOST_LISTENERS: usize = 8;
/// Nobody's end is held up for long by a device that does not answer.
const INTRODUCTION_TIMEOUT: Duration = Duration::from_secs(1);
