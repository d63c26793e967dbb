//! What the fuzzers in `fuzz/` do with bytes, a function for each target. Each says by a panic what may never be. The corpora
//! that are committed there run as tests, so that what was found once is tried on every system.

use std::path::Path;
use std::str::FromStr;

pub use crate::bridge::fuzzing::deframers;
pub use crate::daemon::fuzzing::admin;
pub use crate::usb::usbip::fuzzing::usbip;

use crate::config::{Config, DeviceConfig, unsupported};
use crate::name;
use crate::request::Answer;
use crate::request::control::ControlRequest;
use crate::request::serial::SerialRequest;
use crate::selector::Selector;
use crate::serial::{find_functions, parse_notification};
use crate::usb::descriptors::{Descriptors, Speed, decode_string};

/// A speed, 18 bytes of a device descriptor, and what a device sends as its configuration, a string, and a notification.
///
/// # Panics
/// When an endpoint is not found again, or is to be bridged in transfers of no length.
pub fn descriptors(data: &[u8]) {
    let Some((&speed, rest)) = data.split_first() else { return };
    let (device, configuration) = rest.split_at(rest.len().min(DEVICE_DESCRIPTOR));
    let _ = (decode_string(configuration), parse_notification(configuration).map(|state| state.complaints()));
    let speed = SPEEDS[usize::from(speed) % SPEEDS.len()];
    let Ok(descriptors) = Descriptors::parse(device, configuration, speed) else { return };
    for setting in &descriptors.alt_settings {
        for endpoint in &setting.endpoints {
            let found = descriptors.find_endpoint(endpoint.address, Some(setting.interface), Some(setting.setting));
            assert!(found.is_some(), "{endpoint:?} is not found");
            let _ = (endpoint.unusable(), endpoint.period(speed), endpoint.interval_in_frames(speed));
        }
    }
    assert!(find_functions(&descriptors).len() <= descriptors.alt_settings.len());
    assert!(descriptors.remarks.iter().all(|remark| is_one_line(remark)));
    crate::session::fuzzing::plan(&DeviceConfig::new("fuzz"), &descriptors);
}

/// A line of `ep_00.request`, or a message of `ep_00.sock`.
///
/// # Panics
/// When a request does not survive its own text, or an answer is not one line.
pub fn control_text(data: &[u8]) {
    let _ = ControlRequest::parse_binary(data);
    let line = String::from_utf8_lossy(data);
    match ControlRequest::parse(&line) {
        Ok(request) => assert_eq!(ControlRequest::parse(&request.to_string()), Ok(request)),
        Err(error) => assert!(is_one_line(&Answer::from(error).to_string())),
    }
    if let Ok(answer) = Answer::from_str(&line) {
        assert!(is_one_line(&answer.to_string()));
    }
}

/// A line of `serial.ctl`.
///
/// # Panics
/// When a request does not survive its own text, or an answer is not one line.
pub fn serial_text(data: &[u8]) {
    match SerialRequest::parse(&String::from_utf8_lossy(data)) {
        Ok(request) => assert_eq!(SerialRequest::parse(&request.to_string()), Ok(request)),
        Err(error) => assert!(is_one_line(&Answer::from(error).to_string())),
    }
}

/// The text of a configuration.
///
/// # Panics
/// When an error is not one line or points outside of the text, or a device is not found by its name.
pub fn configuration(data: &[u8]) {
    let (Ok(text), file) = (std::str::from_utf8(data), Path::new("usbpipe.toml")) else { return };
    let config = match Config::parse(text, file) {
        Ok(config) => config,
        Err(errors) => {
            let lines = text.matches('\n').count() + 1;
            assert!(!errors.is_empty());
            return assert!(errors.iter().all(|e| is_one_line(&e.to_string()) && e.line <= lines), "{errors:?}");
        }
    };
    let _ = unsupported(text, file);
    for device in &config.devices {
        assert_eq!(config.device(&device.name), Some(device));
        assert_eq!(name::sanitize(&device.name), device.name);
    }
}

/// A selector of a device, and a name that a device claims to have.
///
/// # Panics
/// When a selector does not survive its own text, or a name could leave the run dir.
pub fn selectors(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(selector) = Selector::from_str(&text) {
        assert_eq!(Selector::from_str(&selector.to_string()).ok(), Some(selector));
    }
    let name = name::sanitize(&text);
    assert!(!name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']), "{name:?}");
    assert_eq!(name::sanitize(&name), name);
}

/// Lines of a serial line, as `log` writes and `plot` draws them.
///
/// # Panics
/// When a line is lost, or the plot grows beyond its bounds.
pub fn lines(data: &[u8]) {
    crate::cli::fuzzing::log(data);
    crate::cli::fuzzing::plot(data);
}

fn is_one_line(text: &str) -> bool {
    !text.is_empty() && !text.contains(['\n', '\r'])
}

const DEVICE_DESCRIPTOR: usize = 18;
const SPEEDS: [Speed; 6] = [Speed::Unknown, Speed::Low, Speed::Full, Speed::High, Speed::Super, Speed::SuperPlus];

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the committed inputs of a target.
    fn run(target: &str, fuzz: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let inputs: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(inputs.len() > 2, "{}", folder.display());
        for input in inputs {
            println!("{}", input.display());
            fuzz(&std::fs::read(input).unwrap());
        }
    }

    #[test]
    fn the_corpora_of_the_fuzzers_find_nothing() {
        run("admin", admin);
        run("configuration", configuration);
        run("control_text", control_text);
        run("deframers", deframers);
        run("descriptors", descriptors);
        run("lines", lines);
        run("selectors", selectors);
        run("serial_text", serial_text);
        run("usbip", usbip);
    }
}
