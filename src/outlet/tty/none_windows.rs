//! Windows lets no program make a terminal that others take for a serial port. So nothing here has a value, and who
//! asks for one is told what there is instead.

use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::task::{Context, Poll};

use super::{Change, Place, Settings, Tty};
use crate::outlet::{DirError, Sink, Source, Watcher};

/// Where programs would open one.
pub enum TtyListener {}

/// What programs would read.
pub enum TtySink {}

/// What they would write.
pub enum TtySource {}

/// What else they would do.
pub enum TtyNews {}

/// Whether all of that was dealt with: nothing is left to be.
#[derive(Clone)]
pub struct Settling(());

impl TtyListener {
    /// Refuses.
    ///
    /// # Errors
    /// [`DirError`], always.
    pub fn new(place: Place, _settings: Settings, _watcher: &Watcher) -> Result<Self, DirError> {
        let Place { dir, name, access: _ } = place;
        let problem = "cannot be made: on Windows no program can make a serial port; open the pipe `serial`, or give \
                       the program the board's own COM port with `usbpipe release`";
        Err(DirError::new(&dir.path().join(name), problem))
    }

    /// Where it would stand.
    pub fn path(&self) -> PathBuf {
        match *self {}
    }

    /// Of all terminals.
    pub fn settling(&self) -> Settling {
        match *self {}
    }

    /// What the next program would find.
    pub fn set_up(&mut self, _settings: Settings) {
        match *self {}
    }

    /// The next program.
    ///
    /// # Errors
    /// None, as nothing can be asked.
    pub async fn accept(&mut self) -> Result<Tty, DirError> {
        match *self {}
    }
}

impl Settling {
    /// Whether there is nothing to wait for.
    pub fn is_settled(&self) -> bool {
        true
    }

    /// Waits for that.
    pub async fn settled(&self) {}
}

impl TtyNews {
    /// What a program did.
    pub async fn next(&mut self) -> Change {
        match *self {}
    }

    /// Whether no program has another one open.
    pub fn is_alone(&self) -> bool {
        match *self {}
    }

    /// Hangs up on programs.
    pub async fn hang_up(&self) {
        match *self {}
    }
}

impl Sink for TtySink {
    fn poll_write(&mut self, _cx: &mut Context<'_>, _slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match *self {}
    }

    fn poll_closed(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        match *self {}
    }
}

impl Source for TtySource {
    fn poll_read(&mut self, _cx: &mut Context<'_>, _buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match *self {}
    }
}
