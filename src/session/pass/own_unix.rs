//! Descriptors that no program shall inherit. It closes none of them.

use std::fs;
use std::os::fd::{BorrowedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// Makes every descriptor of this process close-on-exec, also those that somebody left open for it, but for stdin, stdout,
/// stderr and those of which `but` says so.
pub fn keep_descriptors(but: impl Fn(RawFd) -> bool) {
    let Ok(open) = fs::read_dir(OPEN) else { return };
    let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    for number in numbers.filter(|&number| number > STDERR && !but(number)).collect::<Vec<RawFd>>() {
        // SAFETY: the descriptor was there a moment ago and is used for this one call, which closes nothing.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        // What has gone by now is inherited by nobody.
        let _ = fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
    }
}

/// Where a process finds its own descriptors.
const OPEN: &str = "/dev/fd";
const STDERR: RawFd = 2;
