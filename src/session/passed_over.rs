//! What a device offers beside what is bridged where its configuration names no endpoint: other alternate settings that
//! have more. It chooses nothing.

use super::plan::bridges_everything;
use crate::config::DeviceConfig;
use crate::usb::descriptors::{AltSetting, Descriptors};

/// For each interface the settings that have more than the one that is bridged, and how to choose them. One line each.
pub(super) fn settings(config: &DeviceConfig, descriptors: &Descriptors) -> Vec<String> {
    if !bridges_everything(config) {
        return Vec::new();
    }
    let chosen = descriptors.default_settings();
    let others = descriptors.alt_settings.iter().filter_map(|other| {
        let chosen = chosen.iter().find(|c| c.interface == other.interface && c.setting != other.setting)?;
        remark(chosen, other)
    });
    others.collect()
}

fn remark(chosen: &AltSetting, other: &AltSetting) -> Option<String> {
    let has = |s: &AltSetting, address| s.endpoints.iter().any(|e| e.address == address);
    let more = other.endpoints.iter().find(|e| !has(chosen, e.address));
    let is_better = is_two_way_printer(other) && !is_two_way_printer(chosen);
    let endpoint = more.or_else(|| other.endpoints.first().filter(|_| is_better))?.address;
    let AltSetting { interface, setting, .. } = other;
    let addresses: Vec<String> = other.endpoints.iter().map(|e| format!("{:#04x}", e.address)).collect();
    Some(format!(
        "interface {interface} is bridged in alternate setting {}{}; its setting {setting}{} has {}: choose it by \
         [[device.pipe]] with endpoint = {endpoint:#04x}, interface = {interface}, alt = {setting}",
        chosen.setting,
        class(chosen),
        class(other),
        addresses.join(", "),
    ))
}

/// What the class of a setting is to a person, where settings differ by it.
fn class(s: &AltSetting) -> &'static str {
    match (s.class, s.subclass, s.protocol) {
        (PRINTER, 1, 1) => " (a printer that only listens)",
        (PRINTER, 1, BIDIRECTIONAL) => " (a printer that answers, too)",
        (PRINTER, 1, IEEE_1284_4) => " (a printer with IEEE 1284.4 packets)",
        (PRINTER, 1, IPP) => " (a printer with IPP)",
        _ => "",
    }
}

/// One that takes the bytes as they are and answers.
fn is_two_way_printer(s: &AltSetting) -> bool {
    (s.class, s.subclass, s.protocol) == (PRINTER, 1, BIDIRECTIONAL)
}

/// bInterfaceClass and bInterfaceProtocol: USB printing devices 1.1, 4.2, and IPP over USB 1.0, 4.1.
const PRINTER: u8 = 7;
const BIDIRECTIONAL: u8 = 2;
const IEEE_1284_4: u8 = 3;
const IPP: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usb::descriptors::Speed;

    fn configuration(settings: &[(u8, [u8; 3], &[u8])]) -> Descriptors {
        let mut raw = vec![9, 2, 0, 0, 1, 1, 0, 0x80, 50];
        for &(setting, [class, subclass, protocol], endpoints) in settings {
            raw.extend([9, 4, 0, setting, endpoints.len() as u8, class, subclass, protocol, 0]);
            endpoints.iter().for_each(|&address| raw.extend([7, 5, address, 2, 64, 0, 0]));
        }
        raw[2] = raw.len() as u8;
        let device = [18, 1, 0, 2, 0, 0, 0, 64, 0x09, 0x12, 0x77, 0, 0, 1, 0, 0, 0, 1];
        Descriptors::parse(&device, &raw, Speed::High).unwrap()
    }

    #[test]
    fn a_printers_setting_that_answers_is_named_with_how_to_choose_it() {
        let printer = configuration(&[(0, [7, 1, 1], &[0x01]), (1, [7, 1, 2], &[0x01, 0x82]), (2, [7, 1, 4], &[0x01])]);
        let remarks = settings(&DeviceConfig::new("p"), &printer);
        let text = "interface 0 is bridged in alternate setting 0 (a printer that only listens); its setting 1 (a printer \
                    that answers, too) has 0x01, 0x82: choose it by [[device.pipe]] with endpoint = 0x82, interface = 0, \
                    alt = 1";
        assert_eq!(remarks, [text]);
        let same_endpoints = configuration(&[(0, [7, 1, 3], &[0x01, 0x82]), (1, [7, 1, 2], &[0x01, 0x82])]);
        assert_eq!(settings(&DeviceConfig::new("p"), &same_endpoints).len(), 1);
    }

    #[test]
    fn settings_that_differ_in_size_alone_are_not_worth_a_word() {
        let camera = configuration(&[(0, [14, 2, 0], &[]), (1, [14, 2, 0], &[0x81]), (2, [14, 2, 0], &[0x81])]);
        assert!(settings(&DeviceConfig::new("c"), &camera).is_empty());
    }
}
