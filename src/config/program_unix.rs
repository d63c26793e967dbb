//! Where a program is on Unix: what execvp(3) would start. It starts nothing.

use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The program of this name: a path that begins at `folder`, or a name that is looked for on PATH.
///
/// # Errors
/// Where it was looked for, and what to do, in words for people.
pub(super) fn find(word: &str, folder: &Path) -> Result<PathBuf, String> {
    if word.contains('/') {
        let path = folder.join(word);
        return match kind(&path) {
            Kind::Program => Ok(path),
            Kind::Missing => Err(format!("{} is not there; put it there, or correct `run`", path.display())),
            Kind::Other => Err(format!("{0} is no program; try chmod +x {0}, or correct `run`", path.display())),
        };
    }
    let searched = env::var_os("PATH").unwrap_or_else(|| USUAL_PATH.into());
    let found = env::split_paths(&searched).map(|folder| folder.join(word)).find(|path| kind(path) == Kind::Program);
    found.ok_or_else(|| {
        let searched = searched.to_string_lossy();
        format!("no folder of PATH ({searched}) has a program {word:?}; install it, or write its whole path in `run`")
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Program,
    Missing,
    /// A folder, or a file that nobody may run.
    Other,
}

fn kind(path: &Path) -> Kind {
    match path.metadata() {
        Ok(found) if found.is_file() && found.permissions().mode() & 0o111 != 0 => Kind::Program,
        Ok(_) => Kind::Other,
        Err(_) => Kind::Missing,
    }
}

/// Of execvp(3), without PATH.
const USUAL_PATH: &str = "/bin:/usr/bin";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_for_on_path_and_a_path_from_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        assert!(find("sh", dir.path()).unwrap().ends_with("sh"));
        let told = find("no-such-program", dir.path()).unwrap_err();
        assert!(told.contains(&env::var("PATH").unwrap()) && told.contains("whole path"), "{told}");
        std::fs::write(dir.path().join("logger"), "").unwrap();
        let told = find("./logger", dir.path()).unwrap_err();
        assert!(told.contains("chmod +x") && told.contains(dir.path().to_str().unwrap()), "{told}");
        assert!(find("./gone", dir.path()).unwrap_err().contains("is not there"));
        assert_eq!(find("/bin/sh", dir.path()), Ok(PathBuf::from("/bin/sh")));
    }
}
