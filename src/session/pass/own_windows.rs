//! Handles that no program shall inherit. It closes none of them.

use std::ptr::without_provenance_mut;

use windows_sys::Win32::Foundation::{GetHandleInformation, HANDLE, HANDLE_FLAG_INHERIT, SetHandleInformation};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, GetProcessHandleCount};

/// Makes every handle of this process its own, also those that somebody left open for it. A program that is started gets
/// copies of its stdin, stdout and stderr, so that nothing is lost by it.
pub fn keep_handles() {
    let mut left = count();
    for number in (STEP..=HIGHEST).step_by(STEP) {
        if left == 0 {
            return;
        }
        if keep(without_provenance_mut(number)) {
            left -= 1;
        }
    }
}

/// Whether there is such a handle.
fn keep(handle: HANDLE) -> bool {
    let mut flags = 0;
    // SAFETY: the number is looked up, and the place for the flags outlives the call.
    let is_there = unsafe { GetHandleInformation(handle, &mut flags) } != 0;
    if is_there && flags & HANDLE_FLAG_INHERIT != 0 {
        // SAFETY: the handle was there a moment ago; nothing is closed, and what has gone is inherited by nobody.
        unsafe { SetHandleInformation(handle, HANDLE_FLAG_INHERIT, 0) };
    }
    is_there
}

/// How many there are. Wine says none, of which a process that asks has at least some.
fn count() -> u32 {
    let mut count = 0;
    // SAFETY: the handle of this process needs no closing, and the place for the number outlives the call.
    let asked = unsafe { GetProcessHandleCount(GetCurrentProcess(), &mut count) };
    if asked == 0 || count == 0 { u32::MAX } else { count }
}

/// Between the numbers of handles.
const STEP: usize = 4;
/// Nobody leaves so many handles open for another.
const HIGHEST: usize = 1 << 16;
