//! The requests of tty_ioctl(4) that neither `serialport` nor nix has: all settings with any speed, all modem lines at
//! once, and who is exclusive.

use std::fs::File;
use std::mem::zeroed;
use std::os::fd::AsRawFd;

use nix::Result;
use nix::libc::{TIOCM_CAR, TIOCM_CTS, TIOCM_DSR, TIOCM_DTR, TIOCM_RNG, TIOCM_RTS, c_int, termios2};

use crate::usb::ModemLines;

#[allow(unreachable_pub, reason = "the macros write `pub`")]
mod raw {
    use nix::libc::{self, c_int};

    nix::ioctl_read!(tcgets2, b'T', 0x2a, libc::termios2);
    nix::ioctl_write_ptr!(tcsets2, b'T', 0x2b, libc::termios2);
    nix::ioctl_read_bad!(tiocmget, libc::TIOCMGET, c_int);
    nix::ioctl_write_ptr_bad!(tiocmset, libc::TIOCMSET, c_int);
    nix::ioctl_read_bad!(tiocgexcl, libc::TIOCGEXCL, c_int);
    nix::ioctl_read_bad!(tiocoutq, libc::TIOCOUTQ, c_int);
    nix::ioctl_none_bad!(tioccbrk, libc::TIOCCBRK);
}

/// All settings, with any speed.
///
/// # Errors
/// ENOTTY where it is no terminal.
pub(super) fn settings(port: &File) -> Result<termios2> {
    // SAFETY: a termios2 is numbers, for which all zeros are values.
    let mut settings: termios2 = unsafe { zeroed() };
    // SAFETY: TCGETS2 writes one termios2, which outlives the call, and the descriptor is open.
    unsafe { raw::tcgets2(port.as_raw_fd(), &mut settings) }?;
    Ok(settings)
}

/// Sets all of them at once.
///
/// # Errors
/// Those of the driver.
pub(super) fn set_settings(port: &File, settings: &termios2) -> Result<()> {
    // SAFETY: TCSETS2 reads one termios2, which outlives the call, and the descriptor is open.
    unsafe { raw::tcsets2(port.as_raw_fd(), settings) }.map(drop)
}

/// The modem lines, outputs and inputs.
///
/// # Errors
/// ENOTTY where the port has none, as pseudo-terminals do.
pub(super) fn modem_lines(port: &File) -> Result<ModemLines> {
    let bits = line_bits(port)?;
    let is_on = |line| bits & line != 0;
    Ok(ModemLines {
        dtr: is_on(TIOCM_DTR),
        rts: is_on(TIOCM_RTS),
        cts: is_on(TIOCM_CTS),
        dsr: is_on(TIOCM_DSR),
        dcd: is_on(TIOCM_CAR),
        ring: is_on(TIOCM_RNG),
    })
}

/// Sets DTR and RTS together, so that a driver can send them in one request.
///
/// # Errors
/// ENOTTY where the port has none.
pub(super) fn set_modem_lines(port: &File, dtr: bool, rts: bool) -> Result<()> {
    let others = line_bits(port)? & !(TIOCM_DTR | TIOCM_RTS);
    let wanted = others | if dtr { TIOCM_DTR } else { 0 } | if rts { TIOCM_RTS } else { 0 };
    // SAFETY: TIOCMSET reads one int, which outlives the call, and the descriptor is open.
    unsafe { raw::tiocmset(port.as_raw_fd(), &wanted) }.map(drop)
}

/// Whether somebody has made the terminal exclusive (TIOCEXCL).
#[cfg(test)]
pub(super) fn is_exclusive(port: &File) -> bool {
    let mut exclusive: c_int = 0;
    // SAFETY: TIOCGEXCL writes one int, which outlives the call, and the descriptor is open.
    unsafe { raw::tiocgexcl(port.as_raw_fd(), &mut exclusive) }.is_ok() && exclusive != 0
}

/// Bytes that were written and are not sent yet; 0 where the driver cannot tell.
pub(super) fn unsent(port: &File) -> usize {
    let mut bytes: c_int = 0;
    // SAFETY: TIOCOUTQ writes one int, which outlives the call, and the descriptor is open.
    let answer = unsafe { raw::tiocoutq(port.as_raw_fd(), &mut bytes) };
    answer.map_or(0, |_| usize::try_from(bytes).unwrap_or(0))
}

/// Ends a break.
///
/// # Errors
/// ENOTTY where the port cannot send one.
pub(super) fn end_break(port: &File) -> Result<()> {
    // SAFETY: TIOCCBRK has no argument, and the descriptor is open.
    unsafe { raw::tioccbrk(port.as_raw_fd()) }.map(drop)
}

fn line_bits(port: &File) -> Result<c_int> {
    let mut bits: c_int = 0;
    // SAFETY: TIOCMGET writes one int, which outlives the call, and the descriptor is open.
    unsafe { raw::tiocmget(port.as_raw_fd(), &mut bits) }?;
    Ok(bits)
}
