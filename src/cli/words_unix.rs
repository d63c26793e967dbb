//! What `--help` says of Unix: its paths, descriptors and signals. It parses nothing.

pub(super) const ABOUT: &str =
    "Turns USB pipes and CDC serial into ordinary pipes: FIFOs and sockets that any program can read and write";

pub(super) const FILES: &str = "\
Files:
  ./usbpipe.toml, ~/.config/usbpipe/usbpipe.toml, /etc/usbpipe/usbpipe.toml
      the configuration, the first of them that is there; `usbpipe man usbpipe.toml` describes its keys
  /run/usbpipe
      run directory of root and of usbpipe.service; others say --dir /run/usbpipe

Environment: USBPIPE_DIR is the run directory, RUST_LOG says what is logged.";

pub(super) const SELECTORS: &str = "Devices: VVVV:PPPP, VVVV:PPPP:SERIAL, serial:SERIAL, product:NAME, a place such as 1-1.4, a port such as \
     /dev/ttyACM0, or usbip://HOST[:PORT]/BUSID";

pub(super) const EXEC: &str = "Run a command with a device's pipes as its stdin, stdout and other descriptors; its exit \
                               status is the command's";

pub(super) const EXEC_CMD: &str = "Command to run; {port} in its arguments is the path of serial.tty, {ep_81} that of a \
                                   descriptor of this pipe";

pub(super) const EXEC_HELP: &str = "\
Examples:
  usbpipe exec uno --serial -- python3 talk.py
  usbpipe exec zero --in ep_81 -- head -c 1M >bulk.bin
  usbpipe exec zero --fd 3=ep_82:packet --fd 4=ep_02:packet -- ./loopback
  usbpipe exec uno -- tio {port}

Kinds of descriptors: an end of a pipe, and of serial one of a stream socketpair, which :socket asks \
for elsewhere; :packet is a SEQPACKET socketpair, a message for each transfer. Stdin, stdout and \
stderr are inherited where nothing else is said, and of other descriptors only those that the words \
of CMD name, as the shell's >(...) does. USBPIPE_DIR and USBPIPE_DEVICE tell CMD where it is.

Signals are passed on to CMD. The exit status is its own, 128 and the number of the signal that \
killed it, 127 if it is not found, and 126 if it cannot be run. With a selector and without a daemon \
the device is taken for as long as CMD runs and what it wrote is on its way.";

pub(super) const RELEASE_HELP: &str = "\
The bridge goes on when the command has ended, however it ended; the exit status is the command's. \
Signals are passed on to it. Without a command the device stays released until `usbpipe reclaim`.

Examples:
  usbpipe release uno -- avrdude -c arduino -p m328p -P {port} -U flash:w:blink.hex
  usbpipe serial leonardo touch && \\
    usbpipe release leonardo -- avrdude -c avr109 -p m32u4 -P {port} -U flash:w:blink.hex";

pub(super) const END_OF_LOG: &str = "Ctrl-C ends it, SIGHUP opens the file anew.";

/// Whether a command can be given descriptors by their numbers.
pub(super) const HAS_NUMBERS: bool = true;

/// Whether an outlet can be a Unix socket.
pub(super) const HAS_SOCKETS: bool = true;

/// What to try when a command is not found.
pub(super) const NOT_FOUND: &str = "";
