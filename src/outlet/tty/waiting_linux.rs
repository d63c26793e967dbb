//! The terminal that waits for a program behind the link, as a socket waits for a client.
//!
//! ```text
//!          the link leads to it                    a program has opened it                 the last one has closed it
//!   spare ──────────────────────► waiting ────────────────────────────────► in use (Tty) ───────────────────────────┐
//!     ▲  └─────────── a program that had followed the link before opens it ──► ▲ └────── and another has opened it ──┤
//!     └──────────────────────────────────── renewed ─────────────────────────────────────────────────────────────────┘
//! ```
//!
//! inotify tells when one is opened; the next one takes its place then. open(2) of a link is not atomic: a program may have
//! followed the link a moment ago and open what it led to by then. So a terminal is not closed when its program has gone
//! but used again, and served in whatever state it is opened. It refuses to touch terminals that are in use.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::all_linux::Settling;
use super::pty_linux::{News, Pty};
use super::{Place, Settings, Tty};
use crate::outlet::{Changes, DirError, Watcher};

/// A link that leads to a terminal which nobody has opened yet.
pub struct TtyListener {
    place: Place,
    watcher: Watcher,
    settings: Settings,
    /// What the link leads to.
    waiting: Option<Idle>,
    /// Those that were in use, the one for the longest time first.
    spares: VecDeque<Idle>,
    /// Terminals that programs have left.
    left: UnboundedReceiver<Arc<Pty>>,
    leaving: UnboundedSender<Arc<Pty>>,
    all: Settling,
}

/// A terminal that no program has open.
struct Idle {
    pty: Arc<Pty>,
    openings: Changes,
    since: Instant,
}

enum Event {
    /// A program has opened the terminal that waits.
    Waiting,
    /// A program has opened this one of the spares.
    Spare(usize),
    /// Programs have left this one.
    Left(Arc<Pty>),
}

impl TtyListener {
    /// Makes a terminal with these settings, and then the link to it, which takes the place of an old one.
    ///
    /// # Errors
    /// [`DirError`] when the link cannot be made, or there are no more terminals.
    pub fn new(place: Place, settings: Settings, watcher: &Watcher) -> Result<Self, DirError> {
        let (leaving, left) = unbounded_channel();
        let (waiting, spares, all) = (None, VecDeque::new(), Settling::new(watcher));
        let mut listener = Self { place, watcher: watcher.clone(), settings, waiting, spares, left, leaving, all };
        listener.prepare()?;
        Ok(listener)
    }

    /// Where the link stands.
    pub fn path(&self) -> PathBuf {
        self.place.dir.path().join(&self.place.name)
    }

    /// Tells of all its terminals, also of those to come.
    pub fn settling(&self) -> Settling {
        self.all.clone()
    }

    /// What the next program finds.
    pub fn set_up(&mut self, settings: Settings) {
        if std::mem::replace(&mut self.settings, settings) == settings {
            return;
        }
        // A program that has just come keeps what it found or set.
        let untouched = self.waiting.iter().chain(&self.spares).filter(|idle| idle.pty.is_untouched());
        for Idle { pty, .. } in untouched {
            if let Err(e) = pty.set_up(settings) {
                tracing::error!("{}: its speed cannot be set: {e}", self.path().display());
            }
        }
    }

    /// Waits until a program opens a terminal. To be called again at once: only then does the next terminal wait.
    ///
    /// # Errors
    /// [`DirError`] when there is none for the next program; programs that come now share the last one.
    pub async fn accept(&mut self) -> Result<Tty, DirError> {
        loop {
            self.prepare()?;
            let (pty, news) = match poll_fn(|cx| self.poll_event(cx)).await {
                Event::Waiting => (self.waiting.take().map(|idle| idle.pty), News::default()),
                Event::Spare(n) => (self.spares.remove(n).map(|idle| idle.pty), News::default()),
                // What was set while nobody looked is not known.
                Event::Left(pty) => (self.take_back(pty), News::SET),
            };
            self.show_idle();
            let Some(pty) = pty else { continue };
            let tty = Tty::new(pty, &self.all, news, self.leaving.clone());
            return tty.map_err(|e| DirError::from_io(&self.path(), "what a program has opened cannot be used", e));
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let is_opened = |idle: &mut Idle, cx: &mut Context<'_>| idle.openings.poll_changed(cx).is_ready();
        if self.waiting.as_mut().is_some_and(|idle| is_opened(idle, cx)) {
            return Poll::Ready(Event::Waiting);
        }
        if let Some(n) = self.spares.iter_mut().position(|idle| is_opened(idle, cx)) {
            return Poll::Ready(Event::Spare(n));
        }
        match self.left.poll_recv(cx) {
            Poll::Ready(Some(pty)) => Poll::Ready(Event::Left(pty)),
            _ => Poll::Pending,
        }
    }

    /// Has a terminal wait behind the link.
    fn prepare(&mut self) -> Result<(), DirError> {
        if self.waiting.is_some() {
            return Ok(());
        }
        let idle = match self.next_idle() {
            Ok(idle) => idle,
            // Programs may be about to open it, but that is better than none.
            Err(e) => self.spares.pop_front().ok_or(e)?,
        };
        self.place.dir.link(&self.place.name, idle.pty.node())?;
        self.waiting = Some(idle);
        self.show_idle();
        Ok(())
    }

    /// The one whose link was changed for the longest time, so that hardly any program still opens it; a new one while
    /// there are few.
    fn next_idle(&mut self) -> Result<Idle, DirError> {
        if self.spares.len() >= SPARES
            && let Some(idle) = self.spares.pop_front()
        {
            return Ok(idle);
        }
        let pty = Pty::new(self.settings).map_err(|e| self.cannot(e))?;
        self.watch(Arc::new(pty))
    }

    /// Makes a terminal that programs have left a spare one. Returns it where that cannot be, because another program has
    /// opened it meanwhile, or has left something in it.
    fn take_back(&mut self, pty: Arc<Pty>) -> Option<Arc<Pty>> {
        if !pty.is_untouched() {
            return Some(pty);
        }
        let renewed = pty.renew(self.settings).map_err(|e| self.cannot(e));
        match renewed.and_then(|()| self.watch(pty)) {
            // Whoever came before it was watched has told nobody.
            Ok(idle) if !idle.pty.is_untouched() => return Some(idle.pty),
            Ok(idle) => self.spares.push_back(idle),
            Err(e) => tracing::debug!("a terminal is not used again: {e}"),
        }
        while self.spares.len() > SPARES && self.spares[0].since.elapsed() > LONGEST_SPARE {
            self.spares.pop_front();
        }
        None
    }

    fn watch(&self, pty: Arc<Pty>) -> Result<Idle, DirError> {
        let Place { dir, access, .. } = &self.place;
        dir.grant(pty.node(), MODE, access)?;
        let openings = self.watcher.watch_openings(pty.node()).map_err(|e| self.cannot(e))?;
        Ok(Idle { pty, openings, since: Instant::now() })
    }

    fn show_idle(&self) {
        self.all.set_idle(self.waiting.iter().chain(&self.spares).map(|idle| &idle.pty));
    }

    fn cannot(&self, cause: io::Error) -> DirError {
        DirError::from_io(&self.path(), "cannot make a terminal", cause)
    }
}

impl Drop for TtyListener {
    fn drop(&mut self) {
        self.all.set_idle(std::iter::empty());
    }
}

/// As sockets: whoever may write to the device may read from it.
const MODE: u32 = 0o660;
/// So many terminals wait before one is used again: while as many programs come and go, one that opens what the link led
/// to has it for itself.
const SPARES: usize = 4;
/// What many programs at once have left behind is kept for this long.
const LONGEST_SPARE: Duration = Duration::from_secs(10);
