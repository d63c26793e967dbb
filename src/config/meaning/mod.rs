//! From what was typed to what it means: fills in defaults and refuses contradictions. Collects all it finds wrong.

mod checks;
mod device;
mod network;
mod pipe;
mod serial;

use std::collections::HashMap;

use toml::Spanned;

use super::error::{ConfigError, Source};
use super::typed::{TypedConfig, TypedDevice};
use super::{Config, DeviceConfig, kinds};
use checks::Checks;

/// What the file means.
pub(super) fn config(source: &Source<'_>, typed: &TypedConfig) -> Result<Config, Vec<ConfigError>> {
    let mut checks = Checks::new(source);
    let devices: Vec<DeviceConfig> = typed.device.iter().map(|typed| device::device(&mut checks, typed)).collect();
    check_names(&mut checks, &typed.device, &devices);
    checks.finish().map(|()| Config { devices })
}

/// No two devices may have one name on disk.
fn check_names(checks: &mut Checks<'_>, typed: &[Spanned<TypedDevice>], devices: &[DeviceConfig]) {
    let mut lines: HashMap<String, usize> = HashMap::new();
    for (typed, device) in typed.iter().zip(devices) {
        // A name that was refused or never given stands here empty.
        if device.name.is_empty() {
            continue;
        }
        let span = typed.get_ref().name.as_ref().map_or(typed.span(), Spanned::span);
        match lines.get(&kinds::identity(&device.name)) {
            Some(line) => {
                checks.refuse(span, format!("{}; choose another name", doubled(typed.get_ref(), device, *line)))
            }
            None => {
                lines.insert(kinds::identity(&device.name), checks.line(span.start));
            }
        }
    }
}

fn doubled(typed: &TypedDevice, device: &DeviceConfig, line: usize) -> String {
    let name = &device.name;
    match &typed.name {
        Some(raw) if raw.get_ref() == name => format!("`{name}` is already the device of line {line}"),
        Some(raw) => format!("`{}` is `{name}` on disk, as the device of line {line}", raw.get_ref()),
        None => format!("without `name` this device is `{name}`, as the device of line {line}"),
    }
}
