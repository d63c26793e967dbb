//! Programs whose daemon is killed: nobody is left to end them then but the kernel.

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use tokio::process::Command;

/// The program gets SIGTERM when the thread that starts it ends: prctl(2), PR_SET_PDEATHSIG. In a daemon that thread is the one
/// that does everything.
pub(super) fn end_with_this_process(command: &mut Command) {
    // SAFETY: between fork and exec it makes one system call, and allocates nothing.
    unsafe { command.pre_exec(|| set_pdeathsig(Signal::SIGTERM).map_err(Into::into)) };
}
