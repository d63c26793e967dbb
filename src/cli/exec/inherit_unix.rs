//! Which descriptors a command is born with: those that it is given, under the numbers that were asked for.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::session::keep_descriptors;

/// Gives the command these descriptors under these numbers, until the command is dropped.
///
/// # Errors
/// When a number is higher than this process may have.
pub(super) fn give(command: &mut Command, given: Vec<(RawFd, OwnedFd)>) -> io::Result<()> {
    let above = given.iter().map(|(number, _)| number + 1).max().unwrap_or(0);
    let moved: io::Result<Vec<_>> = given.iter().map(|(number, fd)| Ok((*number, copy_from(above, fd)?))).collect();
    let moved = moved?;
    let reserved: io::Result<Vec<_>> = given.iter().map(|(number, fd)| reserve(*number, fd)).collect();
    let reserved = reserved?;
    let place = move || {
        // Also what was given: its numbers may be among those that were asked for.
        let _held = (&reserved, &given);
        moved.iter().try_for_each(|(number, fd)| place_at(*number, fd))
    };
    // SAFETY: between fork and exec it calls dup2 alone, which is async-signal-safe, and allocates nothing.
    unsafe { command.pre_exec(place) };
    Ok(())
}

/// The process that starts the command opens descriptors of its own, which must not be where the command's will be.
fn reserve(number: RawFd, any: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    let taken = copy_from(number, any)?;
    Ok(Some(taken).filter(|taken| taken.as_raw_fd() == number))
}

/// A copy, close-on-exec, with the lowest free number that is not below `least`.
fn copy_from(least: RawFd, fd: &OwnedFd) -> io::Result<OwnedFd> {
    let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(least))?;
    // SAFETY: fcntl has just made this descriptor, and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// The copy is not close-on-exec: dup(2).
fn place_at(number: RawFd, fd: &OwnedFd) -> io::Result<()> {
    // SAFETY: dup2 takes numbers and touches no memory; what had this number belongs to the process that was forked.
    match unsafe { libc::dup2(fd.as_raw_fd(), number) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Lets the command inherit nothing that somebody left open for this process, but for what its words name as `/dev/fd/63`,
/// as a shell does for `>(…)`.
pub(super) fn keep_others_from(command: &[OsString]) {
    keep_descriptors(|number| command.iter().any(|word| names(word, number)));
}

fn names(word: &OsStr, number: RawFd) -> bool {
    let Some(word) = word.to_str() else { return false };
    let follows = |at: usize, name: &str| !word[at + name.len()..].starts_with(|c: char| c.is_ascii_digit());
    let is_there = |name: String| word.match_indices(&name).any(|(at, _)| follows(at, &name));
    ["/dev/fd", "/proc/self/fd"].into_iter().any(|folder| is_there(format!("{folder}/{number}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_is_named_by_its_whole_number() {
        for (word, is_named) in [
            ("/dev/fd/6", true),
            ("--out=/dev/fd/6,/dev/fd/7", true),
            ("/proc/self/fd/6", true),
            ("/dev/fd/63", false),
            ("/dev/fd/63 /dev/fd/6", true),
            ("/dev/fd/", false),
            ("6", false),
        ] {
            assert_eq!(names(OsStr::new(word), 6), is_named, "{word}");
        }
    }
}
