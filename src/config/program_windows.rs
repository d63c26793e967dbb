//! Where a program is on Windows: what CreateProcess would start. It starts nothing.

use std::env;
use std::path::{Path, PathBuf};

/// The program of this name: a path that begins at `folder`, or a name that is looked for where Windows looks.
///
/// # Errors
/// Where it was looked for, and what to do, in words for people.
pub(super) fn find(word: &str, folder: &Path) -> Result<PathBuf, String> {
    if word.contains(['/', '\\', ':']) {
        let path = folder.join(word);
        return as_named(path.clone())
            .ok_or_else(|| format!("{} is not there; put it there, or correct `run`", path.display()));
    }
    let searched = env::var_os("PATH").unwrap_or_default();
    let own = env::current_exe().ok().and_then(|path| path.parent().map(Path::to_owned));
    let system = env::var_os("SystemRoot").map(PathBuf::from);
    let system = system.iter().flat_map(|root| [root.join("System32"), root.clone()]);
    let mut folders = own.into_iter().chain(system).chain(env::split_paths(&searched));
    folders.find_map(|folder| as_named(folder.join(word))).ok_or_else(|| {
        let searched = searched.to_string_lossy();
        format!("no folder of PATH ({searched}) has a program {word:?}; install it, or write its whole path in `run`")
    })
}

/// With the `.exe` that may be left out.
fn as_named(path: PathBuf) -> Option<PathBuf> {
    let with_exe = PathBuf::from(format!("{}.exe", path.display()));
    [path, with_exe].into_iter().find(|path| path.is_file())
}
