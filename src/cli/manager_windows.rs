//! Who started a daemon in the foreground is a person, who reads what it says: nobody else is to be told.

/// Outlets and commands work.
pub(super) fn ready() {}

/// The end has begun.
pub(super) fn stopping() {}
