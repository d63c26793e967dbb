//! A connection that keeps messages: a named pipe that is read message by message.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::AsRawHandle;
use std::path::Path;
use std::ptr::null;

use windows_sys::Win32::Foundation::{GENERIC_READ, GENERIC_WRITE};
use windows_sys::Win32::Storage::FileSystem::FILE_WRITE_ATTRIBUTES;
use windows_sys::Win32::System::Pipes::{PIPE_READMODE_MESSAGE, SetNamedPipeHandleState};

use super::{PATIENCE, open, open_writer, within};

/// In the configuration of a pipe: any number of programs, each of which sends or gets messages.
pub const MESSAGES: &str = "framing = \"packet\"";

/// A named pipe of messages.
pub struct Messages(File);

impl Messages {
    pub fn connect(path: &Path) -> Self {
        Self(open_with(path, GENERIC_READ | GENERIC_WRITE).unwrap())
    }

    /// A client of an outlet, of any direction.
    pub fn of_guest(outlet: &Path) -> Self {
        match open_packets(outlet) {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Self(open_writer(outlet).unwrap()),
            result => Self(result.unwrap()),
        }
    }

    pub fn send(&self, message: &[u8]) {
        assert_eq!((&self.0).write(message).unwrap(), message.len());
    }

    /// The next message, an empty one or the end of the connection as empty.
    pub fn receive(&self) -> Vec<u8> {
        let mut pipe = self.0.try_clone().unwrap();
        within(PATIENCE, move || {
            let mut buffer = vec![0; 256 * 1024];
            let n = pipe.read(&mut buffer).unwrap();
            buffer.truncate(n);
            buffer
        })
    }
}

/// Opens an outlet for reading one message a read.
pub fn open_packets(path: &Path) -> io::Result<File> {
    open_with(path, GENERIC_READ | FILE_WRITE_ATTRIBUTES)
}

/// With these rights, and reading messages: a pipe is opened for reading bytes, whatever its server made it for.
fn open_with(path: &Path, access: u32) -> io::Result<File> {
    let pipe = open(path, OpenOptions::new().access_mode(access))?;
    // SAFETY: the handle is open, the mode outlives the call, and what is not to be set is null.
    let set = unsafe { SetNamedPipeHandleState(pipe.as_raw_handle(), &PIPE_READMODE_MESSAGE, null(), null()) };
    if set == 0 { Err(io::Error::last_os_error()) } else { Ok(pipe) }
}
