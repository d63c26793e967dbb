//! A program with all that it starts, on Windows: a job, which ends with its last handle, and so with the daemon however that
//! ends. Ctrl-C in the daemon's console is not for it.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::Path;
use std::process::ExitStatus;
use std::ptr::{from_ref, null};

use tokio::process::{Child, Command};
use windows_sys::Win32::Foundation::{HANDLE, NTSTATUS, RtlNtStatusToDosError};
use windows_sys::Win32::System::Console::{CTRL_BREAK_EVENT, GenerateConsoleCtrlEvent};
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE,
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JobObjectExtendedLimitInformation, SetInformationJobObject,
    TerminateJobObject,
};
use windows_sys::Win32::System::Threading::{CREATE_NEW_PROCESS_GROUP, CREATE_SUSPENDED};

use crate::session::pass::keep_handles;

/// The job of a program.
pub(super) struct Family {
    job: OwnedHandle,
    pid: u32,
}

impl Family {
    /// Of a program that was started: it begins to run now, so that nothing that it starts is left
    /// out.
    ///
    /// # Errors
    /// When the system has no job for it.
    pub(super) async fn of(child: &Child, (): Founder) -> io::Result<Self> {
        let process = child.raw_handle().ok_or(io::ErrorKind::NotFound)?;
        let family = Self { job: job()?, pid: child.id().unwrap_or_default() };
        // SAFETY: both handles are open.
        succeeded(unsafe { AssignProcessToJobObject(family.job.as_raw_handle(), process) })?;
        // SAFETY: the handle is that of a process that this one has started.
        match unsafe { NtResumeProcess(process) } {
            0 => Ok(family),
            // SAFETY: turns one number into another.
            status => Err(io::Error::from_raw_os_error(unsafe { RtlNtStatusToDosError(status) }.cast_signed())),
        }
    }

    /// The program's number.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Ctrl-Break, which a program without a console of the daemon's does not get.
    pub(super) fn ask_to_end(&self) {
        // SAFETY: two numbers are passed; the program is the first of a group of this number.
        unsafe { GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, self.pid) };
    }

    /// Ends all of it.
    pub(super) fn kill(&self) {
        // SAFETY: the handle is open.
        unsafe { TerminateJobObject(self.job.as_raw_handle(), KILLED) };
    }
}

/// A job that ends with its handle.
fn job() -> io::Result<OwnedHandle> {
    // SAFETY: nothing is passed that could be wrong.
    let job = unsafe { CreateJobObjectW(null(), null()) };
    if job.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was made just now and is nobody else's.
    let job = unsafe { OwnedHandle::from_raw_handle(job) };
    let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
    limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
    let (at, size) = (from_ref(&limits).cast(), size_of_val(&limits) as u32);
    // SAFETY: the handle is open, and the limits outlive the call and have the size that is said.
    succeeded(unsafe { SetInformationJobObject(job.as_raw_handle(), JobObjectExtendedLimitInformation, at, size) })?;
    Ok(job)
}

fn succeeded(done: i32) -> io::Result<()> {
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[link(name = "ntdll")]
unsafe extern "system" {
    /// Lets all threads of a process go on: ResumeThread wants the handle of its thread, which the standard library closes.
    fn NtResumeProcess(process: HANDLE) -> NTSTATUS;
}

/// What starts the program at `path`, which then waits until it is in its job.
///
/// # Errors
/// None; elsewhere a family needs more.
pub(super) fn command(path: &Path, words: &[String]) -> io::Result<(Command, Founder)> {
    keep_handles();
    let mut command = Command::new(path);
    command.args(&words[1..]).kill_on_drop(true).creation_flags(CREATE_SUSPENDED | CREATE_NEW_PROCESS_GROUP);
    Ok((command, ()))
}

/// What a family is founded by.
pub(super) type Founder = ();

/// Whether a word is a path, and no name to be looked for.
pub(super) fn is_path(word: &str) -> bool {
    word.contains(['/', '\\', ':'])
}

/// What to do about a program at this path that cannot be started.
pub(super) fn why_not(kind: io::ErrorKind, path: &str) -> Option<String> {
    (kind == io::ErrorKind::NotFound).then(|| format!("{path} is not there; put it there, or correct `run`"))
}

/// How it ended. What a crash leaves is known by its hexadecimal digits.
pub(super) fn in_words(status: ExitStatus) -> String {
    match status.code().unwrap_or_default() {
        code if code < 0 => format!("ended with status {code:#x}"),
        code => format!("ended with status {code}"),
    }
}

/// What a program is asked to end by.
pub(super) const ASKED: &str = "Ctrl-Break";
/// The status of what is killed.
const KILLED: u32 = 1;
