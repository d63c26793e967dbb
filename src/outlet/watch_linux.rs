//! Who opens and closes FIFOs and terminals, told by inotify: no polling, and no wakeup while nothing happens.
//!
//! One inotify instance serves all FIFOs of the daemon. Events only say "look again": they may be merged or
//! stale, so whoever is told asks the FIFO itself.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{EventMask, EventStream, Inotify, WatchDescriptor, WatchMask, Watches};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::CompetingReaders;
use super::leaving::Leaving;
use crate::processes::{Question, look};

/// Watches any number of FIFOs and terminals.
#[derive(Clone)]
pub struct Watcher {
    shared: Arc<Shared>,
    _task: Arc<AbortOnDrop>,
}

struct Shared {
    watches: Watches,
    listeners: Mutex<HashMap<WatchDescriptor, Listener>>,
    /// inotify's, once more.
    fd: OwnedFd,
}

struct Listener {
    sender: mpsc::Sender<()>,
    balance: Arc<AtomicI64>,
    competing: CompetingReaders,
    leaving: Leaving,
    /// What those who are waited for close: the daemon's own end is the other one.
    theirs: EventMask,
}

/// News of one FIFO.
pub struct Changes {
    receiver: mpsc::Receiver<()>,
    balance: Arc<AtomicI64>,
    competing: CompetingReaders,
    leaving: Leaving,
    descriptor: WatchDescriptor,
    shared: Arc<Shared>,
}

impl Watcher {
    /// Starts watching; needs a tokio runtime.
    ///
    /// # Errors
    /// Those of `inotify_init1`, see inotify(7): too many instances, for one.
    pub fn new() -> io::Result<Self> {
        let inotify = Inotify::init()?;
        let fd = inotify.as_fd().try_clone_to_owned()?;
        let shared = Arc::new(Shared { watches: inotify.watches(), listeners: Mutex::default(), fd });
        let events = inotify.into_event_stream([0; EVENT_BUFFER])?;
        let task = tokio::spawn(dispatch(events, shared.clone()));
        Ok(Self { shared, _task: Arc::new(AbortOnDrop(task)) })
    }

    /// Begins to watch the FIFO at `path`, which must not be a link.
    ///
    /// # Errors
    /// Those of `inotify_add_watch`.
    pub fn watch(&self, path: &Path) -> io::Result<Changes> {
        self.watch_for(BOTH, EventMask::CLOSE_WRITE, path)
    }

    /// The same for a FIFO that programs read, with each opening and closing told: events that are alike and follow one another are told as one, and
    /// between two of these comes one of the folder.
    ///
    /// # Errors
    /// Those of `inotify_add_watch`.
    pub fn watch_each(&self, path: &Path) -> io::Result<Changes> {
        if let Some(folder) = path.parent() {
            // It ends with the folder. Nobody is told of its events.
            self.shared.watches.clone().add(folder, BOTH | WatchMask::ONLYDIR)?;
        }
        self.watch_for(BOTH, EventMask::CLOSE_NOWRITE, path)
    }

    /// The same for a terminal, of which only the openings are told.
    ///
    /// # Errors
    /// Those of `inotify_add_watch`.
    pub fn watch_openings(&self, path: &Path) -> io::Result<Changes> {
        self.watch_for(WatchMask::OPEN, EventMask::empty(), path)
    }

    fn watch_for(&self, what: WatchMask, theirs: EventMask, path: &Path) -> io::Result<Changes> {
        let mask = what | WatchMask::DONT_FOLLOW;
        let (sender, receiver) = mpsc::channel(1);
        let mut listeners = self.shared.listeners();
        let descriptor = self.shared.watches.clone().add(path, mask)?;
        let balance = Arc::<AtomicI64>::default();
        let competing = CompetingReaders::default();
        let leaving = Leaving::default();
        let (of_it, open, left) = (balance.clone(), competing.clone(), leaving.clone());
        listeners
            .insert(descriptor.clone(), Listener { sender, balance: of_it, competing: open, leaving: left, theirs });
        drop(listeners);
        Ok(Changes { receiver, balance, competing, leaving, descriptor, shared: self.shared.clone() })
    }
}

/// Readable while there are events that nobody has been told yet. Reading from it would take them away.
impl AsFd for Watcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.fd.as_fd()
    }
}

impl Changes {
    /// Ready when the FIFO was opened or closed since the last time.
    pub fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match ready!(self.receiver.poll_recv(cx)) {
            Some(()) => Poll::Ready(()),
            // The dispatcher has ended, which it does only with the runtime.
            None => Poll::Pending,
        }
    }
}

impl Changes {
    /// Resolves when it was opened or closed since the last time.
    pub async fn changed(&mut self) {
        poll_fn(|cx| self.poll_changed(cx)).await;
    }

    /// How much more often it was opened than closed since it is watched, by anybody. Openings at the same moment may be
    /// told as one, so it is good for hints only.
    pub fn balance(&self) -> i64 {
        self.balance.load(Ordering::Relaxed)
    }

    /// Forgets what happened to the FIFO at `path` so far, and says once that something may have.
    ///
    /// # Errors
    /// Those of `inotify_add_watch`.
    pub(super) fn renew(&mut self, path: &Path) -> io::Result<()> {
        let mut watches = self.shared.watches.clone();
        let mut listeners = self.shared.listeners();
        let listener = listeners.remove(&self.descriptor);
        let _ = watches.remove(self.descriptor.clone());
        self.descriptor = watches.add(path, BOTH | WatchMask::DONT_FOLLOW)?;
        if let Some(listener) = listener {
            let _ = listener.sender.try_send(());
            listeners.insert(self.descriptor.clone(), listener);
        }
        Ok(())
    }

    /// How many have it open at once.
    pub(super) fn competing(&self) -> &CompetingReaders {
        &self.competing
    }

    /// Who is still to see that it has ended.
    pub(super) fn leaving(&self) -> &Leaving {
        &self.leaving
    }

    /// Whether programs have done something that nobody has been told yet.
    pub(super) fn is_behind(&self) -> bool {
        let mut fds = [PollFd::new(self.shared.fd.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// The FIFO ends now, at which programs may have it open, or not.
    pub(super) fn end(&self, is_open: bool) {
        // Of one that has just come nothing was heard yet.
        self.leaving.start(if is_open { self.competing.open().max(1) } else { 0 });
    }

    /// Waits until all that had it open at [`Changes::end`] have closed it, but not longer than this.
    pub(super) async fn left(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while !self.leaving.is_done() && timeout_at(deadline, self.changed()).await.is_ok() {}
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.shared.listeners().remove(&self.descriptor);
        let _ = self.shared.watches.clone().remove(self.descriptor.clone());
    }
}

impl Shared {
    fn listeners(&self) -> MutexGuard<'_, HashMap<WatchDescriptor, Listener>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Processes that have the FIFO at `path` open, one for each time that it was opened, as far as can be seen in time.
pub async fn openers(path: &Path) -> Vec<u32> {
    look(Question::File(path.to_owned())).await.openers()
}

async fn dispatch(mut events: EventStream<[u8; EVENT_BUFFER]>, shared: Arc<Shared>) {
    while let Some(Ok(event)) = events.next().await {
        let listeners = shared.listeners();
        // A full channel already says what this event would say.
        match listeners.get(&event.wd) {
            Some(listener) => listener.tell(event.mask),
            None if event.mask.contains(EventMask::Q_OVERFLOW) => {
                listeners.values().for_each(|listener| listener.tell(event.mask));
            }
            None => {}
        }
    }
}

impl Listener {
    fn tell(&self, mask: EventMask) {
        let opened = i64::from(mask.contains(EventMask::OPEN));
        let closed = i64::from(mask.intersects(EventMask::CLOSE_WRITE | EventMask::CLOSE_NOWRITE));
        self.balance.fetch_add(opened - closed, Ordering::Relaxed);
        if opened > 0 {
            self.competing.opened();
        }
        if closed > 0 {
            self.competing.closed();
        }
        if mask.intersects(self.theirs) {
            self.leaving.closed();
        }
        let _ = self.sender.try_send(());
    }
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

const BOTH: WatchMask = WatchMask::OPEN.union(WatchMask::CLOSE);
/// Bytes; events without a name have 16.
const EVENT_BUFFER: usize = 1024;
