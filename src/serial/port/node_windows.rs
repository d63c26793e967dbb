//! COM ports by their names. This version opens none and says so.

use std::fs::File;
use std::path::Path;

use crate::usb::{OpenError, port_permission_advice};

/// Refuses.
///
/// # Errors
/// [`OpenError::Denied`], always.
pub(super) fn open(path: &Path) -> Result<File, OpenError> {
    let text = "cannot be bridged: COM ports are not supported yet; write driver = \"user\" to use the device over USB";
    Err(OpenError::Denied(format!("{} {text}", path.display())))
}

/// The other programs that have the port open: Windows does not say who.
pub fn others(_path: &Path) -> Option<String> {
    None
}

/// What somebody can do who may not open the port at `path`.
pub fn permission_advice(path: &Path) -> String {
    port_permission_advice(path)
}

/// Who has a port, if nobody can say.
pub const UNSEEN: &str = "another program";
