//! Folders of configurations on Unix: the XDG base directory specification, and /etc.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

/// The folders, in the order in which they are looked at.
pub(super) fn all() -> Vec<PathBuf> {
    folders(env::var_os("XDG_CONFIG_HOME"), env::var_os("HOME"))
}

fn folders(xdg_config_home: Option<OsString>, home: Option<OsString>) -> Vec<PathBuf> {
    // Relative paths are to be ignored.
    let xdg = xdg_config_home.map(PathBuf::from).filter(|dir| dir.is_absolute());
    let home = home.filter(|dir| !dir.is_empty()).map(|dir| PathBuf::from(dir).join(".config"));
    xdg.or(home).into_iter().chain([PathBuf::from("/etc")]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(xdg: Option<&str>, home: Option<&str>) -> Vec<String> {
        folders(xdg.map(Into::into), home.map(Into::into)).iter().map(|place| place.display().to_string()).collect()
    }

    #[test]
    fn the_users_folder_goes_first_and_etc_last() {
        assert_eq!(shown(Some("/x"), Some("/home/u")), ["/x", "/etc"]);
    }

    #[test]
    fn without_a_usable_xdg_directory_it_is_the_one_in_the_home() {
        for xdg in [None, Some(""), Some("relative")] {
            assert_eq!(shown(xdg, Some("/home/u"))[0], "/home/u/.config");
        }
        assert_eq!(shown(None, None), ["/etc"]);
    }
}
