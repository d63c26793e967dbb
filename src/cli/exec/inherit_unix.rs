//! Which descriptors a command is born with: those that it is given, under the numbers that were asked for.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::wanted::{Descriptor, Name};
use crate::session::Pass;
use crate::session::keep_descriptors;

/// Whether a pipe can be named as a path: a socket has none, so that `{serial}` stands for nothing.
pub(super) fn has_path(name: Name) -> bool {
    name != Name::Serial
}

/// The path of the descriptor that stands for this pipe, the same in all words.
pub(super) fn number(name: Name, descriptors: &mut Vec<Descriptor>) -> Option<String> {
    let known = descriptors.iter().find(|d| d.name == name && d.pass == Pass::Pipe).map(|d| d.number);
    let number = known.unwrap_or_else(|| {
        let is_free = |number: &i32| descriptors.iter().all(|d| d.number != *number);
        let number = (FIRST_FREE..).find(is_free).unwrap_or(FIRST_FREE);
        descriptors.push(Descriptor { number, name, pass: Pass::Pipe });
        number
    });
    Some(format!("/dev/fd/{number}"))
}

/// The file in the device's folder: for pipes that have no number, of which there are none here.
pub(super) fn outlet(name: Name) -> String {
    name.to_string()
}

/// What to do for a port where there is none.
pub(super) fn no_port(device: &str) -> String {
    format!("{device} has no serial.tty for {{port}}; add \"tty\" to its `outlets`")
}

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

/// Shells and their scripts use those below.
const FIRST_FREE: i32 = 10;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::cli::args::ExecArgs;
    use crate::cli::exec::plan::Plan;
    use crate::cli::options::BridgeArgs;

    fn plan(fd: &str, command: &[&str]) -> Plan {
        let (device, fd) = ("d".to_owned(), vec![fd.parse().unwrap()]);
        let command = command.iter().map(OsString::from).collect();
        Plan::new(ExecArgs {
            device,
            input: None,
            output: None,
            serial: false,
            fd,
            options: BridgeArgs::default(),
            command,
        })
        .unwrap()
    }

    #[test]
    fn a_pipe_in_braces_is_a_descriptor_with_a_path() {
        let plan = plan("10=ep_02", &["cmp", "{ep_81}", "x{ep_82},{ep_02}", "{ep_81}"]);
        let words = ["/dev/fd/11", "x/dev/fd/12,/dev/fd/10", "/dev/fd/11"];
        assert_eq!(plan.arguments(None, Path::new("/r/d")), words);
        let numbers: Vec<(i32, String)> = plan.descriptors.iter().map(|d| (d.number, d.name.to_string())).collect();
        assert_eq!(numbers, [(10, "ep_02".into()), (11, "ep_81".into()), (12, "ep_82".into())]);
    }

    #[test]
    fn other_braces_are_the_commands_own() {
        let words = ["{81}", "{serial}", "{ep_81", "{}{", "${x}"];
        let plan = plan("3=ep_81", &[&["awk"], &words[..]].concat());
        assert_eq!(plan.arguments(None, Path::new("/r/d")), words);
    }

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
