//! Where the configuration file is looked for. Reads nothing of it.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// There is no configuration file at any of the usual places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotFound {
    /// The places, in the order in which they were looked at.
    pub looked_at: Vec<PathBuf>,
}

/// The configuration file: `explicit` where given, else the first that exists of `usbpipe.toml` in the current
/// directory, `$XDG_CONFIG_HOME/usbpipe/` (else `~/.config/usbpipe/`) and `/etc/usbpipe/`.
///
/// # Errors
/// None of them exists. An explicit file is not looked at: [`super::Config::load`] says why it cannot be read.
pub fn find(explicit: Option<&Path>) -> Result<PathBuf, NotFound> {
    if let Some(file) = explicit {
        return Ok(file.to_owned());
    }
    let places = places(env::var_os("XDG_CONFIG_HOME"), env::var_os("HOME"));
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

fn places(xdg_config_home: Option<OsString>, home: Option<OsString>) -> Vec<PathBuf> {
    // The XDG base directory specification has relative paths ignored.
    let xdg = xdg_config_home.map(PathBuf::from).filter(|dir| dir.is_absolute());
    let home = home.filter(|dir| !dir.is_empty()).map(|dir| PathBuf::from(dir).join(".config"));
    let dirs = xdg.or(home).map(|dir| dir.join("usbpipe")).into_iter().chain([PathBuf::from("/etc/usbpipe")]);
    [PathBuf::from(FILE)].into_iter().chain(dirs.map(|dir| dir.join(FILE))).collect()
}

const FILE: &str = "usbpipe.toml";

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(xdg: Option<&str>, home: Option<&str>) -> Vec<String> {
        places(xdg.map(Into::into), home.map(Into::into)).iter().map(|place| place.display().to_string()).collect()
    }

    #[test]
    fn the_current_directory_goes_first_and_etc_last() {
        let places = shown(Some("/x"), Some("/home/u"));
        assert_eq!(places, ["usbpipe.toml", "/x/usbpipe/usbpipe.toml", "/etc/usbpipe/usbpipe.toml"]);
    }

    #[test]
    fn without_a_usable_xdg_directory_it_is_the_one_in_the_home() {
        for xdg in [None, Some(""), Some("relative")] {
            assert_eq!(shown(xdg, Some("/home/u"))[1], "/home/u/.config/usbpipe/usbpipe.toml");
        }
        assert_eq!(shown(None, None), ["usbpipe.toml", "/etc/usbpipe/usbpipe.toml"]);
    }

    #[test]
    fn an_explicit_file_is_taken_as_it_is() {
        assert_eq!(find(Some(Path::new("/nowhere/x"))), Ok(PathBuf::from("/nowhere/x")));
    }

    #[test]
    fn a_failure_names_the_places() {
        let text = NotFound { looked_at: places(None, None) }.to_string();
        assert!(text.contains("looked for usbpipe.toml, /etc/usbpipe/usbpipe.toml; create"), "{text}");
    }
}
