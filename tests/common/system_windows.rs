//! Where outlets stand and how programs are ended, on Windows.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::io::AsRawHandle;
use std::os::windows::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use serde_json::Value;
use tempfile::TempDir;
use windows_sys::Win32::Foundation::{ERROR_FILE_NOT_FOUND, ERROR_INTERNAL_ERROR, ERROR_PIPE_BUSY};
use windows_sys::Win32::Storage::FileSystem::ReadFile;
use windows_sys::Win32::System::Pipes::WaitNamedPipeW;
use windows_sys::Win32::System::Threading::{CREATE_NEW_CONSOLE, CREATE_NO_WINDOW};

use super::PATIENCE;
#[allow(unused_imports, reason = "each test binary uses its own part of it")]
pub use super::bus::Outside;

/// A prefix of pipes that no other daemon has.
pub fn run_dir(_temp: &TempDir, name: &str) -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, SeqCst);
    PathBuf::from(format!(r"\\.\pipe\usbpipe-test-{}-{count}-{name}", std::process::id()))
}

/// Where the configuration of the daemon with this prefix is written.
pub fn config_beside(dir: &Path) -> PathBuf {
    std::env::temp_dir().join(dir.file_name().unwrap()).with_extension("toml")
}

/// The path of an outlet such as `uno/serial.rx`, which is one duplex pipe with `serial.tx` here.
pub fn outlet(dir: &Path, name: &str) -> PathBuf {
    let duplex = [
        ("/serial.rx", "/serial"),
        ("/serial.tx", "/serial"),
        (".request", ""),
        (".response", ""),
        ("admin.sock", "admin"),
    ];
    let end = duplex.iter().find(|(end, _)| name.ends_with(end)).unwrap_or(&("", ""));
    let name = name.strip_suffix(end.0).unwrap().to_owned() + end.1;
    dir.join(name.replace('/', r"\"))
}

/// Opens an outlet for reading, with WaitNamedPipe as its only patience.
pub fn open_reader(path: &Path) -> io::Result<File> {
    open(path, OpenOptions::new().read(true))
}

/// Opens an outlet for writing, with WaitNamedPipe as its only patience.
pub fn open_writer(path: &Path) -> io::Result<File> {
    open(path, OpenOptions::new().write(true))
}

/// Opens an outlet that goes both ways.
pub fn open_both(path: &Path) -> io::Result<File> {
    open(path, OpenOptions::new().read(true).write(true))
}

/// In the configuration of a pipe: any number of programs, each with its own copy or its own turn, as always.
pub const SHARED: &str = "";

/// Opens an outlet of any direction.
pub fn open_guest(outlet: &Path) -> io::Result<File> {
    match open_reader(outlet) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => open_writer(outlet),
        result => result,
    }
}

/// Whether nobody has `serial.tx` open but those who have `serial.rx`, because both are one pipe.
pub fn is_left(tx: &Value, readers: usize) -> bool {
    tx["clients"].as_array().unwrap().len() == readers
}

/// Opens a device's text control pipe, which is one for requests and answers.
pub fn open_control(dir: &Path, device: &str) -> io::Result<(File, File)> {
    let pipe = open_both(&outlet(dir, &format!("{device}/ep_00")))?;
    Ok((pipe.try_clone()?, pipe))
}

/// As a plain program does it: wait until an instance is free, then open. Another program may have been faster.
pub fn open(path: &Path, options: &OpenOptions) -> io::Result<File> {
    loop {
        wait_named_pipe(path, PATIENCE.as_millis() as u32)?;
        match options.open(path) {
            Err(e) if e.raw_os_error() == Some(ERROR_PIPE_BUSY as i32) => {}
            result => return result,
        }
    }
}

/// Waits at most so many milliseconds until an instance of this pipe is free.
pub fn wait_named_pipe(path: &Path, milliseconds: u32) -> io::Result<()> {
    let name = wide(path);
    // SAFETY: the name ends with a zero and outlives the call.
    match unsafe { WaitNamedPipeW(name.as_ptr(), milliseconds) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Whether an outlet is there, busy or not.
pub fn stands(path: &Path) -> bool {
    wait_named_pipe(path, 1).err().and_then(|e| e.raw_os_error()) != Some(ERROR_FILE_NOT_FOUND as i32)
}

fn wide(path: &Path) -> Vec<u16> {
    path.as_os_str().encode_wide().chain([0]).collect()
}

/// Pipes have nothing that tells one from another of its name, but that it is there.
pub fn identity(path: &Path) -> bool {
    stands(path)
}

/// Runs a command to its end.
pub fn output(command: &mut Command) -> Output {
    begun(command, Command::output)
}

/// Starts a command.
pub fn start_child(command: &mut Command) -> Child {
    begun(command, Command::spawn)
}

/// A process that Wine did not get to its first step, once in some thousands on a busy machine, is started again:
/// `tests/wine/README.md` says how that is known.
fn begun<T>(command: &mut Command, begin: fn(&mut Command) -> io::Result<T>) -> T {
    loop {
        match begin(command) {
            Err(e) if e.raw_os_error() == Some(ERROR_INTERNAL_ERROR as i32) => {
                println!("started again: {command:?}: {e}")
            }
            result => return result.unwrap(),
        }
    }
}

/// What lets [`ask_to_end`] reach a program: a console of its own.
pub fn with_console(command: &mut Command) -> &mut Command {
    command.creation_flags(CREATE_NEW_CONSOLE)
}

/// Ctrl-C on the console of a program, which must be its own, by a program that is there for just that.
pub fn ask_to_end(pid: u32) {
    let mut client = Command::new(std::env::var("USBPIPE_TEST_CLIENT").unwrap());
    client.args(["interrupt", &pid.to_string()]).creation_flags(CREATE_NO_WINDOW);
    let status = begun(&mut client, Command::status);
    // Its own Ctrl-C may end it, when that has reached the other.
    assert!(status.success() || status.code() == Some(CONTROL_C_EXIT), "no Ctrl-C: {status}");
}

/// The error that one more ReadFile of a pipe ends with, which the standard library takes for the end of a file.
pub fn last_read_error(pipe: &File) -> Option<u32> {
    let (mut byte, mut got) = (0u8, 0);
    // SAFETY: the handle is open for synchronous work, and both places outlive the call.
    let read = unsafe { ReadFile(pipe.as_raw_handle(), &mut byte, 1, &mut got, null_mut()) };
    (read == 0).then(|| io::Error::last_os_error().raw_os_error().unwrap() as u32)
}

/// STATUS_CONTROL_C_EXIT.
const CONTROL_C_EXIT: i32 = 0xc000_013a_u32 as i32;
