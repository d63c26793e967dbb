//! Instances of a named pipe, each for one client: made so that only those may open it who are meant to. It moves no
//! byte.

use std::fs::{File, OpenOptions};
use std::io;
use std::iter::once;
use std::os::windows::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr::{from_mut, from_ref, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use windows_sys::Wdk::Foundation::OBJECT_ATTRIBUTES;
use windows_sys::Wdk::Storage::FileSystem::{
    FILE_CREATE, FILE_OPEN_IF, FILE_PIPE_CLOSING_STATE, FILE_PIPE_LOCAL_INFORMATION, FilePipeLocalInformation,
    NtQueryInformationFile,
};
use windows_sys::Win32::Foundation::{
    GENERIC_READ, GENERIC_WRITE, HANDLE, NTSTATUS, OBJ_CASE_INSENSITIVE, RtlNtStatusToDosError, UNICODE_STRING,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_READ_ATTRIBUTES, FILE_SHARE_READ, FILE_SHARE_WRITE, FILE_WRITE_ATTRIBUTES, SYNCHRONIZE,
};
use windows_sys::Win32::System::IO::IO_STATUS_BLOCK;

use super::overlapped::Handle;
use super::security::Security;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Programs read: `PIPE_ACCESS_OUTBOUND`.
    In,
    /// Programs write: `PIPE_ACCESS_INBOUND`.
    Out,
    /// Both.
    Both,
}

/// What programs find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Which way bytes go.
    pub direction: Direction,
    /// Each write is a message.
    pub messages: bool,
}

/// The daemon's end of one instance.
#[derive(Debug, Clone)]
pub struct Connection {
    pub(super) handle: Arc<Handle>,
    pub(super) messages: bool,
}

impl Connection {
    /// The same once more.
    ///
    /// # Errors
    /// None; where ends are descriptors there may be too many of them.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(self.clone())
    }

    /// Whether the client has closed its end. Asks the system.
    pub(super) fn is_closed(&self) -> bool {
        let mut status = IO_STATUS_BLOCK::default();
        let mut info = FILE_PIPE_LOCAL_INFORMATION::default();
        let size = size_of::<FILE_PIPE_LOCAL_INFORMATION>() as u32;
        let at = from_mut(&mut info).cast();
        // SAFETY: the handle is open, and both places outlive the call and have the size that is said.
        let asked =
            unsafe { NtQueryInformationFile(self.handle.raw(), &mut status, at, size, FilePipeLocalInformation) };
        asked == 0 && info.NamedPipeState == FILE_PIPE_CLOSING_STATE
    }
}

/// Makes an instance of the pipe at `path`, which begins with `\\.\pipe\`. The `first` one refuses to be an instance of
/// somebody else's pipe.
///
/// # Errors
/// `PermissionDenied` when the name is taken.
pub(super) fn create(path: &Path, shape: Shape, security: &Security, first: bool) -> io::Result<Connection> {
    let (access, share) = match shape.direction {
        Direction::In => (GENERIC_WRITE | FILE_READ_ATTRIBUTES, FILE_SHARE_READ),
        Direction::Out => (GENERIC_READ | FILE_WRITE_ATTRIBUTES, FILE_SHARE_WRITE),
        Direction::Both => (GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE),
    };
    let mut name: Vec<u16> = path.as_os_str().encode_wide().collect();
    // `\\.\` is `\??\` to the kernel.
    name.splice(..DEVICES.len(), KERNEL_DEVICES.encode_utf16());
    let bytes = u16::try_from(name.len() * 2).map_err(|_| io::ErrorKind::InvalidInput)?;
    name.extend(once(0));
    let name = UNICODE_STRING { Length: bytes, MaximumLength: bytes + 2, Buffer: name.as_mut_ptr() };
    let attributes = OBJECT_ATTRIBUTES {
        Length: size_of::<OBJECT_ATTRIBUTES>() as u32,
        RootDirectory: null_mut(),
        ObjectName: from_ref(&name),
        Attributes: OBJ_CASE_INSENSITIVE,
        SecurityDescriptor: security.descriptor().cast(),
        SecurityQualityOfService: null_mut(),
    };
    let (mut handle, mut status): (HANDLE, _) = (null_mut(), IO_STATUS_BLOCK::default());
    // SAFETY: everything that is pointed to outlives the call, and the name has the length that is said.
    let made = unsafe {
        NtCreateNamedPipeFile(
            &mut handle,
            access | SYNCHRONIZE,
            &attributes,
            &mut status,
            share,
            if first { FILE_CREATE } else { FILE_OPEN_IF },
            0,
            u32::from(shape.messages) | REJECT_REMOTE_CLIENTS,
            u32::from(shape.messages),
            0,
            MOST_INSTANCES,
            QUOTA,
            QUOTA,
            &DEFAULT_TIMEOUT,
        )
    };
    if made != 0 {
        // SAFETY: turns one number into another.
        return Err(io::Error::from_raw_os_error(unsafe { RtlNtStatusToDosError(made) }.cast_signed()));
    }
    Ok(Connection { handle: Arc::new(Handle::new(handle)?), messages: shape.messages })
}

/// A pipe without a name that anybody could know, and the end that a program is born with.
///
/// # Errors
/// When it cannot be made.
pub fn pair(shape: Shape) -> io::Result<(Connection, File)> {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let path = PathBuf::from(format!(r"{DEVICES}pipe\usbpipe-own\{}-{number}", std::process::id()));
    let ours = create(&path, shape, &Security::of_this_user()?, true)?;
    let (reads, writes) = (shape.direction != Direction::Out, shape.direction != Direction::In);
    // Programs read and write such an end one call at a time: the handle is one for that.
    Ok((ours, OpenOptions::new().read(reads).write(writes).open(path)?))
}

#[link(name = "ntdll")]
unsafe extern "system" {
    /// What CreateNamedPipe calls. That does not ask for FILE_READ_ATTRIBUTES, without which the server of an outbound
    /// pipe is told nothing of its client.
    fn NtCreateNamedPipeFile(
        handle: *mut HANDLE,
        access: u32,
        attributes: *const OBJECT_ATTRIBUTES,
        status: *mut IO_STATUS_BLOCK,
        share: u32,
        disposition: u32,
        options: u32,
        pipe_type: u32,
        read_mode: u32,
        completion_mode: u32,
        most_instances: u32,
        inbound_quota: u32,
        outbound_quota: u32,
        default_timeout: *const i64,
    ) -> NTSTATUS;
}

const DEVICES: &str = r"\\.\";
const KERNEL_DEVICES: &str = r"\??\";
/// FILE_PIPE_REJECT_REMOTE_CLIENTS of ntifs.h.
const REJECT_REMOTE_CLIENTS: u32 = 2;
const MOST_INSTANCES: u32 = u32::MAX;
/// Bytes that wait in a pipe without anybody's waiting for them.
const QUOTA: u32 = 64 * 1024;
/// How long WaitNamedPipe waits by default: 50 ms, in steps of 100 ns.
const DEFAULT_TIMEOUT: i64 = -500_000;
