//! The daemon as a service of Windows.

use std::fs;
use std::path::{Path, PathBuf};

use firmware_mock::DeviceKind::Knob;
use tempfile::TempDir;

use crate::common::{Bus, open_reader, outlet, output, read_exactly, stands, usbpipe, wait_for};

/// The one service, which is removed however the story ends.
struct Service;

impl Service {
    fn command(args: &[&str]) -> String {
        let output = output(usbpipe().args(args));
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{args:?}: {said}\n{}", fs::read_to_string(log()).unwrap_or_default());
        said
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(output(usbpipe().args(["service", "uninstall"])));
    }
}

fn log() -> PathBuf {
    Path::new(&std::env::var_os("PROGRAMDATA").unwrap()).join(r"usbpipe\log\usbpipe.log")
}

/// One story, because a machine has one such service.
#[test]
fn a_service_is_installed_started_stopped_and_removed_and_bridges_meanwhile() {
    let bus = Bus::with(&[Knob]);
    let temp = TempDir::new().unwrap();
    let file = temp.path().join("the lab's.toml");
    fs::write(&file, bus.device("knob", "")).unwrap();
    let dir = Path::new(r"\\.\pipe\usbpipe-test-service");
    let knob = outlet(dir, "knob/ep_81");

    let alone = output(usbpipe().args(["service", "run"]));
    assert_eq!(alone.status.code(), Some(2), "only the service manager may be its parent");
    assert!(String::from_utf8_lossy(&alone.stderr).contains("usbpipe service start"), "{alone:?}");
    let before = output(usbpipe().args(["service", "start"]));
    assert_eq!(before.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&before.stderr).contains("usbpipe service install"), "{before:?}");

    let (config, prefix) = (file.to_str().unwrap(), dir.to_str().unwrap());
    let installed = Service::command(&["-c", config, "--dir", prefix, "service", "install"]);
    let service = Service;
    assert!(installed.contains("the lab's.toml"), "{installed}");
    assert!(!stands(&knob));
    for _ in 0..2 {
        Service::command(&["service", "start"]);
        wait_for(|| stands(&knob).then_some(()), || fs::read_to_string(log()).unwrap_or_default());
        assert_eq!(read_exactly(open_reader(&knob).unwrap(), 80).1.len(), 80);
        Service::command(&["service", "stop"]);
        assert!(!stands(&knob), "stopped means that all is gone");
    }
    let said = fs::read_to_string(log()).unwrap();
    assert!(said.contains("knob"), "{said}");
    drop(service);
    assert_eq!(output(usbpipe().args(["service", "stop"])).status.code(), Some(1));
}
