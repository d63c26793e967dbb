//! People of the guest: users without rights of their own, who run the program under test. Refuses to leave one behind.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::{must, run};

/// Somebody who is not root. Each command is a new login: it has the groups that its user has joined by then.
pub struct Person {
    pub name: &'static str,
}

impl Person {
    pub(super) fn new(name: &'static str) -> Self {
        install();
        must(&["useradd", "--no-create-home", name]);
        Self { name }
    }

    /// A command, as this person types it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", self.name, "--regid", self.name, "--init-groups", program]);
        command.env_remove("RUST_LOG").env_remove("USBPIPE_DIR").stdin(Stdio::null());
        command
    }

    /// A command of the program under test.
    pub fn usbpipe(&self) -> Command {
        self.command("usbpipe")
    }

    /// Runs a command of the program under test to its end.
    pub fn ask(&self, args: &[&str]) -> Output {
        self.usbpipe().args(args).output().unwrap()
    }

    /// Makes a directory of this person.
    pub fn directory(&self, path: &Path) {
        must(&["install", "-d", "-o", self.name, path.to_str().unwrap()]);
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        run(&["userdel", self.name]);
    }
}

/// Where everybody finds and may run it: where it was built may be root's alone.
fn install() {
    let program = "/usr/local/bin/usbpipe";
    // Another story has done it, and writing there would empty the program itself.
    if fs::exists(program).unwrap() {
        return;
    }
    fs::write(program, "").unwrap();
    must(&["mount", "--bind", env!("CARGO_BIN_EXE_usbpipe"), program]);
}
