//! The numbers of Linux by which failed transfers are told apart, the same on every system: they also go into captures,
//! which have the form of Linux's usbmon. It looks nothing up.

/// There is no such thing.
pub const ENOENT: i32 = 2;
/// Interrupted.
pub const EINTR: i32 = 4;
/// The transfer failed, and nobody says why.
pub const EIO: i32 = 5;
/// There is no memory for it.
pub const ENOMEM: i32 = 12;
/// Not allowed.
pub const EACCES: i32 = 13;
/// Somebody else has the interface.
pub const EBUSY: i32 = 16;
/// The device is not there.
pub const ENODEV: i32 = 19;
/// That makes no sense.
pub const EINVAL: i32 = 22;
/// The bus has no time left for it.
pub const ENOSPC: i32 = 28;
/// The device broke the protocol of the bus.
pub const EPROTO: i32 = 71;
/// The system cannot do it.
pub const EOPNOTSUPP: i32 = 95;

/// What a number means, as strerror(3) says it, with the number.
pub(super) fn describe(errno: i32) -> String {
    let words = match errno {
        ENOENT => "No such file or directory",
        EINVAL => "Invalid argument",
        EINTR => "Interrupted system call",
        EIO => "Input/output error",
        ENOMEM => "Cannot allocate memory",
        EACCES => "Permission denied",
        EBUSY => "Device or resource busy",
        ENODEV => "No such device",
        ENOSPC => "No space left on device",
        EPROTO => "Protocol error",
        EOPNOTSUPP => "Operation not supported",
        _ => return std::io::Error::from_raw_os_error(errno).to_string(),
    };
    format!("{words} (os error {errno})")
}
