//! The log: on stderr, or in a file where nobody sees that. Who writes it is [`crate::log_writer`].

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal, Write};
use std::panic;
use std::path::Path;

use tracing_subscriber::EnvFilter;

use super::log::Rotation;
use crate::log_writer;

/// Starts logging at `default`, or further down with each `-v`; `RUST_LOG` overrides both. A file that cannot be opened
/// is told on stderr, where the log goes then.
pub(super) fn start(verbose: u8, default: &str, file: Option<&Path>) {
    let level = match (verbose, default) {
        (0, level) => level,
        (1, "info") => "debug",
        (1, _) => "info",
        (2, "warn") => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(format!("{level},nusb=error")));
    let file = file.and_then(|path| {
        let opened = Rotation::open(path, LONGEST, KEPT);
        opened.map_err(|e| log_writer::print(format_args!("usbpipe: no log in {}: {e}", path.display()))).ok()
    });
    let is_coloured = file.is_none() && io::stderr().is_terminal();
    if let Some(file) = file {
        log_writer::redirect(Box::new(LogFile(file)));
    }
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(is_coloured)
        .with_writer(log_writer::lines)
        .try_init();
}

/// Has panics reported in the log, which cannot be held up by who reads it. To be called before other hooks are set.
pub(super) fn catch_panics() {
    panic::set_hook(Box::new(|panic| {
        let trace = Backtrace::capture();
        match trace.status() {
            BacktraceStatus::Captured => log_writer::print(format_args!("usbpipe: {panic}\n{trace}")),
            _ => log_writer::print(format_args!("usbpipe: {panic}")),
        }
    }));
}

/// Dropped at the end of the program, also after a panic: waits until the log is written, for a moment.
pub(super) struct AllWritten;

impl Drop for AllWritten {
    fn drop(&mut self) {
        log_writer::flush();
    }
}

/// A file of events, each of which is one write.
struct LogFile(Rotation);

impl Write for LogFile {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.0.write(&String::from_utf8_lossy(event))?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes of the newest file.
const LONGEST: u64 = 1 << 20;
/// Older files.
const KEPT: u32 = 3;
