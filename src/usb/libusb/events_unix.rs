//! libusb's events in the reactor: one task a device, no thread, nothing that ticks.
//!
//! ```text
//!             a descriptor is ready: libusb looks, calls back, and says so if the device has gone
//!            ┌──────┐
//!   start ──► waits ──────────► over: nobody uses the device, the last orphan has ended; a helper thread closes it
//! ```
//!
//! No transfer gets a timeout from libusb, and on Linux its timer is a descriptor, so there are no times to keep.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::slice;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rusb::{UsbContext, ffi};
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::sync::mpsc;

use super::flight::{Flying, end_now};
use super::link::Link;
use crate::usb::caught;

/// Handles the events of a device until nobody holds the sending end of `orphans`.
pub(super) fn start(link: Arc<Link>, orphans: mpsc::UnboundedReceiver<Vec<Flying>>) -> io::Result<()> {
    let watch = |(fd, events)| Watched { fd, events, _link: link.clone() }.register();
    let watched = descriptors(&link).into_iter().map(watch).collect::<io::Result<_>>()?;
    // Weak, because whoever has it last closes the device, which may block.
    let device = Arc::downgrade(&link);
    let events = Events { watched, orphans, is_unused: false, dying: Vec::new(), link }.run();
    tokio::spawn(async move {
        if let Err(error) = caught(events).await
            && let Some(device) = device.upgrade()
        {
            device.tell_gone(&error);
        }
    });
    Ok(())
}

/// The state of one device's task.
struct Events {
    watched: Vec<AsyncFd<Watched>>,
    orphans: mpsc::UnboundedReceiver<Vec<Flying>>,
    /// The device and its pipes were dropped.
    is_unused: bool,
    /// Transfers of dropped pipes that have not ended.
    dying: Vec<Flying>,
    link: Arc<Link>,
}

/// A descriptor that libusb wants to know about.
struct Watched {
    fd: RawFd,
    events: PollFlags,
    /// Keeps it open.
    _link: Arc<Link>,
}

impl Events {
    async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
        let link = self.link.clone();
        drop(self);
        // Closing releases interfaces, for which the kernel may ask the device something.
        tokio::task::spawn_blocking(move || drop(link));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let (false, Poll::Ready(orphans)) = (self.is_unused, self.orphans.poll_recv(cx)) {
            match orphans {
                Some(orphans) => self.dying.extend(orphans),
                None => self.is_unused = true,
            }
        }
        for _ in 0..ROUNDS {
            self.dying.retain(|flight| !flight.has_ended());
            if self.is_unused && self.dying.is_empty() {
                return Poll::Ready(());
            }
            if !self.watched.iter().any(|watched| poll_ready(watched, cx).is_some()) {
                return Poll::Pending;
            }
            if let Err(e) = self.link.handle.context().handle_events(Some(Duration::ZERO)) {
                tracing::debug!("libusb could not handle its events: {e}");
            }
            self.look_again(cx);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Tells the reactor what is no longer ready; it only notices changes.
    fn look_again(&mut self, cx: &mut Context<'_>) {
        let mut hung_up = false;
        for watched in &self.watched {
            let Some(mut guard) = poll_ready(watched, cx) else { continue };
            let now = watched.get_ref().poll_now();
            hung_up |= now.intersects(PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL);
            if now.is_empty() {
                guard.clear_ready();
            }
        }
        if hung_up {
            self.forget_removed();
        }
    }

    /// libusb has done with a descriptor that reports an error: the device was unplugged.
    fn forget_removed(&mut self) {
        let left = descriptors(&self.link);
        let before = self.watched.len();
        self.watched.retain(|watched| left.iter().any(|(fd, _)| *fd == watched.get_ref().fd));
        if self.watched.len() < before {
            self.link.tell_gone("unplugged");
        }
    }
}

impl Drop for Events {
    /// The runtime ends before the device was closed.
    fn drop(&mut self) {
        self.orphans.close();
        while let Ok(orphans) = self.orphans.try_recv() {
            self.dying.extend(orphans);
        }
        if !self.dying.is_empty() {
            end_now(&self.link, std::mem::take(&mut self.dying));
        }
        self.link.events_ended();
    }
}

/// `Some` while the reactor believes that it is ready; else the task will be woken.
fn poll_ready<'a>(watched: &'a AsyncFd<Watched>, cx: &mut Context<'_>) -> Option<AsyncFdReadyGuard<'a, Watched>> {
    let ready = match watched.get_ref().interest() {
        Interest::WRITABLE => watched.poll_write_ready(cx),
        _ => watched.poll_read_ready(cx),
    };
    match ready {
        Poll::Ready(Ok(guard)) => Some(guard),
        Poll::Ready(Err(_)) | Poll::Pending => None,
    }
}

/// What libusb wants to know about now.
fn descriptors(link: &Link) -> Vec<(RawFd, PollFlags)> {
    // SAFETY: the context lives; what comes is null or a list that ends with null, and is freed below.
    let list = unsafe { ffi::libusb_get_pollfds(link.handle.context().as_raw()) };
    if list.is_null() {
        return Vec::new();
    }
    let mut found = Vec::new();
    // SAFETY: every pointer before the null one is to a descriptor of this list.
    unsafe {
        let count = (0..).take_while(|&n| !(*list.add(n)).is_null()).count();
        for entry in slice::from_raw_parts(list, count) {
            found.push(((**entry).fd, PollFlags::from_bits_truncate((**entry).events)));
        }
        ffi::libusb_free_pollfds(list);
    }
    found
}

impl Watched {
    fn register(self) -> io::Result<AsyncFd<Self>> {
        let interest = self.interest();
        // SAFETY: libusb opens its descriptors before the context is ours and closes them when it ends, and the node is
        // the link's own; neither happens before the link is dropped, which this `Watched` holds.
        Ok(unsafe { AsyncFd::register_with_interest(self, interest) }?)
    }

    fn interest(&self) -> Interest {
        if self.events.contains(PollFlags::POLLOUT) { Interest::WRITABLE } else { Interest::READABLE }
    }

    /// What poll(2) says at this moment.
    fn poll_now(&self) -> PollFlags {
        // SAFETY: it is open while the link lives, see `register`.
        let fd = unsafe { BorrowedFd::borrow_raw(self.fd) };
        let mut asked = [PollFd::new(fd, self.events)];
        match poll(&mut asked, PollTimeout::ZERO) {
            Ok(0) => PollFlags::empty(),
            Ok(_) => asked[0].revents().unwrap_or(PollFlags::empty()),
            // Interrupted: what is not known to be idle may be ready.
            Err(_) => self.events,
        }
    }
}

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        self.fd
    }
}

/// How often libusb may look before other tasks have their turn.
const ROUNDS: usize = 4;
