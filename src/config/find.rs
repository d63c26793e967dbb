//! Where the configuration file is looked for. Reads nothing of it.

use std::fmt;
use std::path::{Path, PathBuf};

use super::folders;

/// There is no configuration file at any of the usual places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotFound {
    /// The places, in the order in which they were looked at.
    pub looked_at: Vec<PathBuf>,
}

/// The configuration file: `explicit` where given, else the first that exists of `usbpipe.toml` in the current
/// directory, on Unix `$XDG_CONFIG_HOME/usbpipe/` (else `~/.config/usbpipe/`) and `/etc/usbpipe/`, on Windows
/// `%APPDATA%\usbpipe` and `%PROGRAMDATA%\usbpipe`.
///
/// # Errors
/// None of them exists. An explicit file is not looked at: [`super::Config::load`] says why it cannot be read.
pub fn find(explicit: Option<&Path>) -> Result<PathBuf, NotFound> {
    if let Some(file) = explicit {
        return Ok(file.to_owned());
    }
    let folders = folders::all().into_iter().map(|folder| folder.join("usbpipe").join(FILE));
    let places: Vec<PathBuf> = [PathBuf::from(FILE)].into_iter().chain(folders).collect();
    let found = places.iter().find(|place| place.exists()).cloned();
    found.ok_or(NotFound { looked_at: places })
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no configuration file; looked for ")?;
        for (n, place) in self.looked_at.iter().enumerate() {
            write!(f, "{}{}", if n == 0 { "" } else { ", " }, place.display())?;
        }
        f.write_str("; create one of them or name one with -c FILE")
    }
}

impl std::error::Error for NotFound {}

const FILE: &str = "usbpipe.toml";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explicit_file_is_taken_as_it_is() {
        assert_eq!(find(Some(Path::new("/nowhere/x"))), Ok(PathBuf::from("/nowhere/x")));
    }

    #[test]
    fn a_failure_names_the_places() {
        let looked_at = [FILE, "/etc/usbpipe/usbpipe.toml"].map(PathBuf::from).to_vec();
        let text = NotFound { looked_at }.to_string();
        assert!(text.contains("looked for usbpipe.toml, /etc/usbpipe/usbpipe.toml; create"), "{text}");
    }
}
