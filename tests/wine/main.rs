//! The stories of Windows: those that every system has in common, and those of Windows alone. `tests/wine/run` runs them
//! under Wine.

#![cfg(windows)]
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

#[path = "stories/access.rs"]
mod access;
#[path = "../common/board.rs"]
mod board;
#[path = "../both/mod.rs"]
mod both;
#[path = "stories/com_port.rs"]
mod com_port_stories;
#[path = "stories/commands.rs"]
mod commands;
#[path = "../common/mod.rs"]
mod common;
#[path = "stories/crowd.rs"]
mod crowd;
#[path = "stories/ends.rs"]
mod ends;
#[path = "stories/help.rs"]
mod help;
#[path = "../common/log_file.rs"]
mod log_file;
#[path = "../common/peer.rs"]
mod peer;
#[path = "stories/plain.rs"]
mod plain;
#[path = "stories/run_program.rs"]
mod run_program;
#[path = "stories/screens.rs"]
mod screens;
#[path = "stories/service.rs"]
mod service;
#[path = "stories/unplug.rs"]
mod unplug;
#[path = "stories/words.rs"]
mod words;
