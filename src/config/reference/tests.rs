//! Holds the reference against the parser: keys, defaults, limits, examples and systems.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use super::tables::TABLES;
use super::{Default, Endpoints, Key, Systems, Table, Text, Values, manual, markdown};
use crate::config::{Config, ConfigError, DEFAULT_QUEUE, Driver, OutletKind, kinds, unsupported};

fn parse(text: &str) -> Result<Config, Vec<ConfigError>> {
    Config::parse(text, Path::new("t.toml"))
}

fn is_windows() -> bool {
    kinds::of_endpoint() == [OutletKind::Pipe]
}

/// The text of the system that this runs on.
fn here(text: &Text) -> &'static str {
    match text {
        Text::Same(text) => text,
        Text::Each { windows, .. } if is_windows() => windows,
        Text::Each { linux, .. } => linux,
    }
}

/// The smallest configuration with this table, in which `key` has this value, or is left out.
fn with(table: &Table, key: &Key, value: Option<&str>) -> String {
    with_endpoint(table, key, value, if is_of_out(key) { "0x02" } else { "0x81" })
}

fn is_of_out(key: &Key) -> bool {
    matches!(key.endpoints, Endpoints::Out | Endpoints::IsochronousOut)
}

fn with_endpoint(table: &Table, key: &Key, value: Option<&str>, endpoint: &str) -> String {
    let line = value.map(|value| format!("{} = {value}", key.name));
    let device = |matches: &str, rest: &[&str]| {
        let lines = ["name = \"d\"", matches].into_iter().chain(rest.iter().copied());
        lines.fold("[[device]]\n".to_owned(), |text, line| text + line + "\n")
    };
    let line_or = |frame: &'static str| -> String {
        let is_its = frame.split(' ').next() == Some(key.name);
        if is_its { line.clone().unwrap_or_default() } else { frame.to_owned() }
    };
    let any = "match = { vid = 1, pid = 2 }";
    match table.name {
        "usbpipe.toml" => line.unwrap_or_default(),
        "[[device]]" => {
            let mut text = format!("[[device]]\n{}\n{}\n", line_or("name = \"d\""), line_or(any));
            let is_frame = matches!(key.name, "name" | "match");
            writeln!(text, "{}", line.filter(|_| !is_frame).unwrap_or_default()).unwrap();
            text
        }
        "[device.match]" => {
            let others = if key.name == "vid" { "pid = 2" } else { "vid = 1" };
            let vid = if key.name == "vid" && value.is_none() { "serial = \"s\"" } else { others };
            let line = line.map_or_else(String::new, |line| format!(", {line}"));
            device(&format!("match = {{ {vid}{line} }}"), &[])
        }
        "[device.serial]" => device(any, &["[device.serial]", &line.unwrap_or_default()]),
        "[[device.pipe]]" => {
            let endpoint = format!("endpoint = {endpoint}");
            let line = line.unwrap_or_default();
            let lines: &[&str] = match key.name {
                "endpoint" => &["[[device.pipe]]", &line],
                // The most of it fits with few in flight.
                "transfer" => &["[[device.pipe]]", &endpoint, "queue = 1", &line],
                // A stream has no messages that could be closed.
                "zlp" => &["[[device.pipe]]", &endpoint, "framing = \"length\"", &line],
                _ => &["[[device.pipe]]", &endpoint, &line],
            };
            device(any, lines)
        }
        other => panic!("the tests know no table {other}; write how a configuration with it looks"),
    }
}

fn keys() -> impl Iterator<Item = (&'static Table, &'static Key)> {
    TABLES.iter().flat_map(|table| table.keys.iter().map(move |key| (table, key)))
}

/// The words between backticks of what is refused, from `expected` on.
fn expected(text: &str) -> BTreeSet<String> {
    let errors = parse(text).expect_err(text);
    let message = &errors[0].message;
    let list = message.split_once("expected").unwrap_or_else(|| panic!("{message}")).1;
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn the_parser_and_the_reference_have_the_same_keys() {
    let unknown = Key::new("no-such-key", Values::Switch, Default::Required, "", "");
    for table in TABLES {
        let documented: Vec<&str> = table.keys.iter().map(|key| key.name).collect();
        let known = expected(&with(table, &unknown, Some("1")));
        assert_eq!(known, set(&documented), "{}: the parser's keys, and those of tables.rs", table.name);
        assert_eq!(documented.len(), known.len(), "{}: a key is described twice", table.name);
    }
}

#[test]
fn every_table_that_a_key_names_is_described() {
    let described: BTreeSet<&str> = TABLES.iter().skip(1).map(|table| table.name).collect();
    let named = keys().filter_map(|(_, key)| if let Values::Table(name) = key.values { Some(name) } else { None });
    assert_eq!(named.collect::<BTreeSet<_>>(), described);
}

#[test]
fn a_stated_default_is_the_parsers() {
    for (table, key) in keys() {
        let absent = parse(&with(table, key, None));
        match &key.default {
            Default::Required => assert!(absent.is_err(), "{} {} is not required", table.name, key.name),
            Default::Value(value) => {
                let stated = parse(&with(table, key, Some(here(value)))).unwrap();
                assert_eq!(stated, absent.unwrap(), "{} {}", table.name, key.name);
            }
            Default::Words(_) => {}
        }
    }
}

#[test]
fn defaults_that_depend_on_other_keys_are_as_described() {
    let text = "[[device]]\nname = \"d\"\nremote = \"usbip://h/1-1\"\n[device.serial]\n[[device.pipe]]\nendpoint = 0x81\n\
                framing = \"packet\"\n";
    let device = parse(text).unwrap().devices.remove(0);
    assert_eq!(device.serial.unwrap().driver, Driver::User);
    assert_eq!(device.pipes[0].longest_transfer(), if is_windows() { 65536 } else { 4096 });
    let queue = keys().find(|(_, key)| key.name == "queue").unwrap().1;
    assert!(queue.default.words().starts_with(&format!("{DEFAULT_QUEUE};")));
    let unnamed = parse("[[device]]\nmatch = { vid = 0x2341, pid = 0x43, serial = \"S\" }").unwrap();
    assert_eq!(unnamed.devices[0].name, "2341-0043-S");
}

#[test]
fn every_example_parses_and_is_not_the_default() {
    for table in TABLES {
        parse(table.example).unwrap_or_else(|errors| panic!("{}: {errors:?}", table.name));
    }
    for (table, key) in keys() {
        let example = here(&key.example);
        let text = with(table, key, Some(example));
        let parsed = parse(&text).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
        // Windows has one kind of outlet alone; an empty list of devices is what there is without the key.
        let has_only_one_value = key.name == "device" || (key.name == "outlets" && is_windows());
        let absent = parse(&with(table, key, None));
        assert!(has_only_one_value || absent != Ok(parsed), "{} {} = {example}", table.name, key.name);
    }
}

#[test]
fn values_are_accepted_and_refused_as_described() {
    for (table, key) in keys() {
        let (accepted, refused): (Vec<&str>, &[&str]) = match &key.values {
            Values::Choice(names) | Values::Choices(names) => {
                assert_choices(table, key, names);
                (Vec::new(), &[])
            }
            Values::Switch => (vec!["true", "false"], &["1", "\"true\""]),
            Values::Range { least, most, refused, .. } => (vec![least, most], refused),
            Values::Other { accepted, refused, .. } => (accepted.to_vec(), refused),
            Values::Table(_) => (Vec::new(), &["7"]),
        };
        for value in accepted {
            let text = with(table, key, Some(value));
            assert!(parse(&text).is_ok(), "{text}{:?}", parse(&text));
        }
        for value in refused {
            let text = with(table, key, Some(value));
            assert!(parse(&text).is_err(), "{text}");
        }
    }
}

/// The parser lists what it takes, except where a name is looked up in a list of its own.
fn assert_choices(table: &Table, key: &Key, names: &[&str]) {
    let unknown = if matches!(key.values, Values::Choices(_)) { "[\"no-such\"]" } else { "\"no-such\"" };
    let text = with(table, key, Some(unknown));
    if key.name == "profile" {
        assert_eq!(names, crate::config::PROFILES);
        assert!(parse(&text).is_err());
    } else {
        assert_eq!(expected(&text), set(names), "{} {}", table.name, key.name);
    }
}

#[test]
fn keys_of_one_direction_are_refused_in_the_other() {
    for (table, key) in keys().filter(|(table, _)| table.name == "[[device.pipe]]" && table.keys.len() > 1) {
        let (example, other) = (here(&key.example), if is_of_out(key) { "0x81" } else { "0x02" });
        let in_the_other = parse(&with_endpoint(table, key, Some(example), other));
        assert_eq!(in_the_other.is_err(), key.endpoints != Endpoints::Any, "{}: {in_the_other:?}", key.name);
    }
}

#[test]
fn keys_of_another_system_are_refused_here() {
    let here_is = if is_windows() { Systems::Windows } else { Systems::Linux };
    for (table, key) in keys() {
        let refused = unsupported(&with(table, key, Some(here(&key.example))), Path::new("t.toml"));
        let is_here = key.systems == Systems::Both || key.systems == here_is;
        assert_eq!(refused.is_empty(), is_here, "{} {}: {refused:?}", table.name, key.name);
    }
}

#[test]
fn the_document_and_the_manual_have_every_key() {
    let (document, page) = (markdown(), manual());
    for (table, key) in keys() {
        assert!(document.contains(&format!("\n## `{}`\n", table.name)), "{}", table.name);
        assert!(document.contains(&format!("\n### `{}`\n\n{}", key.name, &key.about[..7])), "{}", key.name);
        let name = key.name.replace('-', "\\-");
        assert!(page.contains(&format!("\n.TP\n\\fB{name}\\fR\n")), "{name} in {page}");
    }
}
