//! Folders of configurations on Windows: this user's, and everybody's.

use std::env;
use std::path::PathBuf;

/// The folders, in the order in which they are looked at.
pub(super) fn all() -> Vec<PathBuf> {
    let set = |name| env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
    [set("APPDATA"), set("PROGRAMDATA")].into_iter().flatten().collect()
}
