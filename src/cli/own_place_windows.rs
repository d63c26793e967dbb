//! Names that are this user's: what a demo has, and what nobody else may read.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use firmware_mock::os::ControlListener;

use crate::config::OutletKind;
use crate::daemon::Beside;

/// Where a demo's faults are asked for.
pub(super) fn control(beside: Beside) -> io::Result<ControlListener> {
    firmware_mock::os::bind_control(&beside).map(|(listener, _)| listener)
}

/// What programs find in a demo.
pub(super) fn demo_outlets() -> Vec<OutletKind> {
    vec![OutletKind::Pipe]
}

/// Commands of PowerShell to try, a line each.
pub(super) fn demo_tour(dir: &Path, program: &str) -> String {
    let d = dir.display();
    format!(
        r#"  $board = [IO.File]::Open('{d}\uno\serial', 'Open', 'ReadWrite')           # a simulated Arduino
  $line = [Text.Encoding]::ASCII.GetBytes("PING 1`n"); $board.Write($line, 0, $line.Length); $board.Flush()
  (New-Object IO.StreamReader $board).ReadLine(); $board.Close()              # answers
  & '{program}' --dir {d} control regs 'out 0x40 1 0 0 cafe'                  # the control pipe
  & '{program}' --dir {d} status                                              # what has moved so far"#
    )
}

/// How a file is made that this user alone can read: a user's folders are that user's.
pub(super) fn private() -> OpenOptions {
    OpenOptions::new()
}

/// What `--dir` and `-c` are for.
pub(super) const DIR_HELP: &str =
    "What the names of all pipes begin with [default: %USBPIPE_DIR%, \\\\.\\pipe\\usbpipe]";
pub(super) const CONFIG_HELP: &str =
    "Configuration file [default: usbpipe.toml here, in %APPDATA%\\usbpipe, in %PROGRAMDATA%\\usbpipe]";
