//! `log`: the lines of a serial line into a file, each with its time. It sends nothing.
//!
//! ```text
//!   waiting ──► reading ──── the daemon, or with unplug = "eof" the device, has gone ──► waiting
//! ```

mod lines;
mod rotation;

use std::fmt::Display;
use std::future::pending;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::sleep;

use super::args::LogArgs;
use super::serial_bytes::{News, SerialBytes};
use super::signals::{Received, Signals};
use super::{Failure, Outcome, run_dir};
use lines::Lines;
#[cfg(any(test, fuzzing))]
pub(crate) use lines::fuzz;
pub(super) use rotation::Rotation;

/// `usbpipe log NAME`.
pub(super) async fn log(dir: Option<PathBuf>, args: LogArgs) -> Outcome {
    let dir = run_dir(dir)?;
    let mut signals = Signals::new()?;
    // Who misspells a name shall hear of it, and not find an empty file.
    let mut bytes = SerialBytes::open(&dir, &args.device).await?;
    let mut log = Log { lines: Lines::default(), output: Output::open(&args)? };
    loop {
        tokio::select! {
            biased;
            received = signals.next() => match received {
                Received::End => break,
                Received::Reload => log.output.reopen()?,
            },
            news = bytes.next() => match news {
                News::Bytes(bytes) => log.add(bytes)?,
                News::Event(event) => log.mark(&format!("{}: {}", event.event, event.text))?,
                News::Daemon(text) => log.mark(text)?,
            },
            () = silence(&log.lines) => log.flush()?,
        }
    }
    log.flush()?;
    Ok(0)
}

/// Resolves when a line has waited for its end for long enough.
async fn silence(lines: &Lines) {
    if lines.has_partial() { sleep(SILENCE).await } else { pending().await }
}

struct Log {
    lines: Lines,
    output: Output,
}

impl Log {
    fn add(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        for line in self.lines.push(bytes, SystemTime::now()) {
            self.output.write(line.time, &line.text)?;
        }
        Ok(())
    }

    /// Something that the device did not say.
    fn mark(&mut self, text: &str) -> Result<(), Failure> {
        self.flush()?;
        self.output.write(SystemTime::now(), &format!("-- {text} --"))
    }

    fn flush(&mut self) -> Result<(), Failure> {
        match self.lines.flush() {
            Some(line) => self.output.write(line.time, &line.text),
            None => Ok(()),
        }
    }
}

enum Output {
    Stdout,
    File(PathBuf, Rotation),
}

impl Output {
    fn open(args: &LogArgs) -> Result<Self, Failure> {
        let path = args.output.clone().unwrap_or_else(|| format!("{}.log", args.device).into());
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        let rotation = Rotation::open(&path, args.rotate, args.keep).map_err(|e| failed(&path, e))?;
        Ok(Self::File(path, rotation))
    }

    fn write(&mut self, time: SystemTime, text: &str) -> Result<(), Failure> {
        let line = format!("{} {text}", timestamp(time));
        match self {
            Self::Stdout => super::status::print_line(&line),
            Self::File(path, rotation) => rotation.write(&format!("{line}\n")).map_err(|e| failed(path, e)),
        }
    }

    fn reopen(&mut self) -> Result<(), Failure> {
        match self {
            Self::Stdout => Ok(()),
            Self::File(path, rotation) => rotation.reopen().map_err(|e| failed(path, e)),
        }
    }
}

fn failed(path: &Path, error: io::Error) -> Failure {
    Failure::run_time(format!("writing the log {} failed: {error}", path.display()))
}

/// In UTC, as far as years have four digits; what the clock shows before 1970 becomes the beginning of 1970.
fn timestamp(time: SystemTime) -> impl Display {
    let last = UNIX_EPOCH + Duration::from_secs(LAST_SECOND);
    humantime::format_rfc3339_millis(time.clamp(UNIX_EPOCH, last))
}

/// The last one of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;
/// A line whose end has not come by then is written as far as it goes.
const SILENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_never_set_does_no_harm() {
        let shown = |time| timestamp(time).to_string();
        assert_eq!(shown(UNIX_EPOCH + Duration::from_millis(1500)), "1970-01-01T00:00:01.500Z");
        assert_eq!(shown(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000Z");
        assert_eq!(shown(UNIX_EPOCH + Duration::from_secs(300_000_000_000)), "9999-12-31T23:59:59.000Z");
    }
}
