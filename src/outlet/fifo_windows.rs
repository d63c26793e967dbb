//! Windows has no FIFOs: a pipe there has its programs one by one, as a socket has. So nothing here has a value.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};
use std::time::Duration;

use super::{CompetingReaders, Sink, Source, StandingSink, StandingSource, Watcher};

/// The name of one.
#[derive(Debug, Clone)]
pub enum Node {}

impl Node {
    /// Where it would be.
    pub fn path(&self) -> &Path {
        match *self {}
    }
}

/// What several programs would read.
pub enum InFifo {}

/// What several programs would write.
pub enum OutFifo {}

impl InFifo {
    /// Refuses.
    ///
    /// # Errors
    /// `Unsupported`, always.
    pub fn new(_node: Node, _watcher: &Watcher, _packet_mode: bool) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Would end it.
    ///
    /// # Errors
    /// None, as nothing can be asked.
    pub fn end(&mut self) -> io::Result<()> {
        match *self {}
    }

    /// Would begin it anew.
    ///
    /// # Errors
    /// None, as nothing can be asked.
    pub async fn begin(&mut self, _patience: Duration) -> io::Result<()> {
        match *self {}
    }

    /// Where it would stand.
    pub fn path(&self) -> &Path {
        match *self {}
    }

    /// Where it would be for the system.
    pub fn inner_path(&self) -> PathBuf {
        match *self {}
    }

    /// Told of second readers.
    pub fn competing(&self) -> CompetingReaders {
        match *self {}
    }
}

impl OutFifo {
    /// Refuses.
    ///
    /// # Errors
    /// `Unsupported`, always.
    pub fn new(_node: Node, _watcher: &Watcher) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Would end it.
    ///
    /// # Errors
    /// None, as nothing can be asked.
    pub fn end(&mut self) -> io::Result<usize> {
        match *self {}
    }

    /// Would begin it anew.
    ///
    /// # Errors
    /// None, as nothing can be asked.
    pub async fn begin(&mut self, _patience: Duration) -> io::Result<()> {
        match *self {}
    }

    /// Where it would stand.
    pub fn path(&self) -> &Path {
        match *self {}
    }
}

impl Sink for InFifo {
    fn poll_write(&mut self, _cx: &mut Context<'_>, _slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match *self {}
    }

    fn poll_closed(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        match *self {}
    }
}

impl StandingSink for InFifo {
    fn is_open(&self) -> bool {
        match *self {}
    }

    fn poll_came(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        match *self {}
    }

    fn discard(&mut self) -> usize {
        match *self {}
    }

    fn take_back(&mut self) -> Vec<u8> {
        match *self {}
    }

    fn rest(&mut self) {
        match *self {}
    }
}

impl Source for OutFifo {
    fn poll_read(&mut self, _cx: &mut Context<'_>, _buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match *self {}
    }
}

impl StandingSource for OutFifo {
    fn is_open(&self) -> bool {
        match *self {}
    }

    fn poll_came(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        match *self {}
    }
}
