//! The log: on stderr, or in a file where nobody sees that.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use super::log::Rotation;

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
        opened.map_err(|e| eprintln!("usbpipe: no log in {}: {e}", path.display())).ok()
    });
    let is_coloured = file.is_none() && io::stderr().is_terminal();
    let writer = match file {
        Some(file) => BoxMakeWriter::new(Mutex::new(LogFile(file))),
        None => BoxMakeWriter::new(io::stderr),
    };
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(is_coloured)
        .with_writer(writer)
        .try_init();
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
