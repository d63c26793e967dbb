//! The program run by somebody without any rights. Refuses to give rights.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Debian's `nobody` and `nogroup`.
const NOBODY: u32 = 65534;

/// The program under test as a user without rights, with an empty environment and a runtime folder of its own.
pub(super) fn usbpipe() -> Command {
    let home = Path::new("/run/nobody");
    fs::create_dir_all(home).unwrap();
    std::os::unix::fs::chown(home, Some(NOBODY), Some(NOBODY)).unwrap();
    let mut command = Command::new(readable_program(Path::new("/run/usbpipe-for-all")));
    command.env_clear().env("XDG_RUNTIME_DIR", home).env("HOME", home).current_dir("/");
    // Without groups, too: setgroups comes with uid for a process of root.
    command.uid(NOBODY).gid(NOBODY);
    command
}

/// A copy of the program where everybody may reach it: a folder above the original may be private.
fn readable_program(copy: &Path) -> &Path {
    if !copy.exists() {
        let new = copy.with_extension("new");
        fs::copy(env!("CARGO_BIN_EXE_usbpipe"), &new).unwrap();
        fs::set_permissions(&new, Permissions::from_mode(0o755)).unwrap();
        fs::rename(&new, copy).unwrap();
    }
    copy
}
