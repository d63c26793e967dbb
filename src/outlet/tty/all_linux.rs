//! Hot path. All terminals behind one link together: whether anything was done to any of them that has yet to be dealt
//! with. One system call tells, also of what the reactor has not been told yet, and a cheap one as long as bytes are all
//! that comes.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::libc::{POLLHUP, POLLPRI, nfds_t, poll, pollfd};
use tokio::sync::Notify;

use super::pty_linux::Pty;
use super::stirring_linux::Stirring;
use crate::outlet::Watcher;

/// Tells whether all that programs did to the terminals behind one link has been dealt with.
#[derive(Clone)]
pub struct Settling(Arc<All>);

struct All {
    state: Mutex<State>,
    progress: Notify,
}

struct State {
    /// The masters of the terminals that nobody has open, and then those that are in use. Each is removed before it is
    /// closed.
    masters: Vec<pollfd>,
    /// How many of them nobody has open.
    idle: usize,
    stirring: Stirring,
    /// Those in use of which the kernel reports nothing: [`super::unheard_linux`].
    unheard: Vec<Arc<Pty>>,
    /// Whether there is nothing new at any of them unless something stirs.
    is_quiet: bool,
    /// Of how many terminals something was seen and not dealt with.
    held: usize,
}

impl Settling {
    /// Of no terminals yet; their openings are told by this watcher.
    pub(super) fn new(watcher: &Watcher) -> Self {
        let stirring = Stirring::new(watcher);
        let (masters, unheard) = (Vec::new(), Vec::new());
        let state = State { masters, idle: 0, stirring, unheard, is_quiet: false, held: 0 };
        Self(Arc::new(All { state: Mutex::new(state), progress: Notify::new() }))
    }

    /// Whether there is nothing to wait for.
    pub fn is_settled(&self) -> bool {
        let mut state = self.state();
        state.held == 0 && !state.has_news()
    }

    /// Whether no program has another terminal than this one open.
    pub(super) fn is_alone(&self, master: RawFd) -> bool {
        let mut state = self.state();
        state.look();
        state.masters[state.idle..].iter().all(|other| other.fd == master || other.revents & POLLHUP != 0)
    }

    /// Waits until there is nothing to wait for.
    pub async fn settled(&self) {
        loop {
            let progress = self.0.progress.notified();
            if self.is_settled() {
                return;
            }
            progress.await;
        }
    }

    pub(super) fn set_idle<'a>(&self, idle: impl Iterator<Item = &'a Arc<Pty>>) {
        let mut state = self.state();
        let before = state.idle;
        let mut now = Vec::with_capacity(before + 1);
        for pty in idle {
            if !state.masters[..before].iter().any(|old| old.fd == pty.as_raw_fd()) {
                state.heed(pty);
            }
            now.push(entry(pty.as_raw_fd()));
        }
        state.idle = now.len();
        state.masters.splice(..before, now);
    }

    /// Whether the kernel reports what programs set at this terminal, which is in use.
    pub(super) fn set_unheard(&self, pty: &Arc<Pty>, is_unheard: bool) {
        let mut state = self.state();
        state.unheard.retain(|other| !Arc::ptr_eq(other, pty));
        if is_unheard {
            state.unheard.push(pty.clone());
        }
    }

    /// A terminal is in use, and that has yet to be dealt with.
    pub(super) fn add(&self, pty: &Pty) {
        let mut state = self.state();
        state.heed(pty);
        state.masters.push(entry(pty.as_raw_fd()));
        state.held += 1;
    }

    /// A terminal is about to be closed.
    pub(super) fn remove(&self, master: RawFd, is_held: bool) {
        let mut state = self.state();
        state.unheard.retain(|pty| pty.as_raw_fd() != master);
        let State { masters, idle, .. } = &mut *state;
        let used = masters.split_off(*idle);
        masters.extend(used.into_iter().filter(|entry| entry.fd != master));
        state.held -= usize::from(is_held);
        self.0.progress.notify_waiters();
    }

    pub(super) fn hold(&self) {
        self.state().held += 1;
    }

    pub(super) fn let_go(&self) {
        self.state().held -= 1;
        self.0.progress.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether the reactor will tell of something: that a program has opened one that is idle, or was there and set
    /// something, or has set another.
    fn has_news(&mut self) -> bool {
        if self.unheard.iter().any(|pty| pty.has_unheard()) {
            return true;
        }
        if self.is_quiet && !self.stirring.is_any() {
            return false;
        }
        let is_answered = self.look();
        let is_opened = self.masters[..self.idle].iter().any(|idle| idle.revents & POLLHUP == 0);
        let is_set = self.masters.iter().any(|any| any.revents & POLLPRI != 0);
        self.is_quiet = is_answered && !is_opened && !is_set;
        is_opened || is_set
    }

    fn heed(&mut self, pty: &Pty) {
        self.is_quiet = false;
        self.stirring.add(pty);
    }

    /// Says whether there was an answer. Without one, for want of memory, there is no news.
    fn look(&mut self) -> bool {
        self.masters.iter_mut().for_each(|entry| entry.revents = POLLHUP);
        // SAFETY: the entries are ours, as many as is said, and outlive the call, which does not wait.
        unsafe { poll(self.masters.as_mut_ptr(), self.masters.len() as nfds_t, 0) >= 0 }
    }
}

fn entry(fd: RawFd) -> pollfd {
    pollfd { fd, events: POLLPRI, revents: 0 }
}
