//! How many descriptors this process may have: the soft limit is raised to the hard one, programs that it starts get the
//! one that it was started with, and some are kept for the daemon itself.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The soft limit that this process was started with; 0 while it is unchanged.
static BEFORE: AtomicU64 = AtomicU64::new(0);

/// Raises the soft limit as far as that is allowed. Once in a process; again changes nothing.
pub fn raise_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok()
    {
        BEFORE.store(soft, Ordering::Relaxed);
    }
}

/// Gives the limit back that this process was started with, between fork and exec of a program: many cannot deal with more
/// descriptors than select(2) can.
///
/// # Errors
/// Those of setrlimit(2).
pub fn restore_limit() -> io::Result<()> {
    match BEFORE.load(Ordering::Relaxed) {
        0 => Ok(()),
        soft => {
            let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
            Ok(setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?)
        }
    }
}

/// Checks that further devices leave some for those that are there, for commands and for programs.
///
/// # Errors
/// EMFILE where they do not.
pub fn check_descriptors() -> io::Result<()> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    // The kernel gives the lowest number that is free.
    let number = File::open("/dev/null")?.as_raw_fd();
    let left = soft.saturating_sub(u64::try_from(number).unwrap_or_default());
    if left < KEPT.min(soft / 4) { Err(Errno::EMFILE.into()) } else { Ok(()) }
}

/// Whether this descriptor, which was just made, is one of the last that there may be.
pub(super) fn is_one_of_the_last(fd: &impl AsRawFd) -> bool {
    let number = u64::try_from(fd.as_raw_fd()).unwrap_or_default();
    getrlimit(Resource::RLIMIT_NOFILE).is_ok_and(|(soft, _)| number + FEW >= soft)
}

/// Descriptors that new connections leave: what is connected needs one more while it waits for the reactor.
const FEW: u64 = 8;
/// Descriptors that devices leave.
const KEPT: u64 = 64;
