//! The log, on stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging at `default`, or further down with each `-v`; `RUST_LOG` overrides both.
pub(super) fn start(verbose: u8, default: &str) {
    let level = match (verbose, default) {
        (0, level) => level,
        (1, "info") => "debug",
        (1, _) => "info",
        (2, "warn") => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(format!("{level},nusb=error")));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .try_init();
}
