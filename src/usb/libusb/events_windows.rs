//! libusb's events on a thread of their own, where its descriptors are no objects of the reactor. One thread a device;
//! it sleeps in libusb while nothing happens.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;

use rusb::UsbContext;
use tokio::sync::mpsc;

use super::flight::Flying;
use super::link::Link;

/// Handles the events of a device until nobody holds the sending end of `orphans`.
pub(super) fn start(link: Arc<Link>, orphans: mpsc::UnboundedReceiver<Vec<Flying>>) -> io::Result<()> {
    let (forwarded, received) = channel();
    tokio::spawn(forward(orphans, Waking { sender: Some(forwarded), link: link.clone() }));
    thread::Builder::new().name("libusb events".into()).spawn(move || run(&link, &received))?;
    Ok(())
}

/// Passes orphans on and wakes the thread for them.
async fn forward(mut orphans: mpsc::UnboundedReceiver<Vec<Flying>>, thread: Waking) {
    while let Some(orphans) = orphans.recv().await {
        thread.send(orphans);
    }
}

/// Runs until the other end has gone and the last orphan has ended.
fn run(link: &Link, orphans: &Receiver<Vec<Flying>>) {
    let _ended = Ended(link);
    let mut dying: Vec<Flying> = Vec::new();
    loop {
        let is_unused = loop {
            match orphans.try_recv() {
                Ok(orphans) => dying.extend(orphans),
                Err(TryRecvError::Empty) => break false,
                Err(TryRecvError::Disconnected) => break true,
            }
        };
        dying.retain(|flight| !flight.has_ended());
        if is_unused && dying.is_empty() {
            return;
        }
        if let Err(e) = link.handle.context().handle_events(None) {
            tracing::debug!("libusb could not handle its events: {e}");
        }
    }
}

/// Takes note that the thread has ended, however it did.
struct Ended<'a>(&'a Link);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.events_ended();
        self.0.tell_gone("libusb's events are not handled any more");
    }
}

/// A sender whose end wakes the thread, too. libusb remembers an interruption until somebody waits for events.
struct Waking {
    sender: Option<Sender<Vec<Flying>>>,
    link: Arc<Link>,
}

impl Waking {
    fn send(&self, orphans: Vec<Flying>) {
        if let Some(sender) = &self.sender {
            // The thread is there for as long as this is.
            let _ = sender.send(orphans);
        }
        self.link.handle.context().interrupt_handle_events();
    }
}

impl Drop for Waking {
    fn drop(&mut self) {
        self.sender = None;
        self.link.handle.context().interrupt_handle_events();
    }
}
