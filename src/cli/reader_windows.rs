//! Whoever reads what a command writes. Tells of them only that they have left.

use std::io;

use windows_sys::Win32::Foundation::ERROR_PIPE_NOT_CONNECTED;

/// Whether writing failed because nobody reads any more, which is no failure of a command. A named pipe says so in words
/// of its own.
pub(super) fn has_left(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe || error.raw_os_error() == Some(ERROR_PIPE_NOT_CONNECTED.cast_signed())
}
