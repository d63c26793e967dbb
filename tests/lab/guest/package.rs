//! The Debian package under the guest's own systemd, and the service that it brings. Refuses to start it by any other
//! way than systemctl.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::{must, run};
use crate::common::wait_for;

/// The configuration that makes the service run.
pub const CONFIGURATION: &str = "/etc/usbpipe/usbpipe.toml";

/// The package, installed. It stays: stories of a boot share it.
pub struct Package(());

impl Package {
    pub(super) fn installed() -> Self {
        // Containers forbid packages to start services; the guest is none.
        let _ = fs::remove_file("/usr/sbin/policy-rc.d");
        if !Path::new("/usr/bin/usbpipe").exists() {
            Self::install();
        }
        Self(())
    }

    /// Installs it, or installs it again over itself, as an upgrade does.
    pub fn install() {
        let file = std::env::var("LAB_PACKAGE").unwrap();
        // Not the triggers of others: the index of all manual pages takes a minute here.
        must(&["dpkg", "--no-triggers", "--install", &file]);
    }

    /// Its files.
    pub fn files(&self) -> Vec<PathBuf> {
        let listed = must(&["dpkg", "--listfiles", "usbpipe"]);
        listed.lines().map(PathBuf::from).filter(|path| path.is_file()).collect()
    }

    /// Removes it with all it has.
    pub fn purge(self) {
        must(&["dpkg", "--no-triggers", "--purge", "usbpipe"]);
    }

    /// Starts the service with this configuration.
    pub fn serve(&self, configuration: &str) -> Service {
        let service = Service::stopped(configuration);
        must(&["systemctl", "start", "usbpipe.service"]);
        service
    }

    /// Starts the service with a configuration with which it cannot start.
    pub fn serve_failing(&self, configuration: &str) -> Service {
        let service = Service::stopped(configuration);
        assert!(!run(&["systemctl", "start", "usbpipe.service"]).status.success());
        service
    }

    /// Has the socket listen alone, for a service with this configuration.
    pub fn listen(&self, configuration: &str) -> Service {
        let service = Service::stopped(configuration);
        must(&["systemctl", "start", "usbpipe.socket"]);
        service
    }
}

/// The service, until this is dropped.
pub struct Service(());

impl Service {
    fn stopped(configuration: &str) -> Self {
        fs::create_dir_all("/etc/usbpipe").unwrap();
        fs::write(CONFIGURATION, configuration).unwrap();
        must(&["systemctl", "reset-failed"]);
        Self(())
    }

    /// A path below the run dir.
    pub fn path(&self, name: &str) -> PathBuf {
        Path::new("/run/usbpipe").join(name)
    }

    /// What systemd says of the service, such as `ActiveState`.
    pub fn property(&self, name: &str) -> String {
        property("usbpipe.service", name)
    }

    /// Waits until systemd says this of it.
    pub fn wait_property(&self, name: &str, value: &str) {
        wait_for(|| (self.property(name) == value).then_some(()), || format!("{name} is {}", self.property(name)));
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.property("MainPID").parse().unwrap()
    }

    /// A command of the package's program to the service.
    pub fn ask(&self, args: &[&str]) -> Output {
        let mut command = Command::new("/usr/bin/usbpipe");
        command.env_remove("RUST_LOG").args(["--dir", "/run/usbpipe"]).args(args).stdin(Stdio::null()).output().unwrap()
    }

    /// The answer line of `usbpipe control` or `usbpipe serial`.
    pub fn answer(&self, args: &[&str]) -> String {
        let output = self.ask(args);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// The status of a device.
    pub fn status(&self, device: &str) -> Value {
        let output = self.ask(&["status", "--json"]);
        let all: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        all.as_array().and_then(|all| all.iter().find(|d| d["name"] == device)).unwrap_or(&Value::Null).clone()
    }

    /// Waits until a device is attached.
    pub fn wait_attached(&self, device: &str) {
        let attached = || (self.status(device)["state"] == "attached").then_some(());
        wait_for(attached, || self.status(device).to_string());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let journal = run(&["journalctl", "--no-pager", "--boot", "--lines=60", "--unit=usbpipe*"]);
            println!("the journal of the service:\n{}", String::from_utf8_lossy(&journal.stdout));
        }
        run(&["systemctl", "stop", "usbpipe.socket", "usbpipe.service"]);
        let _ = fs::remove_file(CONFIGURATION);
    }
}

/// What systemd says of a unit.
pub fn property(unit: &str, name: &str) -> String {
    must(&["systemctl", "show", "--value", "--property", name, unit]).trim().to_owned()
}
