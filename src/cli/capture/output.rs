//! Where a capture goes: stdout, a file, or a file that never grows over a size. Every write is of whole blocks and is
//! there at once.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use super::super::Failure;
use super::super::args::CaptureArgs;
use super::super::own_place::private;
use super::super::reader::has_left;
use super::ring::Ring;
use crate::capture::{Blocks, Kind};
use crate::log_writer;

/// An output and what went into it.
pub(super) struct Output {
    target: Target,
    blocks: Blocks,
    /// Of the chunk of the moment.
    whole: Vec<u8>,
    written: Written,
    warned: Option<Instant>,
}

enum Target {
    Stdout(io::Stdout),
    File(File),
    Ring(Ring),
}

/// What was written.
#[derive(Clone, Copy)]
pub(super) struct Written {
    records: u64,
    dropped: u64,
    /// Whether the end of the capture came.
    is_complete: bool,
    /// False when whoever read it has left.
    pub(super) is_wanted: bool,
}

impl Output {
    /// Refuses what cannot go together.
    pub(super) fn check(args: &CaptureArgs) -> Result<(), Failure> {
        match (&args.output, args.ring) {
            (None, _) if io::stdout().is_terminal() => Err(Failure::usage(
                "a capture is nothing for a terminal; write it to a file with -o FILE, or into Wireshark with \
                 `| wireshark -k -i -`",
            )),
            (output, Some(_)) if is_stdout(output.as_deref()) => {
                Err(Failure::usage("--ring needs a file that can be made shorter; give one with -o FILE"))
            }
            _ => Ok(()),
        }
    }

    /// The longest record. A ring holds at least a few of them.
    pub(super) fn limit(args: &CaptureArgs) -> u32 {
        let most = args.ring.map_or(u64::MAX, |size| size / 4);
        args.snaplen.min(u32::try_from(most).unwrap_or(u32::MAX))
    }

    pub(super) fn open(args: &CaptureArgs) -> Result<Self, Failure> {
        let target = match (args.output.as_deref(), args.ring) {
            (Some(path), Some(size)) if !is_stdout(Some(path)) => Target::Ring(Ring::create(path, size)?),
            (Some(path), None) if !is_stdout(Some(path)) => Target::File(create(path)?),
            _ => Target::Stdout(io::stdout()),
        };
        let written = Written { records: 0, dropped: 0, is_complete: false, is_wanted: true };
        Ok(Self { target, blocks: Blocks::default(), whole: Vec::new(), written, warned: None })
    }

    /// Writes all blocks that are whole now. What a reader that has left does not take is no failure.
    pub(super) fn write(&mut self, chunk: &[u8]) -> Result<(), Failure> {
        self.blocks.push(chunk);
        self.whole.clear();
        while let Some(block) = self.blocks.next().map_err(|e| Failure::run_time(format!("from the daemon: {e}")))? {
            match block.kind {
                Kind::Header => {}
                Kind::Record { dropped } => {
                    self.written.records += 1;
                    self.written.dropped += dropped;
                }
                Kind::Statistics { dropped, .. } => (self.written.dropped, self.written.is_complete) = (dropped, true),
            }
            match &mut self.target {
                Target::Ring(ring) => ring.push(block.kind, block.bytes)?,
                _ => self.whole.extend(block.bytes),
            }
        }
        self.warn();
        let result = match &mut self.target {
            Target::Stdout(out) => out.write_all(&self.whole).and_then(|()| out.flush()),
            Target::File(file) => file.write_all(&self.whole),
            Target::Ring(ring) => return ring.flush(),
        };
        match result {
            Err(e) if has_left(&e) => self.written.is_wanted = false,
            result => result.map_err(|e| Failure::run_time(format!("writing the capture failed: {e}")))?,
        }
        Ok(())
    }

    /// Whether anybody still takes what is written.
    pub(super) fn is_wanted(&self) -> bool {
        self.written.is_wanted
    }

    pub(super) fn written(&self) -> Written {
        self.written
    }

    /// Says so when records are missing, now and then.
    fn warn(&mut self) {
        if self.written.dropped > 0 && self.warned.is_none_or(|last| last.elapsed() > QUIET) {
            self.warned = Some(Instant::now());
            let n = self.written.dropped;
            let text = "records were left out so far: they come faster than they can be written";
            log_writer::print(format_args!("usbpipe: {n} {text}"));
        }
    }
}

impl Written {
    /// In words, for the end.
    pub(super) fn describe(&self, device: &str, args: &CaptureArgs) -> String {
        let place = args.output.as_deref().filter(|path| !is_stdout(Some(path)));
        let place = place.map_or_else(String::new, |path| format!(" in {}", path.display()));
        let missing = match (self.is_complete, self.dropped) {
            (false, _) => "the daemon ended before it said how many were left out".to_owned(),
            (true, 0) => "none were left out".to_owned(),
            (true, n) => format!("{n} were left out"),
        };
        format!("{} records of {device}{place}; {missing}", self.records)
    }
}

/// A file for this user alone: what is typed on a keyboard may be in it.
pub(super) fn create(path: &Path) -> Result<File, Failure> {
    let opened = private().write(true).create(true).truncate(true).open(path);
    opened.map_err(|e| Failure::run_time(format!("{}: cannot be written: {e}", path.display())))
}

fn is_stdout(path: Option<&Path>) -> bool {
    path.is_none_or(|path| path == Path::new("-"))
}

const QUIET: Duration = Duration::from_secs(1);
