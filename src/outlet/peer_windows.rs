//! Who is at the other end of a named pipe, as Windows noted it when the program connected. Good for showing, not for
//! deciding who may do what.

use std::path::Path;

use windows_sys::Win32::Foundation::CloseHandle;
use windows_sys::Win32::System::Pipes::GetNamedPipeClientProcessId;
use windows_sys::Win32::System::Threading::{
    OpenProcess, PROCESS_NAME_WIN32, PROCESS_QUERY_LIMITED_INFORMATION, QueryFullProcessImageNameW,
};

use super::peer::{Peer, printable};
use super::pipe::Connection;

impl Peer {
    /// Who connected.
    pub fn of(connection: &Connection) -> Self {
        let mut pid = 0;
        // SAFETY: the handle is open, and the place for the number outlives the call.
        let asked = unsafe { GetNamedPipeClientProcessId(connection.handle.raw(), &mut pid) };
        if asked == 0 || pid == 0 { Self::default() } else { Self::process(pid) }
    }

    /// The process with this number.
    pub fn process(pid: u32) -> Self {
        let command = program(pid).map(|path| {
            let name = Path::new(&path).file_name().map(|name| name.to_string_lossy().into_owned());
            printable(&name.unwrap_or(path))
        });
        Self { pid: Some(pid), uid: None, command, address: None }
    }
}

/// The path of its program.
fn program(pid: u32) -> Option<String> {
    // SAFETY: opens a handle of this process's own.
    let process = unsafe { OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, pid) };
    if process.is_null() {
        return None;
    }
    let (mut path, mut length) = ([0u16; LONGEST_PATH], LONGEST_PATH as u32);
    // SAFETY: the handle is open, and the room outlives the call and has the length that is said.
    let asked = unsafe { QueryFullProcessImageNameW(process, PROCESS_NAME_WIN32, path.as_mut_ptr(), &mut length) };
    // SAFETY: it was opened above.
    unsafe { CloseHandle(process) };
    (asked != 0).then(|| String::from_utf16_lossy(&path[..length as usize]))
}

/// Characters; a longer path is not shown.
const LONGEST_PATH: usize = 1024;
