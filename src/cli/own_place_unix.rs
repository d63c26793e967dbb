//! Files that are this user's: what a demo has, and what nobody else may read.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use firmware_mock::os::ControlListener;

use crate::config::OutletKind;
use crate::daemon::Beside;

/// Where a demo's faults are asked for.
pub(super) fn control(beside: Beside) -> io::Result<ControlListener> {
    ControlListener::from_std(beside)
}

/// What programs find in a demo.
pub(super) fn demo_outlets() -> Vec<OutletKind> {
    vec![OutletKind::Fifo, OutletKind::Tty, OutletKind::Socket]
}

/// Commands to try, a line each.
pub(super) fn demo_tour(dir: &Path, program: &str) -> String {
    let d = dir.display();
    format!(
        "  exec 3<{d}/uno/serial.rx; echo 'PING 1' >{d}/uno/serial.tx; head -n1 <&3     # a simulated Arduino answers
  stty -F {d}/uno/serial.tty 57600                                              # a port, for pyserial and picocom too
  head -c 1000000 {d}/zero/ep_81 | wc -c                                       # a bulk endpoint, at full speed
  head -c 80 {d}/knob/ep_81 | od -An -v -tx1 -w8                                # reports of an interrupt endpoint
  head -c 192000 {d}/tone/ep_83 >tone.s16                                      # one second of isochronous sound
  {program} --dir {d} control regs 'out 0x40 1 0 0 cafe'                       # the control pipe
  {program} --dir {d} status                                                   # what has moved so far"
    )
}

/// How a file is made that this user alone can read.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// What `--dir` and `-c` are for.
pub(super) const DIR_HELP: &str =
    "Run directory, where the outlets stand [default: $USBPIPE_DIR, /run/usbpipe for root, $XDG_RUNTIME_DIR/usbpipe]";
pub(super) const CONFIG_HELP: &str =
    "Configuration file [default: usbpipe.toml here, in $XDG_CONFIG_HOME/usbpipe/, in /etc/usbpipe/]";
