//! Hot path. One overlapped read or write of a handle, as something to poll. It owns the buffer that Windows works on.
//!
//! ```text
//!            start            the event is set
//!   idle ───────────► under way ───────────► ended, with bytes or an error, until the next start
//! ```
//!
//! Windows' own wait thread looks after the event and wakes whoever has polled.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use windows_sys::Win32::Foundation::{ERROR_IO_INCOMPLETE, ERROR_IO_PENDING, HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::Storage::FileSystem::{ReadFile, WriteFile};
use windows_sys::Win32::System::IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::Threading::{
    CreateEventW, INFINITE, RegisterWaitForSingleObject, UnregisterWaitEx, WT_EXECUTEINWAITTHREAD,
};

/// A place for one read or write at a time.
pub(super) struct Operation {
    handle: Arc<File>,
    /// What Windows writes to while the operation is under way; boxed, so that it never moves.
    work: Box<UnsafeCell<Work>>,
    is_under_way: bool,
    told: Arc<Told>,
    wait: Wait,
}

struct Work {
    overlapped: OVERLAPPED,
    buffer: [u8; ROOM],
}

/// Who is told of the end.
#[derive(Default)]
struct Told {
    poller: AtomicWaker,
    /// Those who only want to know that something has ended.
    others: Arc<Notify>,
}

/// The event of an operation, and what watches it.
struct Wait {
    event: OwnedHandle,
    registered: HANDLE,
}

// SAFETY: the handles of a wait may be used and closed by any thread.
unsafe impl Send for Wait {}
// SAFETY: what is shared of the work is looked at by its owner alone, who is one thread at a time.
unsafe impl Send for Operation {}

impl Operation {
    /// Nothing yet, on a handle that was opened for overlapped work.
    ///
    /// # Errors
    /// Those of CreateEvent and RegisterWaitForSingleObject.
    pub(super) fn new(handle: Arc<File>) -> io::Result<Self> {
        let told = Arc::<Told>::default();
        let wait = Wait::new(&told)?;
        let overlapped = OVERLAPPED { hEvent: wait.event.as_raw_handle(), ..OVERLAPPED::default() };
        let work = Box::new(UnsafeCell::new(Work { overlapped, buffer: [0; ROOM] }));
        Ok(Self { handle, work, is_under_way: false, told, wait })
    }

    /// Whether one was started and its end was not taken.
    pub(super) fn is_under_way(&self) -> bool {
        self.is_under_way
    }

    /// Begins to read this many bytes, at most [`ROOM`] with those before `at`, where they go.
    ///
    /// # Errors
    /// Those of ReadFile.
    pub(super) fn read(&mut self, at: usize, length: usize) -> io::Result<()> {
        let (handle, work) = (self.handle.as_raw_handle(), self.work.get());
        let length = length.min(ROOM - at) as u32;
        // SAFETY: nothing is under way, and what the pointers lead to stays where it is until the end, see `drop`.
        self.begin(|| unsafe {
            let buffer = (&raw mut (*work).buffer).cast::<u8>().add(at);
            ReadFile(handle, buffer, length, null_mut(), &raw mut (*work).overlapped)
        })
    }

    /// Begins to write as much of `bytes` as there is room for, and says how much that is.
    ///
    /// # Errors
    /// Those of WriteFile.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(ROOM);
        self.work.get_mut().buffer[..length].copy_from_slice(&bytes[..length]);
        let (handle, work) = (self.handle.as_raw_handle(), self.work.get());
        // SAFETY: as in `read`.
        self.begin(|| unsafe {
            let buffer = (&raw const (*work).buffer).cast::<u8>();
            WriteFile(handle, buffer, length as u32, null_mut(), &raw mut (*work).overlapped)
        })?;
        Ok(length)
    }

    /// What an ended read has brought.
    pub(super) fn buffer(&mut self) -> &[u8; ROOM] {
        assert!(!self.is_under_way, "Windows has the buffer");
        &self.work.get_mut().buffer
    }

    /// Ready with the number of bytes when what was started has ended. Nothing may have been started, which is 0.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.told.poller.register(cx.waker());
        let ended = ready!(self.look());
        self.is_under_way = false;
        Poll::Ready(ended)
    }

    /// Whether it has ended by an error, which is left for [`Operation::poll_end`].
    pub(super) fn has_failed(&mut self) -> bool {
        self.is_under_way && matches!(self.look(), Poll::Ready(Err(_)))
    }

    /// Where every end is told to those who have not started it.
    pub(super) fn ends(&self) -> Arc<Notify> {
        self.told.others.clone()
    }

    fn begin(&mut self, call: impl FnOnce() -> i32) -> io::Result<()> {
        assert!(!self.is_under_way, "one at a time");
        if call() == 0 {
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(ERROR_IO_PENDING as i32) {
                return Err(error);
            }
        }
        self.is_under_way = true;
        Ok(())
    }

    fn look(&self) -> Poll<io::Result<usize>> {
        if !self.is_under_way {
            return Poll::Ready(Ok(0));
        }
        let mut bytes = 0;
        // SAFETY: the operation was started with this handle and this structure.
        let done = unsafe { GetOverlappedResult(self.handle.as_raw_handle(), self.overlapped(), &mut bytes, 0) };
        if done != 0 {
            return Poll::Ready(Ok(bytes as usize));
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() == Some(ERROR_IO_INCOMPLETE as i32) { Poll::Pending } else { Poll::Ready(Err(error)) }
    }

    fn overlapped(&self) -> *mut OVERLAPPED {
        let work = self.work.get();
        // SAFETY: only an address is computed, of a part of what the box holds.
        unsafe { &raw mut (*work).overlapped }
    }
}

impl Drop for Operation {
    /// Windows may use the buffer until the operation has ended, so that is waited for; a cancelled one ends at once.
    fn drop(&mut self) {
        self.wait.unregister();
        if self.is_under_way {
            let (handle, mut bytes) = (self.handle.as_raw_handle(), 0);
            // SAFETY: the operation was started with this handle and this structure. Its event is watched by nobody else
            // any more, so that the wait sees it.
            unsafe {
                CancelIoEx(handle, self.overlapped());
                GetOverlappedResult(handle, self.overlapped(), &mut bytes, 1);
            }
        }
    }
}

impl Wait {
    fn new(told: &Arc<Told>) -> io::Result<Self> {
        // SAFETY: no pointer is passed; the event resets itself when the wait has seen it.
        let event = unsafe { CreateEventW(null(), 0, 0, null()) };
        if event.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it was made just now and is nobody else's.
        let event = unsafe { OwnedHandle::from_raw_handle(event) };
        let (mut registered, context) = (null_mut(), Arc::as_ptr(told));
        // SAFETY: the event and what the context leads to outlive the wait, see `Operation::drop`.
        let done = unsafe {
            let (handle, context) = (event.as_raw_handle(), context.cast());
            RegisterWaitForSingleObject(
                &mut registered,
                handle,
                Some(has_ended),
                context,
                INFINITE,
                WT_EXECUTEINWAITTHREAD,
            )
        };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(Self { event, registered }) }
    }

    /// Returns when nobody is told any more.
    fn unregister(&mut self) {
        // SAFETY: it is registered, and this is called once.
        unsafe { UnregisterWaitEx(self.registered, INVALID_HANDLE_VALUE) };
    }
}

/// Called on Windows' wait thread.
unsafe extern "system" fn has_ended(context: *mut c_void, _timed_out: bool) {
    // SAFETY: it leads to the `Told` of an operation, which lives until the wait is unregistered.
    let told = unsafe { &*context.cast::<Told>() };
    told.poller.wake();
    told.others.notify_waiters();
}

/// Bytes of the buffer: as much as a transfer from a port has.
pub(super) const ROOM: usize = 4096;
