//! Files that are this user's: where a demo may stand, and what nobody else may read.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// Where a demo stands if there is no place for run dirs.
pub(super) fn demo_dir() -> PathBuf {
    std::env::temp_dir().join(format!("usbpipe-demo-{}", nix::unistd::getuid()))
}

/// How a file is made that this user alone can read.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}
