//! Hot path. Whether anything but bytes came of any terminal since the last time: an epoll(7) instance of its own.
//!
//! It costs a look at an empty list while bytes are all that comes; poll(2) would ask each terminal, and wait for what
//! the kernel has yet to move there. It tells that there may be something, and refuses to know what. What a program does
//! is in that list before the program goes on.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::pty_linux::Pty;
use crate::outlet::Watcher;

/// The terminals behind one link; those that are closed leave by themselves.
pub(super) struct Stirring {
    /// None where not all of them can be heard, for want of descriptors or memory.
    epoll: Option<Epoll>,
}

impl Stirring {
    /// Of no terminals yet. That one was opened is told by this watcher only.
    pub(super) fn new(watcher: &Watcher) -> Self {
        let mut stirring = Self { epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).ok() };
        stirring.listen(watcher, EpollFlags::EPOLLIN);
        stirring
    }

    pub(super) fn add(&mut self, pty: &Pty) {
        self.listen(pty, EpollFlags::EPOLLPRI);
    }

    /// Whether there was anything since this was last asked.
    pub(super) fn is_any(&self) -> bool {
        let Some(epoll) = &self.epoll else { return true };
        epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO) != Ok(0)
    }

    /// Whatever is told is told once, so that a terminal which nobody has open does not stir for ever.
    fn listen(&mut self, to: impl AsFd, what: EpollFlags) {
        let event = EpollEvent::new(what | EpollFlags::EPOLLET, 0);
        if self.epoll.as_ref().is_some_and(|epoll| !matches!(epoll.add(to, event), Ok(()) | Err(Errno::EEXIST))) {
            self.epoll = None;
        }
    }
}
