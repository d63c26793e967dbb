//! The terminal that waits for a program behind the link, as a socket waits for a client.
//!
//! inotify tells when it is opened; the next one takes its place then. It refuses to touch terminals that are in use.

use std::future::poll_fn;
use std::io;
use std::path::PathBuf;

use super::all_linux::Settling;
use super::pty_linux::Pty;
use super::{Place, Settings, Tty};
use crate::outlet::{Changes, DirError, Watcher};

/// A link that leads to a terminal which nobody has opened yet.
pub struct TtyListener {
    place: Place,
    watcher: Watcher,
    settings: Settings,
    waiting: Option<Waiting>,
    all: Settling,
}

struct Waiting {
    pty: Pty,
    openings: Changes,
}

impl TtyListener {
    /// Makes a terminal with these settings, and then the link to it, which takes the place of an old one.
    ///
    /// # Errors
    /// [`DirError`] when the link cannot be made, or there are no more terminals.
    pub fn new(place: Place, settings: Settings, watcher: &Watcher) -> Result<Self, DirError> {
        let mut listener =
            Self { place, watcher: watcher.clone(), settings, waiting: None, all: Settling::new(watcher) };
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
        if let Some(Waiting { pty, .. }) = self.waiting.as_ref().filter(|waiting| waiting.pty.is_untouched())
            && let Err(e) = pty.set_up(settings)
        {
            tracing::error!("{}: its speed cannot be set: {e}", self.path().display());
        }
    }

    /// Waits until a program opens the terminal. To be called again at once: only then does the next terminal wait.
    ///
    /// # Errors
    /// [`DirError`] when there is none for the next program; programs that come now share the last one.
    pub async fn accept(&mut self) -> Result<Tty, DirError> {
        let openings = &mut self.prepare()?.openings;
        poll_fn(|cx| openings.poll_changed(cx)).await;
        self.all.set_waiting(None);
        let pty = self.waiting.take().map(|waiting| waiting.pty);
        let tty = pty.ok_or_else(|| io::ErrorKind::NotFound.into()).and_then(|pty| Tty::new(pty, &self.all));
        tty.map_err(|e| DirError::from_io(&self.path(), "what a program has opened cannot be used", e))
    }

    fn prepare(&mut self) -> Result<&mut Waiting, DirError> {
        let waiting = match self.waiting.take() {
            Some(waiting) => waiting,
            None => self.place.furnish(self.settings, &self.watcher)?,
        };
        self.all.set_waiting(Some(&waiting.pty));
        Ok(self.waiting.insert(waiting))
    }
}

impl Drop for TtyListener {
    fn drop(&mut self) {
        self.all.set_waiting(None);
    }
}

impl Place {
    fn furnish(&self, settings: Settings, watcher: &Watcher) -> Result<Waiting, DirError> {
        let cannot = |e| DirError::from_io(&self.dir.path().join(&self.name), "cannot make a terminal", e);
        let pty = Pty::new(settings).map_err(cannot)?;
        self.dir.grant(pty.node(), MODE, &self.access)?;
        let openings = watcher.watch_openings(pty.node()).map_err(cannot)?;
        self.dir.link(&self.name, pty.node())?;
        Ok(Waiting { pty, openings })
    }
}

/// As sockets: whoever may write to the device may read from it.
const MODE: u32 = 0o660;
