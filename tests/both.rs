//! The stories that every system has in common, on this one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/board.rs"]
mod board;
#[path = "both/mod.rs"]
mod both;
mod common;
#[path = "common/log_file.rs"]
mod log_file;
#[path = "common/peer.rs"]
mod peer;
