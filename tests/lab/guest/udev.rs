//! Rules for the guest's udevd, and what it makes of them. Refuses to leave a rule behind.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{must, run};

/// Rules of the administrator, in force for devices that come, until this is dropped.
pub struct Rules(PathBuf);

impl Rules {
    pub(super) fn install(name: &str, text: &str) -> Self {
        let path = Path::new("/etc/udev/rules.d").join(name);
        fs::write(&path, text).unwrap();
        must(&["udevadm", "control", "--reload"]);
        Self(path)
    }

    /// Rules that somebody else has written and put in force.
    pub(super) fn found(name: &str) -> Self {
        let path = Path::new("/etc/udev/rules.d").join(name);
        assert!(path.exists(), "{} was not installed", path.display());
        must(&["udevadm", "settle"]);
        Self(path)
    }
}

impl Drop for Rules {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
        run(&["udevadm", "control", "--reload"]);
    }
}

/// Has udevd look again at a device that was there before a rule.
pub fn look_again(node: &Path) {
    must(&["udevadm", "trigger", "--settle", node.to_str().unwrap()]);
}

/// Group and permissions of a device's node, such as `usbpipe 660`, once udevd is done with it.
pub fn access(node: &Path) -> String {
    must(&["udevadm", "settle"]);
    let found = fs::metadata(node).unwrap_or_else(|e| panic!("{}: {e}", node.display()));
    let groups = fs::read_to_string("/etc/group").unwrap();
    let has_number = |line: &&str| line.split(':').nth(2) == Some(&found.gid().to_string());
    let group = groups.lines().find(has_number).and_then(|line| line.split(':').next()).unwrap_or("?");
    format!("{group} {:o}", found.mode() & 0o777)
}

/// What udevd knows of a device, as `KEY=value` lines.
pub fn properties(node: &Path) -> String {
    must(&["udevadm", "info", "--query=property", "--name", node.to_str().unwrap()])
}
