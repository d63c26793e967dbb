//! Whoever reads what a command writes. Tells of them only that they have left.

use std::io;

/// Whether writing failed because nobody reads any more, which is no failure of a command.
pub(super) fn has_left(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}
