//! Stories of Windows alone; those that are the same elsewhere are in the files beside this folder. `tests/wine/run` runs
//! both.

#![cfg(windows)]
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

#[path = "stories/access.rs"]
mod access;
#[path = "stories/com_port.rs"]
mod com_port_stories;
#[path = "stories/commands.rs"]
mod commands;
#[path = "../common/mod.rs"]
mod common;
#[path = "stories/crowd.rs"]
mod crowd;
#[path = "stories/plain.rs"]
mod plain;
#[path = "stories/service.rs"]
mod service;
#[path = "stories/unplug.rs"]
mod unplug;
