//! The one file that names the `serialport` crate: the list of ports, and speed, format and break of an open one.
//!
//! Everything here may wait for the driver, and the driver for the device. It moves no bytes.

use std::fs::File;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::termios::{ControlFlags, SetArg, tcgetattr, tcsetattr};
use serialport::{DataBits, ErrorKind, SerialPort, SerialPortType, TTYPort, UsbPortInfo};

use crate::config::{Parity, SerialMode, StopBits};
use crate::serial::LineCoding;
use crate::usb::{FlowControl, ModemLines, TransferError};

use super::{PortInfo, UsbPort, ioctl_linux, system};

/// The serial ports of this machine, in the order of their names. Opens none of them.
pub fn list() -> Vec<PortInfo> {
    if !system::lists_ports() {
        return Vec::new();
    }
    let mut ports: Vec<PortInfo> = serialport::available_ports()
        .unwrap_or_default()
        .into_iter()
        .map(|port| PortInfo { path: port.port_name.into(), usb: usb(port.port_type) })
        .filter(|port| port.usb.is_some() || !system::is_empty_place(&port.path))
        .collect();
    ports.sort_by(|a, b| a.path.cmp(&b.path));
    ports
}

fn usb(kind: SerialPortType) -> Option<UsbPort> {
    let SerialPortType::UsbPort(UsbPortInfo { vid, pid, serial_number, manufacturer, product, location, interface }) =
        kind
    else {
        return None;
    };
    let place = location.map(|l| {
        let chain: Vec<String> = l.port_chain().iter().map(u8::to_string).collect();
        format!("{}-{}", l.bus_id(), chain.join("."))
    });
    Some(UsbPort { vid, pid, serial: serial_number, manufacturer, product, interface, place })
}

/// An open port's settings.
pub(super) struct Settings {
    tty: TTYPort,
    port: Arc<File>,
}

impl Settings {
    /// Settings of a port that is open and locked (flock). With `lock` it stays so, and is exclusive (TIOCEXCL), until this
    /// is dropped; otherwise others may open and lock it from now on.
    ///
    /// # Errors
    /// Those of dup(2) and ioctl(2).
    pub(super) fn of(port: Arc<File>, lock: bool) -> std::io::Result<Self> {
        let copy = port.try_clone()?;
        // SAFETY: the descriptor is open, is a terminal, and is nobody else's from here on.
        let mut tty = unsafe { TTYPort::from_raw_fd(copy.into_raw_fd()) };
        tty.set_exclusive(lock).map_err(std::io::Error::from)?;
        if !lock {
            // That left it with a shared lock.
            port.unlock()?;
        }
        Ok(Self { tty, port })
    }

    /// Speed and character format.
    ///
    /// # Errors
    /// [`TransferError::Invalid`] when the two directions differ in speed.
    pub(super) fn coding(&self) -> Result<LineCoding, TransferError> {
        let baud = self.tty.baud_rate().map_err(failure)?;
        let data_bits = self.tty.data_bits().map_err(failure)?;
        let parity = match (self.tty.parity().map_err(failure)?, self.has_sticky_parity()?) {
            (serialport::Parity::None, _) => Parity::None,
            (serialport::Parity::Odd, false) => Parity::Odd,
            (serialport::Parity::Even, false) => Parity::Even,
            (serialport::Parity::Odd, true) => Parity::Mark,
            (serialport::Parity::Even, true) => Parity::Space,
        };
        let stop_bits = match (self.tty.stop_bits().map_err(failure)?, data_bits) {
            (serialport::StopBits::One, _) => StopBits::One,
            // What a UART does with two stop bits and five data bits.
            (serialport::StopBits::Two, DataBits::Five) => StopBits::OnePointFive,
            (serialport::StopBits::Two, _) => StopBits::Two,
        };
        Ok(LineCoding { baud, mode: SerialMode { data_bits: data_bits.into(), parity, stop_bits } })
    }

    /// Changes what differs, so that a driver has no cause to send the device more requests than needed.
    ///
    /// # Errors
    /// [`TransferError::Invalid`] for what no port can do, and for what this one did not take.
    pub(super) fn set_coding(&mut self, wanted: LineCoding) -> Result<(), TransferError> {
        let SerialMode { data_bits, parity, stop_bits } = wanted.mode;
        let bits = DataBits::try_from(data_bits).map_err(|_| TransferError::Invalid)?;
        let stop = match (stop_bits, bits) {
            (StopBits::One, _) => serialport::StopBits::One,
            (StopBits::Two, _) | (StopBits::OnePointFive, DataBits::Five) => serialport::StopBits::Two,
            (StopBits::OnePointFive, _) => return Err(TransferError::Invalid),
        };
        if wanted.baud == 0 {
            return Err(TransferError::Invalid);
        }
        let now = self.coding().ok();
        if now != Some(wanted) {
            self.wait_until_sent();
        }
        if now.is_none_or(|now| now.baud != wanted.baud) {
            self.tty.set_baud_rate(wanted.baud).map_err(failure)?;
        }
        if now.is_none_or(|now| now.mode.data_bits != data_bits) {
            self.tty.set_data_bits(bits).map_err(failure)?;
        }
        if now.is_none_or(|now| now.mode.stop_bits != stop_bits) {
            self.tty.set_stop_bits(stop).map_err(failure)?;
        }
        if now.is_none_or(|now| now.mode.parity != parity) {
            self.set_parity(parity)?;
        }
        let taken = self.coding()?;
        let is_near = wanted.baud.abs_diff(taken.baud) <= wanted.baud / BAUD_TOLERANCE;
        if is_near && taken.mode.data_bits == data_bits && taken.mode.parity == parity {
            Ok(())
        } else {
            Err(TransferError::Invalid)
        }
    }

    /// What was written before is to go out as it was meant; but not for ever.
    fn wait_until_sent(&self) {
        let deadline = Instant::now() + SENDING;
        let mut pause = FIRST_LOOK;
        while ioctl_linux::unsent(&self.port) > 0 && Instant::now() < deadline {
            // There is no event for an empty buffer, and tcdrain(3) cannot be called off.
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_LOOK);
        }
    }

    /// Sets the flow control, of both directions.
    ///
    /// # Errors
    /// [`TransferError::Invalid`] where the port does not take it.
    pub(super) fn set_flow_control(&mut self, wanted: FlowControl) -> Result<(), TransferError> {
        let wanted = match wanted {
            FlowControl::None => serialport::FlowControl::None,
            FlowControl::RtsCts => serialport::FlowControl::Hardware,
            FlowControl::XonXoff => serialport::FlowControl::Software,
        };
        if self.tty.flow_control().map_err(failure)? != wanted {
            self.tty.set_flow_control(wanted).map_err(failure)?;
        }
        let taken = self.tty.flow_control().map_err(failure)?;
        if taken == wanted { Ok(()) } else { Err(TransferError::Invalid) }
    }

    fn set_parity(&mut self, parity: Parity) -> Result<(), TransferError> {
        let (pattern, sticky) = match parity {
            Parity::None => (serialport::Parity::None, false),
            Parity::Odd => (serialport::Parity::Odd, false),
            Parity::Even => (serialport::Parity::Even, false),
            Parity::Mark => (serialport::Parity::Odd, true),
            Parity::Space => (serialport::Parity::Even, true),
        };
        if sticky != self.has_sticky_parity()? {
            let mut settings = tcgetattr(&self.port).map_err(transfer_error)?;
            settings.control_flags.set(ControlFlags::CMSPAR, sticky);
            tcsetattr(&self.port, SetArg::TCSANOW, &settings).map_err(transfer_error)?;
        }
        self.tty.set_parity(pattern).map_err(failure)
    }

    /// Mark and space parity, which `serialport` does not know.
    fn has_sticky_parity(&self) -> Result<bool, TransferError> {
        let settings = tcgetattr(&self.port).map_err(transfer_error)?;
        Ok(settings.control_flags.contains(ControlFlags::CMSPAR))
    }

    /// The modem lines.
    ///
    /// # Errors
    /// [`TransferError::Invalid`] where the port has none.
    pub(super) fn modem_lines(&self) -> Result<ModemLines, TransferError> {
        ioctl_linux::modem_lines(&self.port).map_err(transfer_error)
    }

    /// Sets both lines in one request.
    ///
    /// # Errors
    /// [`TransferError::Invalid`] where the port has none.
    pub(super) fn set_modem_lines(&self, dtr: bool, rts: bool) -> Result<(), TransferError> {
        ioctl_linux::set_modem_lines(&self.port, dtr, rts).map_err(transfer_error)
    }

    /// Begins a break, once all that was written is sent.
    ///
    /// # Errors
    /// [`TransferError::Invalid`] where the port cannot send one.
    pub(super) fn begin_break(&self) -> Result<(), TransferError> {
        self.tty.set_break().map_err(failure)
    }

    /// Ends a break.
    ///
    /// # Errors
    /// Those of [`Settings::begin_break`].
    pub(super) fn end_break(&self) -> Result<(), TransferError> {
        self.tty.clear_break().map_err(failure)
    }
}

/// `serialport` keeps the words of an errno and not its number, which is still there when this is called at once.
fn failure(error: serialport::Error) -> TransferError {
    match error.kind {
        ErrorKind::InvalidInput => TransferError::Invalid,
        ErrorKind::NoDevice | ErrorKind::Io(_) | ErrorKind::Unknown => transfer_error(Errno::last()),
    }
}

/// What an errno of a terminal means. USB drivers hand through how their control transfer ended.
pub(super) fn transfer_error(errno: Errno) -> TransferError {
    match errno {
        Errno::ENXIO | Errno::ENODEV | Errno::ESHUTDOWN => TransferError::Disconnected,
        Errno::ENOTTY | Errno::EINVAL | Errno::EOPNOTSUPP => TransferError::Invalid,
        Errno::ETIMEDOUT => TransferError::Timeout,
        Errno::EPIPE => TransferError::Stall,
        other => TransferError::Io(other as i32),
    }
}

const SENDING: Duration = Duration::from_secs(1);
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LONGEST_LOOK: Duration = Duration::from_millis(32);
/// A speed that is off by more than one part in this many was not taken: receivers stand about 3 %.
const BAUD_TOLERANCE: u32 = 33;
