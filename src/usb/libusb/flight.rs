//! Hot path. A `libusb_transfer` between two flights, and in flight with the buffer that it was lent.
//!
//! ```text
//!            submit                 libusb calls `ended`             finish
//!   Idle ──────────────► Flying ──────────────────────────► ended ───────────► Idle + Transfer
//!     ▲  refused            │ abandoned or dropped: what libusb may still write to is leaked, not freed
//!     └──────────┘
//! ```
//!
//! This is the one place that hands memory to libusb. It decides nothing about order or about what happens next.

use std::ffi::c_int;
use std::mem::{self, ManuallyDrop};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use rusb::UsbContext;
use rusb::constants::{LIBUSB_TRANSFER_ERROR, LIBUSB_TRANSFER_TYPE_CONTROL, LIBUSB_TRANSFER_TYPE_ISOCHRONOUS};
use rusb::ffi;

use super::error;
use super::link::Link;
use crate::usb::errno::ENOMEM;
use crate::usb::{Buffer, Transfer, TransferError};

/// Where transfers go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    /// bEndpointAddress; 0 for control.
    pub(super) endpoint: u8,
    /// One of `LIBUSB_TRANSFER_TYPE_*`.
    pub(super) kind: u8,
}

/// A `libusb_transfer` that libusb knows nothing of.
pub(super) struct Idle(Arc<Raw>);

/// A transfer that libusb has, or had until it `has_ended`.
pub(super) struct Flying {
    raw: Arc<Raw>,
    /// Without its buffer.
    transfer: Transfer,
    /// The buffer, which is libusb's until the transfer has ended, and is leaked if it never does. `None` once it was
    /// taken back.
    buffer: Option<ManuallyDrop<Buffer>>,
}

/// Cancels a transfer from any thread, also when it has ended meanwhile.
pub(super) struct Canceller(Arc<Raw>);

/// The memory that libusb keeps pointers to.
struct Raw {
    transfer: NonNull<ffi::libusb_transfer>,
    /// How many isochronous packets it has room for.
    packets: usize,
    /// True while libusb does not have it.
    ended: AtomicBool,
    /// Of the pipe that waits for it.
    waker: Arc<AtomicWaker>,
    /// A transfer must be freed before its context ends.
    link: Arc<Link>,
}

// SAFETY: the fields behind `transfer` are written by libusb between submit and `ended`, and else by the one owner of
// `Idle` or `Flying` only; `libusb_cancel_transfer`, the one call that others make, may run on any thread.
unsafe impl Send for Raw {}
// SAFETY: as above.
unsafe impl Sync for Raw {}

impl Idle {
    /// Allocates one with room for `packets` isochronous packets. `waker` is woken whenever a flight of it has ended.
    ///
    /// # Errors
    /// [`TransferError::Io`] (ENOMEM).
    pub(super) fn new(packets: usize, waker: Arc<AtomicWaker>, link: Arc<Link>) -> Result<Self, TransferError> {
        let count = c_int::try_from(packets).map_err(|_| TransferError::Invalid)?;
        // SAFETY: takes a number and returns memory or null.
        let transfer = NonNull::new(unsafe { ffi::libusb_alloc_transfer(count) });
        let transfer = transfer.ok_or(TransferError::Io(ENOMEM))?;
        Ok(Self(Arc::new(Raw { transfer, packets, ended: AtomicBool::new(true), waker, link })))
    }

    /// How many isochronous packets it has room for.
    pub(super) fn packets(&self) -> usize {
        self.0.packets
    }

    /// Lends the buffer of `transfer` to libusb and starts.
    ///
    /// # Errors
    /// The transfer itself, marked as failed, when libusb does not take it.
    pub(super) fn submit(self, route: Route, mut transfer: Transfer) -> Result<Flying, (Self, Transfer)> {
        let Some(length) = sound_length(route, &transfer).filter(|_| transfer.packets.len() <= self.0.packets) else {
            return Err((self, transfer.fail(TransferError::Invalid)));
        };
        let mut buffer = ManuallyDrop::new(mem::take(&mut transfer.buffer));
        self.fill(route, &transfer, buffer.as_mut_ptr(), length);
        self.0.ended.store(false, Ordering::Relaxed);
        let flying = Flying { raw: self.0, transfer, buffer: Some(buffer) };
        // SAFETY: the transfer is filled in, not in flight, and `Flying` keeps it and its buffer alive.
        match unsafe { ffi::libusb_submit_transfer(flying.raw.transfer.as_ptr()) } {
            0 => Ok(flying),
            code => Err(flying.refused(error::of_submit(code))),
        }
    }

    fn fill(&self, route: Route, transfer: &Transfer, buffer: *mut u8, length: c_int) {
        let raw = self.0.transfer.as_ptr();
        // SAFETY: libusb does not have the transfer, and `&self` is its only owner; `packets` of them were allocated
        // behind it, which is at least as many as `transfer` has. `user_data` lives as long as the transfer.
        unsafe {
            (*raw).dev_handle = self.0.link.handle.as_raw();
            (*raw).flags = 0;
            (*raw).endpoint = route.endpoint;
            (*raw).transfer_type = route.kind;
            (*raw).timeout = 0;
            (*raw).status = 0;
            (*raw).length = length;
            (*raw).actual_length = 0;
            (*raw).callback = ended;
            (*raw).user_data = Arc::as_ptr(&self.0).cast_mut().cast();
            (*raw).buffer = buffer;
            (*raw).num_iso_packets = transfer.packets.len() as c_int;
            for (n, packet) in transfer.packets.iter().enumerate() {
                let length = packet.length as u32;
                descriptor(raw, n).write(ffi::libusb_iso_packet_descriptor { length, actual_length: 0, status: 0 });
            }
        }
    }
}

impl Flying {
    /// Whether libusb has done with it.
    pub(super) fn has_ended(&self) -> bool {
        self.raw.ended.load(Ordering::Acquire)
    }

    /// What can cancel it.
    pub(super) fn canceller(&self) -> Canceller {
        Canceller(self.raw.clone())
    }

    /// Takes everything back. It must have ended.
    pub(super) fn finish(mut self) -> (Idle, Transfer) {
        assert!(self.has_ended(), "libusb still writes to the buffer of a transfer in flight");
        let raw = self.raw.transfer.as_ptr();
        // SAFETY: libusb has done with the transfer, `self` is its only owner.
        let (status, actual, is_isochronous) =
            unsafe { ((*raw).status, (*raw).actual_length, (*raw).transfer_type == LIBUSB_TRANSFER_TYPE_ISOCHRONOUS) };
        let mut transfer = self.take_transfer();
        transfer.status = error::of_status(status);
        transfer.actual = usize::try_from(actual).unwrap_or(0);
        if is_isochronous {
            // SAFETY: as above.
            unsafe { take_packets(raw, &mut transfer) };
            if status == LIBUSB_TRANSFER_ERROR && transfer.actual > 0 {
                // Some host controllers report a packet that failed for the transfer, too.
                transfer.status = Ok(());
            }
        }
        (Idle(self.raw.clone()), transfer)
    }

    /// Gives up a transfer that does not end: it comes back as one of a device that has gone, in memory of its own. What libusb
    /// may still write to is left to it.
    pub(super) fn abandon(mut self) -> Transfer {
        let size = self.buffer.as_ref().map_or(0, |buffer| buffer.len());
        let transfer = mem::replace(&mut self.transfer, Transfer::new(0));
        Transfer { buffer: Buffer::new(size), ..transfer }.fail(TransferError::Disconnected)
    }

    fn refused(mut self, error: TransferError) -> (Idle, Transfer) {
        self.raw.ended.store(true, Ordering::Relaxed);
        let transfer = self.take_transfer().fail(error);
        (Idle(self.raw.clone()), transfer)
    }

    fn take_transfer(&mut self) -> Transfer {
        let mut transfer = mem::replace(&mut self.transfer, Transfer::new(0));
        if let Some(buffer) = self.buffer.take() {
            transfer.buffer = ManuallyDrop::into_inner(buffer);
        }
        transfer
    }
}

impl Drop for Flying {
    fn drop(&mut self) {
        if self.has_ended() {
            self.take_transfer();
        } else {
            // libusb would still call `ended` with it.
            mem::forget(self.raw.clone());
        }
    }
}

// SAFETY: the buffer is owned, nobody but libusb touches it before the transfer has ended.
unsafe impl Send for Flying {}

impl Canceller {
    /// Asks for the end of the transfer; it comes by way of the events. May block while the host controller lets go.
    pub(super) fn cancel(&self) {
        if !self.0.ended.load(Ordering::Acquire) {
            // SAFETY: the transfer lives as long as `self`. One that has ended in this moment is refused by libusb; it
            // is not submitted again before the pipe has seen all its cancellers go.
            unsafe { ffi::libusb_cancel_transfer(self.0.transfer.as_ptr()) };
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: libusb does not have it, as a `Flying` that has not ended never lets go of it; and nobody else does.
        unsafe { ffi::libusb_free_transfer(self.transfer.as_ptr()) };
    }
}

/// Cancels these transfers and waits for them on this thread, where no events are handled any more.
pub(super) fn end_now(link: &Link, mut flying: Vec<Flying>) {
    flying.iter().rev().for_each(|flight| flight.canceller().cancel());
    let patience = Instant::now() + LAST_PATIENCE;
    loop {
        flying.retain(|flight| !flight.has_ended());
        if flying.is_empty() {
            return;
        }
        if Instant::now() > patience {
            tracing::warn!("{} transfers do not end; their memory is left to libusb", flying.len());
            return;
        }
        let _ = link.handle.context().handle_events(Some(LAST_PATIENCE / 10));
    }
}

/// Called by libusb when a transfer has ended.
extern "system" fn ended(transfer: *mut ffi::libusb_transfer) {
    // SAFETY: libusb passes a transfer of ours, whose `user_data` is the `Raw` that owns it. It lives: a transfer that
    // has not ended is in a `Flying`, or was leaked with one.
    let raw = unsafe { &*(*transfer).user_data.cast::<Raw>() };
    // After the store the owner may free `raw` on another thread.
    let waker = raw.waker.clone();
    raw.ended.store(true, Ordering::Release);
    waker.wake();
}

/// The length to tell libusb; `None` when the parts of the transfer do not fit each other. libusb expects packets to
/// lie in the buffer without gaps.
fn sound_length(route: Route, transfer: &Transfer) -> Option<c_int> {
    let length = match route.kind {
        LIBUSB_TRANSFER_TYPE_ISOCHRONOUS => {
            let end = transfer.packets.iter().try_fold(0, |at, p| (p.offset == at).then_some(at + p.length));
            end.filter(|_| !transfer.packets.is_empty())?
        }
        LIBUSB_TRANSFER_TYPE_CONTROL if transfer.length < SETUP => return None,
        _ => transfer.length,
    };
    c_int::try_from(length).ok().filter(|_| length <= transfer.buffer.len())
}

/// # Safety
/// libusb must have done with the transfer, which must have the packets that were filled in from `transfer`.
unsafe fn take_packets(raw: *mut ffi::libusb_transfer, transfer: &mut Transfer) {
    let mut total = 0;
    for (n, packet) in transfer.packets.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        let told = unsafe { descriptor(raw, n).read() };
        packet.actual = (told.actual_length as usize).min(packet.length);
        packet.status = error::of_status(told.status);
        total += packet.actual;
    }
    transfer.actual = total;
}

/// # Safety
/// The transfer must have been allocated with more than `n` packets.
unsafe fn descriptor(raw: *mut ffi::libusb_transfer, n: usize) -> *mut ffi::libusb_iso_packet_descriptor {
    // SAFETY: the caller's promise; the descriptors are an array at the end of the same allocation.
    unsafe { ptr::addr_of_mut!((*raw).iso_packet_desc).cast::<ffi::libusb_iso_packet_descriptor>().add(n) }
}

/// Bytes of a setup packet, which stands first in the buffer of a control transfer.
pub(super) const SETUP: usize = 8;
/// How long a kernel may take to give up transfers when the daemon ends in disorder.
const LAST_PATIENCE: Duration = Duration::from_secs(2);
