//! Modes that a program set without EXTPROC: the kernel neither reports what it sets from then on, nor keeps bytes as they
//! are if the program asked for echo or line editing.
//!
//! ```text
//!              a program clears EXTPROC                          the same for `RELISTEN`, or bytes wait for a program
//!   reported ───────────────────────────► unheard: compared ───── that asked for echo, for longer than `GRACE` ────►
//!      ▲                                   now and then                                           EXTPROC is set again ─┐
//!      └──────────────────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! EXTPROC cannot be set again at once: programs read back what they set and compare it (`stty` does). It refuses to know
//! which bytes wait.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::libc::{self, termios2};

use super::pty_linux::{News, Pty};

/// The modes that were seen last, while EXTPROC is off.
#[derive(Default)]
pub(super) struct Unheard {
    seen: Mutex<Option<Seen>>,
    is_any: AtomicBool,
}

struct Seen {
    modes: termios2,
    /// When they were set.
    since: Instant,
}

impl Unheard {
    /// Whether the kernel reports nothing now.
    pub(super) fn is_any(&self) -> bool {
        self.is_any.load(Ordering::Relaxed)
    }

    /// The terminal is set up anew, or reported by the kernel again.
    pub(super) fn forget(&self) {
        self.set(None);
    }

    fn set(&self, seen: Option<Seen>) -> Option<Seen> {
        self.is_any.store(seen.is_some(), Ordering::Relaxed);
        std::mem::replace(&mut self.seen(), seen)
    }

    fn seen(&self) -> MutexGuard<'_, Option<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pty {
    /// A program set something, or may have: notes whether the kernel goes on reporting.
    ///
    /// # Errors
    /// Those of ioctl_tty(2).
    pub(super) fn note_modes(&self) -> io::Result<()> {
        let modes = self.get()?;
        let is_off = modes.c_lflag & libc::EXTPROC == 0;
        self.unheard.set(is_off.then(|| Seen { modes, since: Instant::now() }));
        Ok(())
    }

    /// Whether a program set something that the kernel did not report.
    pub(super) fn has_unheard(&self) -> bool {
        if !self.unheard.is_any() {
            return false;
        }
        let seen = self.unheard.seen();
        seen.as_ref().is_some_and(|seen| self.get().is_ok_and(|now| !is_same(&now, &seen.modes)))
    }

    /// For how long programs have had modes with which bytes for them would be echoed or edited; `None` while they would not.
    pub(super) fn cooked_for(&self) -> Option<Duration> {
        if !self.unheard.is_any() {
            return None;
        }
        self.unheard.seen().as_ref().filter(|seen| !is_raw(&seen.modes)).map(|seen| seen.since.elapsed())
    }

    /// Whether the program has had its modes for so long that it compares them no more.
    pub(super) fn is_settled_down(&self) -> bool {
        self.unheard.seen().as_ref().is_some_and(|seen| seen.since.elapsed() >= RELISTEN)
    }

    /// Has the kernel report again, by EXTPROC. Says what else there was to hear meanwhile.
    ///
    /// # Errors
    /// Those of ioctl_tty(2).
    pub(super) fn listen_again(&self) -> io::Result<News> {
        let before = self.get()?;
        let modes = termios2 { c_lflag: before.c_lflag | libc::EXTPROC, ..before };
        self.put(&modes)?;
        let last = self.unheard.set(None);
        let news = self.news().without_set();
        let is_set = !is_same(&self.get()?, &modes) || last.is_none_or(|last| !is_same(&last.modes, &before));
        let mut all = if is_set { News::SET } else { News::default() };
        all.add(news);
        Ok(all)
    }
}

fn is_same(a: &termios2, b: &termios2) -> bool {
    let flags = |modes: &termios2| [modes.c_iflag, modes.c_oflag, modes.c_cflag, modes.c_lflag];
    flags(a) == flags(b) && (a.c_ispeed, a.c_ospeed, a.c_line, a.c_cc) == (b.c_ispeed, b.c_ospeed, b.c_line, b.c_cc)
}

/// Whether the kernel passes bytes to programs as they are: `n_tty_set_termios` of Linux.
fn is_raw(modes: &termios2) -> bool {
    modes.c_iflag & COOKED_INPUT == 0 && modes.c_lflag & (libc::ICANON | libc::ISIG | libc::ECHO) == 0
}

const COOKED_INPUT: libc::tcflag_t =
    libc::ISTRIP | libc::IUCLC | libc::IGNCR | libc::ICRNL | libc::INLCR | libc::IXON | libc::PARMRK;
/// How long a program is given to read back what it set before bytes go to it. Shorter than any patience.
pub(super) const GRACE: Duration = Duration::from_millis(250);
/// The same while no bytes go to it, or while they are not changed on their way.
const RELISTEN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    fn modes(pty: &Pty, change: impl FnOnce(&mut termios2)) {
        let mut modes = pty.get().unwrap();
        change(&mut modes);
        pty.put(&modes).unwrap();
        pty.news();
    }

    #[test]
    fn what_is_set_without_extproc_is_found_by_comparing_and_only_then() {
        let pty = Pty::new(Settings { speed: 9600, ..Settings::default() }).unwrap();
        pty.note_modes().unwrap();
        assert!(!pty.unheard.is_any() && pty.cooked_for().is_none());
        modes(&pty, |modes| modes.c_lflag = 0);
        pty.note_modes().unwrap();
        assert!(pty.unheard.is_any() && !pty.has_unheard() && pty.cooked_for().is_none());
        modes(&pty, |modes| modes.c_cc[libc::VMIN] = 7);
        assert!(pty.has_unheard());
        modes(&pty, |modes| modes.c_lflag = libc::ECHO);
        pty.note_modes().unwrap();
        assert!(pty.cooked_for().is_some_and(|time| time < GRACE) && !pty.is_settled_down());
        assert!(pty.listen_again().unwrap().is_none(), "nothing was set by a program");
        assert!(!pty.unheard.is_any() && pty.get().unwrap().c_lflag == libc::ECHO | libc::EXTPROC);
        pty.note_modes().unwrap();
        assert!(!pty.unheard.is_any());
    }

    #[test]
    fn what_was_set_meanwhile_is_told_when_the_kernel_reports_again() {
        let pty = Pty::new(Settings { speed: 9600, ..Settings::default() }).unwrap();
        modes(&pty, |modes| modes.c_lflag = 0);
        pty.note_modes().unwrap();
        modes(&pty, |modes| modes.c_iflag = libc::IGNBRK);
        assert!(pty.listen_again().unwrap().is_set());
    }
}
