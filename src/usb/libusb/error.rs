//! libusb's numbers as errors of the bus, and what is said of a device that cannot be opened on any system.

use std::io;

use std::ffi::c_int;

use rusb::Error;
use rusb::constants::{
    LIBUSB_ERROR_INVALID_PARAM, LIBUSB_ERROR_IO, LIBUSB_ERROR_NO_DEVICE, LIBUSB_ERROR_NO_MEM, LIBUSB_ERROR_NOT_FOUND,
    LIBUSB_TRANSFER_CANCELLED, LIBUSB_TRANSFER_COMPLETED, LIBUSB_TRANSFER_NO_DEVICE, LIBUSB_TRANSFER_OVERFLOW,
    LIBUSB_TRANSFER_STALL, LIBUSB_TRANSFER_TIMED_OUT,
};

use super::system;
use crate::usb::errno::{EACCES, EBUSY, EINTR, EIO, ENOMEM, EOPNOTSUPP};
use crate::usb::local::LocalDevice;
use crate::usb::{OpenError, TransferError};

/// How a transfer, or a packet of it, has ended.
pub(super) fn of_status(status: c_int) -> Result<(), TransferError> {
    Err(match status {
        LIBUSB_TRANSFER_COMPLETED => return Ok(()),
        LIBUSB_TRANSFER_TIMED_OUT => TransferError::Timeout,
        LIBUSB_TRANSFER_CANCELLED => TransferError::Cancelled,
        LIBUSB_TRANSFER_STALL => TransferError::Stall,
        LIBUSB_TRANSFER_NO_DEVICE => TransferError::Disconnected,
        LIBUSB_TRANSFER_OVERFLOW => TransferError::Overflow,
        _ => TransferError::Io(EIO),
    })
}

/// Why a transfer was not taken. To be called right after libusb has said so.
pub(super) fn of_submit(code: c_int) -> TransferError {
    match code {
        LIBUSB_ERROR_NO_DEVICE => TransferError::Disconnected,
        LIBUSB_ERROR_NO_MEM => TransferError::Io(ENOMEM),
        LIBUSB_ERROR_INVALID_PARAM | LIBUSB_ERROR_NOT_FOUND => TransferError::Invalid,
        LIBUSB_ERROR_IO => TransferError::Io(system::last_errno().unwrap_or(EIO)),
        _ => TransferError::Io(EIO),
    }
}

/// Why a request failed that libusb makes itself.
pub(super) fn of_request(error: Error) -> TransferError {
    match error {
        Error::NoDevice => TransferError::Disconnected,
        Error::Pipe => TransferError::Stall,
        Error::Timeout => TransferError::Timeout,
        Error::Overflow => TransferError::Overflow,
        Error::NotFound | Error::InvalidParam => TransferError::Invalid,
        Error::Access => TransferError::Io(EACCES),
        Error::Busy => TransferError::Io(EBUSY),
        Error::Interrupted => TransferError::Io(EINTR),
        Error::NoMem => TransferError::Io(ENOMEM),
        Error::NotSupported => TransferError::Io(EOPNOTSUPP),
        Error::Io | Error::BadDescriptor | Error::Other => TransferError::Io(EIO),
    }
}

/// It was there when it was listed.
pub(super) fn went(found: &LocalDevice) -> OpenError {
    OpenError::NotFound(format!("the device at {} went while it was being opened", found.place))
}

/// Nothing that a person could have known.
pub(super) fn cannot_open(found: &LocalDevice, cause: io::Error) -> OpenError {
    let (vid, pid, place) = (found.vendor_id, found.product_id, &found.place);
    OpenError::Unreachable(format!("{vid:04x}:{pid:04x} at {place} cannot be opened"), cause)
}
