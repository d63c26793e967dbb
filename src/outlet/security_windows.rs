//! Who may open a pipe or a folder: a security descriptor from its text form (SDDL). It opens nothing.

use std::ffi::c_void;
use std::io;
use std::iter::once;
use std::ptr::null_mut;

use windows_sys::Win32::Foundation::{CloseHandle, HANDLE, LocalFree};
use windows_sys::Win32::Security::Authorization::{
    ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows_sys::Win32::Security::{GetTokenInformation, PSECURITY_DESCRIPTOR, TOKEN_QUERY, TOKEN_USER, TokenUser};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

/// A security descriptor.
#[derive(Debug)]
pub struct Security(PSECURITY_DESCRIPTOR);

// SAFETY: it is memory that nobody changes.
unsafe impl Send for Security {}
// SAFETY: as above.
unsafe impl Sync for Security {}

impl Security {
    /// For the user of this process, administrators and the system.
    ///
    /// # Errors
    /// When the system does not say who the user is.
    pub fn of_this_user() -> io::Result<Self> {
        Self::parse(&format!("D:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;GA;;;{})", user()?))
    }

    /// What this text says.
    ///
    /// # Errors
    /// When it is no SDDL.
    pub fn parse(sddl: &str) -> io::Result<Self> {
        let text: Vec<u16> = sddl.encode_utf16().chain(once(0)).collect();
        let mut descriptor = null_mut();
        // SAFETY: the text ends with a NUL, and the place for the result outlives the call.
        let parsed = unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                &mut descriptor,
                null_mut(),
            )
        };
        if parsed == 0 { Err(io::Error::last_os_error()) } else { Ok(Self(descriptor)) }
    }

    /// For the system, which only reads it. It is there for as long as this.
    pub fn descriptor(&self) -> *const c_void {
        self.0
    }
}

impl Drop for Security {
    fn drop(&mut self) {
        // SAFETY: the system made it for its caller to free, and nobody has it any more.
        unsafe { LocalFree(self.0) };
    }
}

/// The user of this process as SDDL names it: `S-1-5-21-…`.
fn user() -> io::Result<String> {
    let mut token: HANDLE = null_mut();
    // SAFETY: the place for the token outlives the call.
    if unsafe { OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &mut token) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // Aligned as the structure at its beginning.
    let mut room = [0u64; 32];
    let mut used = 0;
    let size = size_of_val(&room) as u32;
    // SAFETY: the token is open, and the room outlives the call and has the size that is said.
    let asked = unsafe { GetTokenInformation(token, TokenUser, room.as_mut_ptr().cast(), size, &mut used) };
    let error = io::Error::last_os_error();
    // SAFETY: it was opened above.
    unsafe { CloseHandle(token) };
    if asked == 0 {
        return Err(error);
    }
    // SAFETY: the system has put a TOKEN_USER there, and what that points to behind it.
    let sid = unsafe { room.as_ptr().cast::<TOKEN_USER>().read() }.User.Sid;
    let mut text = null_mut();
    // SAFETY: the SID is in `room`, which is still there.
    if unsafe { ConvertSidToStringSidW(sid, &mut text) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system has made a text that ends with a NUL.
    let length = (0..).take_while(|&at| unsafe { *text.add(at) } != 0).count();
    // SAFETY: as above; it has this many characters.
    let sid = String::from_utf16_lossy(unsafe { std::slice::from_raw_parts(text, length) });
    // SAFETY: it was made for its caller to free.
    unsafe { LocalFree(text.cast()) };
    Ok(sid)
}
