//! A timer that costs nothing while it runs: timerfd_create(2). With a timer of the reactor's library pending, each sleep
//! of the reactor has the kernel set one and take it back.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::task::{Context, Poll};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::{CLOCK_MONOTONIC, TFD_CLOEXEC, TFD_NONBLOCK, itimerspec, timerfd_create, timerfd_settime, timespec};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// One timer, which fires once for each time that it is set.
#[derive(Debug)]
pub(super) struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    /// # Errors
    /// Those of timerfd_create(2) and epoll_ctl(2).
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: the call takes no pointer.
        let fd = Errno::result(unsafe { timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC) })?;
        // SAFETY: the kernel has just made this descriptor, and nobody else knows its number.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: an `OwnedFd` owns its descriptor, and gives the same number for as long as it lives.
        Ok(Self(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?))
    }

    /// Has it fire after `time`, which is less than a second and not nothing.
    ///
    /// # Errors
    /// Those of timerfd_settime(2).
    pub(super) fn set(&self, time: Duration) -> io::Result<()> {
        let once = timespec { tv_sec: 0, tv_nsec: 0 };
        let after = timespec { tv_sec: 0, tv_nsec: time.subsec_nanos().into() };
        let spec = itimerspec { it_interval: once, it_value: after };
        // SAFETY: the kernel reads `spec`, which outlives the call, and writes nothing where the old value is not wanted.
        Errno::result(unsafe { timerfd_settime(self.0.as_raw_fd(), 0, &raw const spec, std::ptr::null_mut()) })?;
        Ok(())
    }

    /// Ready once after each time that it fired.
    pub(super) fn poll_fired(&self, cx: &mut Context<'_>) -> Poll<()> {
        // What it counts is not read: to set it forgets that.
        self.0.poll_read_ready(cx).map(|ready| {
            if let Ok(mut ready) = ready {
                ready.clear_ready();
            }
        })
    }
}
