//! What `--help` says of Windows: its paths, pipes and consoles. It parses nothing.

pub(super) const ABOUT: &str =
    "Turns USB pipes and CDC serial into ordinary pipes: named pipes that any program can read and write";

pub(super) const FILES: &str = r"Files:
  usbpipe.toml, %APPDATA%\usbpipe\usbpipe.toml, %PROGRAMDATA%\usbpipe\usbpipe.toml
      the configuration, the first of them that is there; `usbpipe man usbpipe.toml` describes its keys
  \\.\pipe\usbpipe\NAME\ep_81, \\.\pipe\usbpipe\NAME\serial
      pipes of a device, which programs open as files
  %LOCALAPPDATA%\usbpipe\usbpipe\NAME\device.json
      its descriptors and state

Environment: USBPIPE_DIR is what the names of all pipes begin with, RUST_LOG says what is logged.";

pub(super) const SELECTORS: &str = "Devices: VVVV:PPPP, VVVV:PPPP:SERIAL, serial:SERIAL, product:NAME, a place such as 1-1.4, a port such as \
     COM5, or usbip://HOST[:PORT]/BUSID";

pub(super) const EXEC: &str =
    "Run a command with a device's pipes as its stdin and stdout; its exit status is the command's";

pub(super) const EXEC_CMD: &str = "Command to run; {ep_81} in its arguments is the name of this pipe, \
                                   \\\\.\\pipe\\usbpipe\\DEVICE\\ep_81, {serial} likewise";

pub(super) const EXEC_HELP: &str = "\
Examples:
  usbpipe exec uno --serial -- python talk.py
  usbpipe exec zero --in ep_81 -- .\\reader.exe
  usbpipe exec zero -- python compare.py {ep_82} {ep_02}
  usbpipe exec uno --in serial -- cmd /c more

Stdin, stdout and stderr are inherited where nothing else is said. USBPIPE_DIR and USBPIPE_DEVICE \
tell CMD where it is. What the command prompt itself carries out, such as echo and type, is run by: \
cmd /c

Ctrl-C reaches CMD, and usbpipe waits for what CMD makes of it. The exit status is CMD's, 127 if it \
is not found, and 126 if it cannot be run. With a selector and without a daemon the device is taken \
for as long as CMD runs and what it wrote is on its way.";

pub(super) const RELEASE_HELP: &str = "\
The bridge goes on when the command has ended, however it ended; the exit status is the command's. \
Ctrl-C reaches it. Without a command the device stays released until `usbpipe reclaim`.

Examples:
  usbpipe release uno -- avrdude -c arduino -p m328p -P {port} -U flash:w:blink.hex
  usbpipe serial leonardo touch && \
usbpipe release leonardo -- avrdude -c avr109 -p m32u4 -P {port} -U flash:w:blink.hex";

pub(super) const END_OF_LOG: &str = "Ctrl-C ends it.";

/// Whether a command can be given descriptors by their numbers.
pub(super) const HAS_NUMBERS: bool = false;

/// Whether an outlet can be a Unix socket.
pub(super) const HAS_SOCKETS: bool = false;

/// What to try when a command is not found.
pub(super) const NOT_FOUND: &str = "; write .\\NAME.exe for one in this folder, NAME.cmd for a script, and cmd /c before \
                                    what only the command prompt knows";
