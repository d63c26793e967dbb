//! Stories of Windows alone; those that are the same elsewhere are in the files beside this folder. `tests/wine/run` runs both.

#![cfg(windows)]
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
