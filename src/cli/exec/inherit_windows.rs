//! Which handles a command is born with on Windows: stdin, stdout and stderr, and nothing else.

use std::ffi::OsString;
use std::io;
use std::process::Command;

use super::wanted::{Descriptor, Name};
use crate::session::PassedEnd;
use crate::session::keep_handles;

/// Whether a pipe can be named as a path: all can.
pub(super) fn has_path(_name: Name) -> bool {
    true
}

/// None: a command opens the outlet itself.
pub(super) fn number(_name: Name, _descriptors: &mut Vec<Descriptor>) -> Option<String> {
    None
}

/// The pipe in the device's folder. The two lines of a serial function have one.
pub(super) fn outlet(name: Name) -> String {
    if name.is_serial() { Name::Serial.to_string() } else { name.to_string() }
}

/// What to do for a port where there is none.
pub(super) fn no_port(device: &str) -> String {
    format!(
        "Windows has no terminal that could be {{port}}; write {{serial}} for the name of the pipe, or lend the board's \
         own port: usbpipe release {device} -- CMD {{port}}"
    )
}

/// Refuses every number: handles have none of their own.
///
/// # Errors
/// `Unsupported` where something was asked for.
pub(super) fn give(_command: &mut Command, given: Vec<(i32, PassedEnd)>) -> io::Result<()> {
    match given.is_empty() {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "Windows commands inherit stdin and stdout alone; write {ep_81} in the command for the name of a pipe that it opens",
        )),
    }
}

/// Lets the command inherit nothing that somebody left open for this process.
pub(super) fn keep_others_from(_command: &[OsString]) {
    keep_handles();
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::path::Path;

    use crate::cli::args::ExecArgs;
    use crate::cli::exec::plan::Plan;
    use crate::cli::options::BridgeArgs;

    #[test]
    fn a_pipe_in_braces_is_its_name() {
        let command = ["cmp.exe", "{ep_81}", "x{ep_02},{serial.rx}", "{serial}", "{81}"].map(Into::into).to_vec();
        let device = "d".to_owned();
        let args = ExecArgs {
            device,
            input: None,
            output: None,
            serial: false,
            fd: Vec::new(),
            options: BridgeArgs::default(),
            command,
        };
        let words = Plan::new(args).unwrap().arguments(None, Path::new(r"\\.\pipe\usbpipe\d"));
        let pipe = r"\\.\pipe\usbpipe\d\";
        let expected = ["PIPEep_81", "xPIPEep_02,PIPEserial", "PIPEserial", "{81}"];
        assert_eq!(words, expected.map(|word| OsString::from(word.replace("PIPE", pipe))));
    }
}
