//! Opens a COM port by its name. Windows gives it to one program at a time and does not say to which.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_FILE_NOT_FOUND, ERROR_INVALID_NAME, ERROR_PATH_NOT_FOUND, ERROR_SHARING_VIOLATION,
};
use windows_sys::Win32::Storage::FileSystem::FILE_FLAG_OVERLAPPED;

use super::{FirstSettings, list, settings, system};
use crate::usb::{OpenError, port_permission_advice};

/// Opens the port of this name, `COM5` or `\\.\COM5`, for overlapped work and for nobody else, raw and with these settings.
///
/// # Errors
/// [`OpenError::NotFound`] with the ports that there are, [`OpenError::Busy`] when another program has it.
pub(super) fn open(path: &Path, first: FirstSettings) -> Result<File, OpenError> {
    if system::name(path).is_none() {
        return Err(OpenError::NotFound(format!("{} is no serial port; {}", path.display(), present())));
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).share_mode(0).custom_flags(FILE_FLAG_OVERLAPPED);
    let port = options.open(device(path)).map_err(|e| refusal(path, e))?;
    settings::set_up(&port, first).map_err(|e| refusal(path, e))?;
    Ok(port)
}

/// Names from COM10 on are devices only with this prefix.
fn device(path: &Path) -> PathBuf {
    let name = path.display().to_string();
    PathBuf::from(if name.starts_with(DEVICES) { name } else { format!("{DEVICES}{name}") })
}

fn refusal(path: &Path, error: io::Error) -> OpenError {
    let shown = path.display();
    match error.raw_os_error().map(|code| code as u32) {
        Some(ERROR_FILE_NOT_FOUND | ERROR_PATH_NOT_FOUND | ERROR_INVALID_NAME) => {
            OpenError::NotFound(format!("{shown} cannot be opened ({error}); {}", present()))
        }
        Some(ERROR_ACCESS_DENIED | ERROR_SHARING_VIOLATION) => {
            OpenError::Busy(format!("{shown} cannot be opened: {}", permission_advice(path)))
        }
        _ => OpenError::Unreachable(format!("opening {shown} failed"), error),
    }
}

/// The other programs that have the port open: Windows does not say who.
pub fn others(_path: &Path) -> Option<String> {
    None
}

/// What somebody can do who may not open the port at `path`.
pub fn permission_advice(path: &Path) -> String {
    port_permission_advice(path)
}

fn present() -> String {
    match list().as_slice() {
        [] => "this machine has no serial port now".to_owned(),
        some => format!("there are {}", some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// Who has a port, if nobody can say.
pub const UNSEEN: &str = "another program";
const DEVICES: &str = r"\\.\";
