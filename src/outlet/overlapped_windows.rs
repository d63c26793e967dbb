//! Hot path. Reads, writes and connections of named pipes that Windows carries out by itself: begun here, and polled.
//!
//! ```text
//!            begin                 a thread of this file is told          take
//!   Idle ─────────────► Pending ─────────────────────────────────► Done ───────► Idle
//! ```
//!
//! One thread serves all pipes of the process; it does nothing but to wake who waits. What is under way owns its memory
//! and its pipe, so that dropping an operation leaves nothing behind that Windows could still write to. tokio's own pipes
//! would not do: they read 4 KiB ahead before anybody asks, and do not tell where a message ends.

use std::cell::UnsafeCell;
use std::io;
use std::ptr::null_mut;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use windows_sys::Win32::Foundation::{CloseHandle, ERROR_IO_PENDING, ERROR_MORE_DATA, GetLastError, HANDLE};
use windows_sys::Win32::Foundation::{ERROR_PIPE_CONNECTED, INVALID_HANDLE_VALUE};
use windows_sys::Win32::Storage::FileSystem::{ReadFile, WriteFile};
use windows_sys::Win32::System::IO::{CancelIoEx, CreateIoCompletionPort, GetQueuedCompletionStatus, OVERLAPPED};
use windows_sys::Win32::System::Pipes::ConnectNamedPipe;
use windows_sys::Win32::System::Threading::INFINITE;

/// A handle whose operations this file carries out. The last one to drop it closes it.
#[derive(Debug)]
pub(super) struct Handle(HANDLE);

// SAFETY: a handle is a number that is good in every thread, and nothing here is done to it that wants only one.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

/// One operation at a time on a pipe, with the memory it reads to or writes from.
pub(super) struct Operation(Arc<Shared>);

/// What Windows knows by the address of its first field.
#[repr(C)]
struct Shared {
    overlapped: UnsafeCell<OVERLAPPED>,
    handle: Arc<Handle>,
    state: Mutex<State>,
}

// SAFETY: `overlapped` is touched by Windows alone while an operation is under way, and by `begin` alone otherwise, which
// has the lock of `state`. What it points to is nothing of a thread's.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

struct State {
    progress: Progress,
    is_write: bool,
    /// Not touched while an operation is under way.
    buffer: Vec<u8>,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Idle,
    Pending,
    /// So many bytes were moved; an error beside them may only mean that a message has more.
    Done {
        moved: usize,
        error: u32,
    },
}

/// What has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// This many bytes were moved.
    Moved(usize),
    /// A message has more than these bytes.
    More(usize),
}

impl Handle {
    /// Takes over a handle that was opened for overlapped operations.
    ///
    /// # Errors
    /// When the system has no more memory for it.
    pub(super) fn new(handle: HANDLE) -> io::Result<Self> {
        let handle = Self(handle);
        let port = port()?;
        // SAFETY: both handles are open; the handle is associated with a port once in its life.
        let joined = unsafe { CreateIoCompletionPort(handle.0, port.0, 0, 0) };
        if joined.is_null() { Err(io::Error::last_os_error()) } else { Ok(handle) }
    }

    /// For questions to the system.
    pub(super) fn raw(&self) -> HANDLE {
        self.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and nobody has it any more.
        unsafe { CloseHandle(self.0) };
    }
}

impl Operation {
    /// Of this pipe, with nothing under way.
    pub(super) fn new(handle: &Arc<Handle>) -> Self {
        let state = State { progress: Progress::Idle, is_write: false, buffer: Vec::new(), waker: None };
        let overlapped = UnsafeCell::new(OVERLAPPED::default());
        Self(Arc::new(Shared { overlapped, handle: handle.clone(), state: Mutex::new(state) }))
    }

    /// Whether nothing is under way and nothing waits to be taken.
    pub(super) fn is_idle(&self) -> bool {
        self.0.state().progress == Progress::Idle
    }

    /// Waits for a client of a pipe.
    pub(super) fn connect(&self) {
        // SAFETY: the handle is a pipe's server end, and `overlapped` lives until the operation has ended.
        self.begin(|handle, _, overlapped| unsafe { ConnectNamedPipe(handle, overlapped) });
    }

    /// Reads at most `size` bytes.
    pub(super) fn read(&self, size: usize) {
        self.0.state().buffer.resize(size, 0);
        self.begin(|handle, buffer, overlapped| {
            let length = length(buffer);
            // SAFETY: buffer and `overlapped` live until the operation has ended, and nobody else touches them.
            unsafe { ReadFile(handle, buffer.as_mut_ptr(), length, null_mut(), overlapped) }
        });
    }

    /// Writes these bytes, as one message where the pipe has messages.
    pub(super) fn write<'a>(&self, slices: impl Iterator<Item = &'a [u8]>) {
        // Taken back where the operation ends.
        UNWRITTEN.send_modify(|count| *count += 1);
        let mut state = self.0.state();
        state.is_write = true;
        state.buffer.clear();
        slices.for_each(|slice| state.buffer.extend_from_slice(slice));
        drop(state);
        self.begin(|handle, buffer, overlapped| {
            let length = length(buffer);
            // SAFETY: as of reading.
            unsafe { WriteFile(handle, buffer.as_ptr(), length, null_mut(), overlapped) }
        });
    }

    fn begin(&self, call: impl FnOnce(HANDLE, &mut Vec<u8>, *mut OVERLAPPED) -> i32) {
        let mut state = self.0.state();
        debug_assert!(state.progress == Progress::Idle, "one at a time");
        state.progress = Progress::Pending;
        let overlapped = self.0.overlapped.get();
        // SAFETY: nothing is under way, so that nobody else touches it.
        unsafe { *overlapped = OVERLAPPED::default() };
        // Windows' own share, which it gives back with the end of the operation.
        let share = Arc::into_raw(self.0.clone());
        let done = call(self.0.handle.0, &mut state.buffer, overlapped);
        // SAFETY: asks for the number of this thread's last error.
        let error = if done != 0 { 0 } else { unsafe { GetLastError() } };
        if matches!(error, 0 | ERROR_IO_PENDING | ERROR_MORE_DATA) {
            return;
        }
        // SAFETY: it is not under way, so that the share comes back from nobody else.
        drop(unsafe { Arc::from_raw(share) });
        // A client that was faster than this is as good as one that comes.
        let error = if error == ERROR_PIPE_CONNECTED { 0 } else { error };
        state.end(0, error);
    }

    /// How it ended; `f` sees what was read. To be called after something was begun.
    ///
    /// # Errors
    /// Those of the operation.
    pub(super) fn poll<T>(&self, cx: &mut Context<'_>, f: impl FnOnce(Outcome, &[u8]) -> T) -> Poll<io::Result<T>> {
        let mut state = self.0.state();
        let Progress::Done { moved, error } = state.progress else {
            if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                state.waker = Some(cx.waker().clone());
            }
            return Poll::Pending;
        };
        state.progress = Progress::Idle;
        let outcome = match error {
            0 => Outcome::Moved(moved),
            ERROR_MORE_DATA => Outcome::More(moved),
            code => return Poll::Ready(Err(io::Error::from_raw_os_error(code.cast_signed()))),
        };
        Poll::Ready(Ok(f(outcome, &state.buffer[..moved.min(state.buffer.len())])))
    }

    /// Asks Windows to end what is under way. Reads and connections are of no use to anybody once their owner has gone.
    pub(super) fn cancel(&self) {
        if self.0.state().progress == Progress::Pending {
            // SAFETY: the handle is open, and `overlapped` is that of the operation.
            unsafe { CancelIoEx(self.0.handle.0, self.0.overlapped.get()) };
        }
    }
}

impl State {
    fn end(&mut self, moved: usize, error: u32) {
        self.progress = Progress::Done { moved, error };
        if std::mem::take(&mut self.is_write) {
            UNWRITTEN.send_modify(|count| *count -= 1);
        }
    }
}

/// Waits until all that was written has reached pipes or programs, of which one that reads nothing is waited for no longer
/// than this. The end of the process ends what is under way.
pub async fn written(patience: Duration) {
    let mut unwritten = UNWRITTEN.subscribe();
    let _ = timeout(patience, unwritten.wait_for(|count| *count == 0)).await;
}

/// Writes of this process that are under way.
static UNWRITTEN: LazyLock<watch::Sender<usize>> = LazyLock::new(|| watch::Sender::new(0));

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where Windows tells of operations that have ended.
struct Port(HANDLE);

// SAFETY: as of `Handle`.
unsafe impl Send for Port {}
// SAFETY: as of `Handle`.
unsafe impl Sync for Port {}

fn port() -> io::Result<&'static Port> {
    static PORT: OnceLock<Port> = OnceLock::new();
    if let Some(port) = PORT.get() {
        return Ok(port);
    }
    // SAFETY: makes a port of its own; nothing is passed that could be wrong.
    let port = unsafe { CreateIoCompletionPort(INVALID_HANDLE_VALUE, null_mut(), 0, 1) };
    if port.is_null() {
        return Err(io::Error::last_os_error());
    }
    let port = PORT.get_or_init(|| Port(port));
    thread::Builder::new().name("pipes".into()).spawn(|| serve(port))?;
    Ok(port)
}

/// Lives as long as the process.
fn serve(port: &Port) {
    loop {
        let (mut moved, mut key, mut ended): (u32, usize, *mut OVERLAPPED) = (0, 0, null_mut());
        // SAFETY: the port is never closed, and the three places outlive the call.
        let done = unsafe { GetQueuedCompletionStatus(port.0, &mut moved, &mut key, &mut ended, INFINITE) };
        // SAFETY: asks for the number of this thread's last error.
        let error = if done != 0 { 0 } else { unsafe { GetLastError() } };
        if ended.is_null() {
            continue;
        }
        // SAFETY: `overlapped` is the first field of the `Shared` whose share was given away when this began.
        let shared = unsafe { Arc::from_raw(ended.cast_const().cast::<Shared>()) };
        let mut state = shared.state();
        state.end(moved as usize, error);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// What one operation moves has far fewer bytes.
fn length(buffer: &[u8]) -> u32 {
    u32::try_from(buffer.len()).unwrap_or(u32::MAX)
}
