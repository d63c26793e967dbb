//! The device node of usbfs. Enumerates nothing: libusb gets an opened node, and so starts neither a thread nor a search
//! of its own.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind};
use std::os::fd::AsRawFd;
use std::sync::Once;

use nix::libc::ENODEV;
use rusb::constants::LIBUSB_OPTION_NO_DEVICE_DISCOVERY;
use rusb::{Context, DeviceHandle, UsbContext, ffi};

use super::error::{cannot_open, went};
use crate::usb::local::{self, LocalDevice};
use crate::usb::{OpenError, permission_advice};

/// An opened device node. libusb uses it and leaves the closing to it.
pub(super) struct Node {
    _file: File,
}

/// Opens a device; nothing is sent to it but a question for its active configuration.
pub(super) fn open(found: &LocalDevice) -> Result<(DeviceHandle<Context>, Node), OpenError> {
    let path = local::node(found.bus, found.address);
    let file = OpenOptions::new().read(true).write(true).open(&path).map_err(|e| refusal(found, e))?;
    let failed = |e: rusb::Error| match e {
        rusb::Error::NoDevice => went(found),
        other => cannot_open(found, Error::other(other)),
    };
    let context = context().map_err(failed)?;
    // SAFETY: the descriptor stays open for as long as the handle, see `Link`.
    let handle = unsafe { context.open_device_with_fd(file.as_raw_fd()) }.map_err(failed)?;
    Ok((handle, Node { _file: file }))
}

/// What the last call to the kernel on this thread failed with. libusb calls everything an I/O error that is neither
/// unplugged nor, for bulk, out of memory; the kernel is more exact.
pub(super) fn last_errno() -> Option<i32> {
    Error::last_os_error().raw_os_error().filter(|errno| *errno != 0)
}

fn context() -> rusb::Result<Context> {
    static OPTION: Once = Once::new();
    // SAFETY: a null context means the defaults of contexts to come; the option has no argument. Once is enough, and
    // keeps this from running beside itself.
    OPTION.call_once(|| unsafe {
        ffi::libusb_set_option(std::ptr::null_mut(), LIBUSB_OPTION_NO_DEVICE_DISCOVERY);
    });
    Context::new()
}

fn refusal(found: &LocalDevice, error: Error) -> OpenError {
    let (vid, pid, place) = (found.vendor_id, found.product_id, &found.place);
    match error.kind() {
        ErrorKind::PermissionDenied => {
            let advice = permission_advice(vid, pid, &local::node(found.bus, found.address));
            OpenError::Denied(format!("no permission to open {vid:04x}:{pid:04x} at {place}: {advice}"))
        }
        ErrorKind::NotFound => went(found),
        _ if error.raw_os_error() == Some(ENODEV) => went(found),
        _ => cannot_open(found, error),
    }
}
