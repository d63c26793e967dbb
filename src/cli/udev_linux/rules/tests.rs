//! Rules as udevd reads them: a reader of rules files written after udev(7), and what it makes of hostile text.

use std::path::Path;

use proptest::prelude::*;

use super::super::quote::pattern;
use super::*;

const GRANT: Grant<'_> = Grant { group: "usbpipe", start: false };

#[test]
fn the_rules_of_a_board_name_it_and_say_who_may() {
    let wanted = Match { vid: Some(0x2341), pid: vec![0x43, 1], serial: Some("7533".into()), ..Match::default() };
    let text = device("uno", &wanted, &GRANT).unwrap();
    let expected = "\
# uno
SUBSYSTEM==\"usb\", ENV{DEVTYPE}==\"usb_device\", ATTR{idVendor}==\"2341\", ATTR{idProduct}==\"0043|0001\", \
ATTR{serial}==\"7533\", GROUP=\"usbpipe\", MODE=\"0660\", TAG+=\"uaccess\", TAG+=\"systemd\", ENV{ID_MM_DEVICE_IGNORE}=\"1\"
SUBSYSTEM==\"tty\", SUBSYSTEMS==\"usb\", ATTRS{idVendor}==\"2341\", ATTRS{idProduct}==\"0043|0001\", \
ATTRS{serial}==\"7533\", TAG+=\"uaccess\", ENV{ID_MM_DEVICE_IGNORE}=\"1\", ENV{ID_MM_PORT_IGNORE}=\"1\"
";
    assert_eq!(text, expected);
}

#[test]
fn a_place_on_the_bus_is_the_devices_own_name_or_its_parents() {
    let wanted = Match { port: Some("1-1.4".into()), ..Match::default() };
    let [usb, tty] = &read(&device("x", &wanted, &GRANT).unwrap()).unwrap()[..] else { panic!("two rules") };
    assert!(usb.contains(&key("KERNEL", "==", "1-1.4")) && tty.contains(&key("KERNELS", "==", "1-1.4")));
}

#[test]
fn the_service_is_started_only_where_that_was_asked_for() {
    let wanted = Match { vid: Some(1), ..Match::default() };
    let start = key("ENV{SYSTEMD_WANTS}", "+=", "usbpipe.service");
    for asked in [false, true] {
        let rules = read(&device("x", &wanted, &Grant { group: "g", start: asked }).unwrap()).unwrap();
        assert_eq!(rules[0].contains(&start), asked);
    }
}

#[test]
fn what_no_rule_can_express_is_said() {
    let wanted = Match { serial: Some("x".repeat(127)), ..Match::default() };
    assert!(device("x", &wanted, &GRANT).unwrap_err().contains("longer than any string of a USB device"));
    let evil = Grant { group: "usbpipe\", RUN+=\"/bin/sh", start: false };
    assert!(device("x", &Match::default(), &evil).unwrap_err().contains("no name of a group"));
    assert!(port(Path::new("/dev/serial/by-id/x")).unwrap_err().contains("usbpipe list"));
    assert!(port(Path::new("COM5")).is_err());
}

/// Text that knows what hurts.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>().prop_map(|text| text.chars().take(60).collect()),
        "[\"\\\\\\[\\]*?|!^$%{}#=,+:\n\r\t\0 a-c-]{0,20}",
        Just("x\", RUN+=\"/bin/sh -c id".to_owned()),
        Just("x\\\", RUN+=\"/bin/sh\n".to_owned()),
    ]
}

proptest! {
    #[test]
    fn nothing_breaks_out_of_a_rule(
        serial in proptest::option::of(text()),
        product in proptest::option::of(text()),
        name in text(),
        start in any::<bool>(),
    ) {
        let wanted = Match { vid: Some(0x1209), pid: vec![4], serial: serial.clone(), product: product.clone(), port: None };
        let rules = device(&name, &wanted, &Grant { group: "usbpipe", start }).unwrap();
        let read = read(&rules).map_err(|e| TestCaseError::fail(format!("{e} in {rules}")))?;
        prop_assert_eq!(read.len(), 2, "{}", rules);
        for (rule, given) in read.iter().zip(["ATTR", "ATTRS"]) {
            let of = |name: &str| rule.iter().find(|k| k.name == format!("{given}{{{name}}}"));
            prop_assert_eq!(of("serial").is_some(), serial.is_some());
            prop_assert_eq!(of("product").is_some(), product.is_some());
            let actions: Vec<&Key> = rule.iter().filter(|k| k.operator != "==").collect();
            let known = |k: &&Key| ACTIONS.contains(&(k.name.as_str(), k.operator.as_str(), k.value.as_str()));
            prop_assert!(actions.iter().all(known), "{:?}", actions);
        }
    }

    #[test]
    fn a_pattern_fits_its_text_and_no_other(text in text(), other in text(), at in any::<prop::sample::Index>(), b in any::<u8>()) {
        let value = read(&format!("KERNEL==\"{}\"", pattern(&text))).unwrap()[0][0].value.clone();
        prop_assert!(!value.contains('|'), "one alternative: {}", value);
        prop_assert!(fits(value.as_bytes(), text.as_bytes()), "{} does not fit {:?}", value, text);
        prop_assert_eq!(fits(value.as_bytes(), other.as_bytes()), same_but_for_what_cannot_be_held(&text, other.as_bytes()));
        let mut changed = text.clone().into_bytes();
        if !changed.is_empty() {
            changed[at.index(text.len())] = b;
            prop_assert_eq!(fits(value.as_bytes(), &changed), same_but_for_what_cannot_be_held(&text, &changed));
        }
    }

    #[test]
    fn a_port_stays_in_its_rule(name in text()) {
        if let Ok(rule) = port(&Path::new("/dev").join(name)) {
            let read = read(&rule).unwrap();
            prop_assert_eq!(read.len(), 1);
            prop_assert_eq!(read[0].iter().filter(|k| k.operator == "==").count(), 2);
        }
    }
}

/// All that rules may do.
const ACTIONS: &[(&str, &str, &str)] = &[
    ("GROUP", "=", "usbpipe"),
    ("MODE", "=", "0660"),
    ("TAG", "+=", "uaccess"),
    ("TAG", "+=", "systemd"),
    ("ENV{SYSTEMD_WANTS}", "+=", "usbpipe.service"),
    ("ENV{ID_MM_DEVICE_IGNORE}", "=", "1"),
    ("ENV{ID_MM_PORT_IGNORE}", "=", "1"),
];

/// Whether `other` is the text, or differs only in bytes of characters that a pattern cannot hold.
fn same_but_for_what_cannot_be_held(text: &str, other: &[u8]) -> bool {
    let exact = |c: char| c != '|' && (c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric());
    let bytes = text.chars().flat_map(|c| {
        let mut buffer = [0; 4];
        c.encode_utf8(&mut buffer).bytes().map(move |b| exact(c).then_some(b)).collect::<Vec<_>>()
    });
    text.len() == other.len() && bytes.zip(other).all(|(wanted, &there)| wanted.is_none_or(|b| b == there))
}

#[derive(Debug, PartialEq)]
struct Key {
    name: String,
    operator: String,
    value: String,
}

fn key(name: &str, operator: &str, value: &str) -> Key {
    Key { name: name.into(), operator: operator.into(), value: value.into() }
}

/// The rules of a file, as udevd takes them apart.
fn read(text: &str) -> Result<Vec<Vec<Key>>, String> {
    let mut rules = Vec::new();
    for line in text.split('\n').map(str::trim_start).filter(|line| !line.starts_with('#') && !line.is_empty()) {
        if line.ends_with('\\') || line.contains('\0') {
            return Err(format!("goes on in the next line, or holds a NUL: {line:?}"));
        }
        rules.push(keys(line)?);
    }
    Ok(rules)
}

fn keys(mut rest: &str) -> Result<Vec<Key>, String> {
    let mut keys = Vec::new();
    while !rest.is_empty() {
        let quote = rest.find('"').ok_or_else(|| format!("no value: {rest:?}"))?;
        let head = &rest[..quote];
        let operator = head.find(['=', '!', '+', '-', ':']).ok_or_else(|| format!("no operator: {head:?}"))?;
        let (value, after) = value(&rest[quote + 1..]).ok_or_else(|| format!("no end of the value: {rest:?}"))?;
        keys.push(Key { name: head[..operator].to_owned(), operator: head[operator..].to_owned(), value });
        rest = after.trim_start_matches([',', ' ', '\t']);
    }
    Ok(keys)
}

/// A value up to its closing quote, and what follows. Only a quote can be escaped.
fn value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let c = rest.chars().next()?;
        if c == '"' {
            return Some((value, &rest[1..]));
        }
        let skip = usize::from(rest.starts_with("\\\""));
        let kept = rest[skip..].chars().next()?;
        value.push(kept);
        rest = &rest[skip + kept.len_utf8()..];
    }
}

/// fnmatch(3) where the pattern has a special character, else plain comparison, as udevd does it.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    if !pattern.iter().any(|b| b"*?[".contains(b)) {
        return pattern == text;
    }
    match pattern {
        [] => text.is_empty(),
        [b'*', rest @ ..] => (0..=text.len()).any(|n| glob(rest, &text[n..])),
        _ => glob(pattern, text),
    }
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|n| glob(rest, &text[n..])),
        ([b'?', rest @ ..], [_, after @ ..]) => glob(rest, after),
        ([b'[', b'\\', c, b']', rest @ ..], [t, after @ ..]) => c == t && glob(rest, after),
        ([b'[', c, b']', rest @ ..], [t, after @ ..]) => c == t && glob(rest, after),
        ([b'[', ..], [_, ..]) => panic!("a set that the writer never makes: {pattern:?}"),
        ([b'\\', c, rest @ ..] | [c, rest @ ..], [t, after @ ..]) => c == t && glob(rest, after),
        _ => false,
    }
}
