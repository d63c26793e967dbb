//! The stories that are the same on every system, told by the same source. `tests/both.rs` runs them on this one,
//! `tests/wine/run` those of Windows under Wine. What a system does in its own way is in `tests/common/*_unix.rs` and
//! `*_windows.rs`; a story that only one of them can tell has its place in a file beside this folder, or in
//! `tests/wine/stories`.

mod arduino;
mod bulk;
mod commands;
mod configuration;
mod control;
mod demo;
mod fanin;
mod fanout;
mod framing;
mod interrupt;
mod isochronous;
mod log;
mod options;
mod peer;
mod serial;
mod server;
mod unplug;
