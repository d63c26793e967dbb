//! The floors of the house: imports run downward only, and what differs between systems has a file of its own.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every module of the crate, from the roof to the cellar, with those it may use. None may use one above itself.
const FLOORS: &[(&str, &[&str])] = &[
    ("fuzzing", &["cli", "daemon", "session", "bridge", "serial", "usb", "request", "config", "selector", "name"]),
    (
        "cli",
        &[
            "daemon",
            "session",
            "capture",
            "serial",
            "request",
            "config",
            "selector",
            "name",
            "printable",
            "usb",
            "log_writer",
        ],
    ),
    ("daemon", &["session", "capture", "outlet", "config", "printable", "usb", "log_writer"]),
    (
        "session",
        &["bridge", "capture", "serial", "outlet", "usb", "request", "config", "selector", "name", "printable"],
    ),
    ("bridge", &["outlet", "usb"]),
    ("capture", &["usb"]),
    ("serial", &["usb", "config", "reactor", "processes"]),
    ("outlet", &["reactor", "printable", "processes"]),
    ("usb", &["selector", "processes"]),
    ("request", &["config", "printable"]),
    ("config", &["selector", "name"]),
    ("selector", &[]),
    ("name", &[]),
    ("reactor", &[]),
    ("log_writer", &[]),
    ("printable", &[]),
    ("processes", &[]),
];

#[test]
fn the_table_of_floors_runs_downward() {
    for (level, (module, uses)) in FLOORS.iter().enumerate() {
        for used in *uses {
            let below = FLOORS.iter().position(|(name, _)| name == used).unwrap();
            assert!(below > level, "{module} may not use {used}, which is not below it");
        }
    }
}

#[test]
fn every_module_is_on_a_floor() {
    let lib = fs::read_to_string(source().join("lib.rs")).unwrap();
    let modules: BTreeSet<&str> = lib.lines().filter_map(|l| l.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let floors: BTreeSet<&str> = FLOORS.iter().map(|(name, _)| *name).collect();
    assert_eq!(modules, floors);
}

#[test]
fn imports_run_downward_only() {
    let mut wrong = Vec::new();
    for (path, text) in files() {
        let module = module_of(&path);
        let Some((_, allowed)) = FLOORS.iter().find(|(name, _)| *name == module) else { continue };
        for (number, line) in text.lines().enumerate() {
            assert!(!line.contains("crate::{"), "{}:{}: name one module a line", path.display(), number + 1);
            for used in imports(line) {
                let known = FLOORS.iter().any(|(name, _)| *name == used);
                if known && used != module && !allowed.contains(&used) {
                    wrong.push(format!("{}:{}: {module} uses {used}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "imports that run upward or sideways:\n{}", wrong.join("\n"));
}

#[test]
fn what_differs_between_systems_stays_in_files_named_after_it() {
    let systems = ["linux", "unix", "windows", "macos", "target_os", "target_family"];
    let mut wrong = Vec::new();
    for (path, text) in files() {
        let name = path.file_name().unwrap().to_str().unwrap();
        if matches!(name, "mod.rs" | "lib.rs") {
            continue;
        }
        for (number, line) in text.lines().enumerate().filter(|(_, l)| l.contains("cfg(") || l.contains("cfg!(")) {
            if systems.iter().any(|system| line.contains(system)) {
                wrong.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "choices between systems outside of mod.rs:\n{}", wrong.join("\n"));
}

/// What one system alone has, and uses in files of its own.
const ALONE: &[&str] = &[
    "descriptor",
    "fifo_in",
    "fifo_out",
    "fifos",
    "guard",
    "look",
    "node",
    "overlapped",
    "pipe",
    "security",
    "stream",
    "walk",
];

#[test]
fn what_a_system_has_by_a_name_the_other_has_too() {
    let mut wrong = Vec::new();
    for (path, text) in files() {
        if path.file_name().unwrap() != "mod.rs" {
            continue;
        }
        let mut chosen: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for line in text.lines().filter_map(|line| line.strip_prefix("#[path = \"")?.strip_suffix(".rs\"]")) {
            let (name, system) = line.rsplit_once('_').unwrap();
            let system = if system == "linux" { "unix" } else { system };
            assert!(["unix", "windows"].contains(&system), "{}: {line} is named after no system", path.display());
            chosen.entry(name).or_default().insert(system);
        }
        let lonely = chosen.iter().filter(|(name, systems)| systems.len() == 1 && !ALONE.contains(name));
        wrong.extend(lonely.map(|(name, systems)| format!("{}: {name}, only for {systems:?}", path.display())));
    }
    assert!(wrong.is_empty(), "without a counterpart on the other system:\n{}", wrong.join("\n"));
}

/// Files of the daemon that use paths, and for what. What is in run dirs is reached through `outlet/dir_*.rs` alone, which
/// opens by descriptors.
const BY_PATH: &[(&str, &str)] = &[
    ("outlet/descriptor_unix.rs", "terminals of the kernel, and /proc/self/fd"),
    ("outlet/descriptors_unix.rs", "/dev/null"),
    ("outlet/dir_unix.rs", "the run dir itself, and the entries of a descriptor"),
    ("outlet/dir_windows.rs", "the folder of a prefix"),
    ("outlet/peer_linux.rs", "/proc"),
    ("outlet/pipe_windows.rs", "named pipes"),
    ("outlet/socket_unix.rs", "/dev/null"),
    ("daemon/client.rs", "whether the service's run dir is there"),
    ("daemon/link_unix.rs", "/dev/null, and a command's connection"),
    ("daemon/passing_windows.rs", "a command's connection"),
    ("daemon/passed_unix.rs", "the address of a socket of systemd's"),
    ("session/pass/own_unix.rs", "/dev/fd"),
    ("session/pass/pair_windows.rs", "a type of handles"),
    ("session/pass/own_windows.rs", "a type of handles"),
    ("session/port_watch.rs", "ports in /dev"),
    ("session/program/guard_linux.rs", "/proc"),
    ("session/program/process.rs", "programs of the configuration"),
];

/// Calls that take paths.
const CALLS: &[&str] = &[
    "fs::read",
    "fs::write",
    "fs::remove",
    "fs::create",
    "fs::rename",
    "fs::metadata",
    "fs::symlink",
    "fs::set_permissions",
    "fs::copy",
    "fs::hard_link",
    "fs::exists",
    "OpenOptions",
    "File::open",
    "File::create",
    "UnixListener::bind",
    "UnixStream::connect",
    "mkfifo(",
    "mkdir(",
    "symlink(",
    "unlink(",
    "fcntl::open",
    "openat(",
    "chmod(",
    "chown(",
    "canonicalize(",
    "read_link(",
    ".exists()",
];

#[test]
fn run_dirs_are_reached_through_descriptors_alone() {
    let mut wrong = Vec::new();
    for (path, text) in files() {
        let name = path.strip_prefix(source()).unwrap().to_str().unwrap().to_owned();
        let is_daemon = ["bridge/", "daemon/", "outlet/", "session/", "cli/alone.rs", "cli/demo.rs", "cli/run.rs"];
        let is_test = name.contains("/tests");
        if is_test
            || !is_daemon.iter().any(|part| name.starts_with(part))
            || BY_PATH.iter().any(|(known, _)| *known == name)
        {
            continue;
        }
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        for (number, line) in code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            let calls = CALLS.iter().filter(|call| line.contains(**call));
            wrong.extend(calls.map(|call| format!("{name}:{}: {call}", number + 1)));
        }
    }
    assert!(wrong.is_empty(), "by path; see `src/outlet/dir_unix.rs`:\n{}", wrong.join("\n"));
}

#[test]
fn the_pumps_say_that_they_are_the_hot_path() {
    let pumps = [
        "bulk_in", "bulk_out", "cutter", "deframe", "frame", "in_pump", "iso_in", "iso_out", "place", "readers",
        "ring", "writers",
    ];
    for pump in pumps {
        let text = fs::read_to_string(source().join("bridge").join(format!("{pump}.rs"))).unwrap();
        assert!(text.starts_with("//! Hot path."), "{pump}.rs");
        let code = text.split("#[cfg(test)]").next().unwrap();
        for slow in ["Mutex", "RwLock", "info!", "warn!", "format!", "println!"] {
            assert!(!code.contains(slow), "{pump}.rs uses {slow}");
        }
    }
}

#[test]
fn every_file_opens_with_its_job() {
    for (path, text) in files() {
        assert!(text.starts_with("//! "), "{}", path.display());
    }
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut folders = vec![source()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                files.push((path, text));
            }
        }
    }
    assert!(files.len() > 30, "the sources were not found");
    files
}

/// The top-level module that a file belongs to.
fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix(source()).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The top-level modules that a line names by `crate::`.
fn imports(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}
