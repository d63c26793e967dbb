//! The service's folder, `%PROGRAMDATA%\usbpipe`: its configuration, which only administrators may change, because it says
//! what is run, and its log, which the service writes.

use std::io;
use std::os::windows::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use windows_sys::Win32::Security::{
    DACL_SECURITY_INFORMATION, OWNER_SECURITY_INFORMATION, PROTECTED_DACL_SECURITY_INFORMATION, SetFileSecurityW,
};

use super::Failure;
use crate::daemon::Security;

/// The configuration that is taken where none is named.
pub(super) fn config_file() -> Result<PathBuf, Failure> {
    Ok(folder()?.join("usbpipe.toml"))
}

/// The log of the running service.
pub(super) fn log_file() -> Result<PathBuf, Failure> {
    Ok(folder()?.join("log").join("usbpipe.log"))
}

/// Makes the folders, or takes those that are there from whoever has made them.
pub(super) fn make() -> Result<(), Failure> {
    let folder = folder()?;
    let made = make_for(&folder, FOR_READING).and_then(|()| make_for(&folder.join("log"), FOR_THE_LOG));
    made.map_err(|e| Failure::run_time(format!("cannot make {}: {e}", folder.display())))
}

fn folder() -> Result<PathBuf, Failure> {
    let data = std::env::var_os("PROGRAMDATA").filter(|data| !data.is_empty());
    let data =
        data.ok_or_else(|| Failure::run_time("%PROGRAMDATA% is not set; say where the configuration is by -c"))?;
    Ok(Path::new(&data).join("usbpipe"))
}

fn make_for(folder: &Path, sddl: &str) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let security = Security::parse(sddl)?;
    let parts = OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION;
    let path: Vec<u16> = folder.as_os_str().encode_wide().chain([0]).collect();
    // SAFETY: the path ends with a NUL, and both outlive the call, which changes neither.
    match unsafe { SetFileSecurityW(path.as_ptr(), parts, security.descriptor().cast_mut()) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Administrators own it; they and the system may do anything, everybody may read.
const FOR_READING: &str = "O:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FRFX;;;BU)(A;OICI;FRFX;;;LS)";
/// LocalService may change what is in it, too.
const FOR_THE_LOG: &str = "O:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FRFX;;;BU)(A;OICI;0x1301bf;;;LS)";
