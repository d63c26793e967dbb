//! Speed, format and lines of an open COM port: the calls of Windows that carry a handle, and the one list of ports.
//!
//! Everything here may wait for the driver, and the driver for the device. It moves no bytes.

use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::windows::io::AsRawHandle;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serialport::{SerialPortType, UsbPortInfo};
use windows_sys::Win32::Devices::Communication::{
    CLRDTR, CLRRTS, COMMTIMEOUTS, COMSTAT, ClearCommBreak, ClearCommError, DCB, ESCAPE_COMM_FUNCTION,
    EscapeCommFunction, GetCommModemStatus, GetCommState, MS_CTS_ON, MS_DSR_ON, MS_RING_ON, MS_RLSD_ON, SETDTR, SETRTS,
    SetCommBreak, SetCommState, SetCommTimeouts,
};
use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_BAD_COMMAND, ERROR_BROKEN_PIPE, ERROR_DEVICE_NOT_CONNECTED, ERROR_DEVICE_REMOVED,
    ERROR_FILE_NOT_FOUND, ERROR_GEN_FAILURE, ERROR_INVALID_FUNCTION, ERROR_INVALID_PARAMETER, ERROR_NOT_READY,
    ERROR_NOT_SUPPORTED, ERROR_OPERATION_ABORTED, ERROR_SEM_TIMEOUT, HANDLE,
};

use super::{FirstSettings, PortInfo, UsbPort};
use crate::serial::LineCoding;
use crate::usb::errno::EIO;
use crate::usb::{FlowControl, ModemLines, TransferError};

/// The serial ports of this machine, in the order of their numbers. Opens none of them.
pub fn list() -> Vec<PortInfo> {
    let mut ports: Vec<PortInfo> = serialport::available_ports()
        .unwrap_or_default()
        .into_iter()
        .map(|port| PortInfo { path: port.port_name.into(), usb: usb(port.port_type) })
        .collect();
    ports.sort_by(|a, b| (a.path.as_os_str().len(), &a.path).cmp(&(b.path.as_os_str().len(), &b.path)));
    ports
}

fn usb(kind: SerialPortType) -> Option<UsbPort> {
    let SerialPortType::UsbPort(UsbPortInfo { vid, pid, serial_number, manufacturer, product, interface, .. }) = kind
    else {
        return None;
    };
    Some(UsbPort { vid, pid, serial: serial_number, manufacturer, product, interface, place: None })
}

/// An open port's settings.
pub(super) struct Settings {
    port: Arc<File>,
    /// What was asked of DTR and RTS. Whatever else is set, the same call sets them, too.
    dtr: Option<bool>,
    rts: Option<bool>,
    flow: FlowControl,
}

impl Settings {
    /// Settings of a port that is open and raw: its reads and writes end when they have moved all that they were asked for.
    /// Windows gives a port to one program alone, with `lock` or without.
    ///
    /// # Errors
    /// Those of GetCommState and SetCommTimeouts.
    pub(super) fn of(port: Arc<File>, _lock: bool) -> io::Result<Self> {
        let flow = flow_control(get_state(&port)?._bitfield);
        let timeouts = COMMTIMEOUTS::default();
        // SAFETY: the handle is open, and the structure outlives the call.
        checked(unsafe { SetCommTimeouts(handle(&port), &timeouts) })?;
        Ok(Self { port, dtr: None, rts: None, flow })
    }

    /// Speed and character format.
    ///
    /// # Errors
    /// [`TransferError`] as the driver says.
    pub(super) fn coding(&self) -> Result<LineCoding, TransferError> {
        let state = get_state(&self.port).map_err(|e| transfer_error(&e))?;
        let [b0, b1, b2, b3] = state.BaudRate.to_le_bytes();
        // A DCB has the numbers of PSTN 1.2, table 17, for parity and stop bits.
        Ok(LineCoding::from_bytes(&[b0, b1, b2, b3, state.StopBits, state.Parity, state.ByteSize]))
    }

    /// Changes both in one call.
    ///
    /// # Errors
    /// [`TransferError::Invalid`] for what this port does not take.
    pub(super) fn set_coding(&mut self, wanted: LineCoding) -> Result<(), TransferError> {
        let [.., stop_bits, parity, data_bits] = wanted.to_bytes();
        if wanted.baud == 0 {
            return Err(TransferError::Invalid);
        }
        let mut state = get_state(&self.port).map_err(|e| transfer_error(&e))?;
        (state.BaudRate, state.StopBits, state.Parity, state.ByteSize) = (wanted.baud, stop_bits, parity, data_bits);
        state._bitfield = self.with_lines(raw(state._bitfield, self.flow));
        self.wait_until_sent();
        set_state(&self.port, &state).map_err(|e| transfer_error(&e))?;
        if self.coding()? == wanted { Ok(()) } else { Err(TransferError::Invalid) }
    }

    /// What was written before is to go out as it was meant; but not for ever.
    fn wait_until_sent(&self) {
        let deadline = Instant::now() + SENDING;
        while queues(&self.port).is_ok_and(|queues| queues.cbOutQue > 0) && Instant::now() < deadline {
            // There is no event for an empty buffer that could also be waited for in vain.
            std::thread::sleep(LOOK);
        }
    }

    /// Sets the flow control, of both directions.
    ///
    /// # Errors
    /// [`TransferError::Invalid`] where the port does not take it.
    pub(super) fn set_flow_control(&mut self, flow: FlowControl) -> Result<(), TransferError> {
        let mut state = get_state(&self.port).map_err(|e| transfer_error(&e))?;
        if flow_control(state._bitfield) != flow {
            set_flow_control(&mut state, flow);
            state._bitfield = self.with_lines(state._bitfield);
            set_state(&self.port, &state).map_err(|e| transfer_error(&e))?;
        }
        self.flow = flow;
        let taken = flow_control(get_state(&self.port).map_err(|e| transfer_error(&e))?._bitfield);
        if taken == flow { Ok(()) } else { Err(TransferError::Invalid) }
    }

    /// The modem lines. Of its outputs Windows knows what was asked.
    ///
    /// # Errors
    /// [`TransferError::Invalid`] where the port has none.
    pub(super) fn modem_lines(&self) -> Result<ModemLines, TransferError> {
        let mut bits = 0;
        // SAFETY: the handle is open, and the number outlives the call.
        let got = checked(unsafe { GetCommModemStatus(handle(&self.port), &mut bits) });
        got.map_err(|e| transfer_error(&e))?;
        let controls = self.with_lines(get_state(&self.port).map_err(|e| transfer_error(&e))?._bitfield);
        let is_on = |line| bits & line != 0;
        Ok(ModemLines {
            dtr: controls & DTR_CONTROL != 0,
            rts: controls & RTS_CONTROL != 0,
            cts: is_on(MS_CTS_ON),
            dsr: is_on(MS_DSR_ON),
            dcd: is_on(MS_RLSD_ON),
            ring: is_on(MS_RING_ON),
        })
    }

    /// Sets both lines, one right after the other: Windows has no call for both.
    ///
    /// # Errors
    /// [`TransferError::Invalid`] where the port has none.
    pub(super) fn set_modem_lines(&mut self, dtr: bool, rts: bool) -> Result<(), TransferError> {
        self.escape(if dtr { SETDTR } else { CLRDTR })?;
        self.escape(if rts { SETRTS } else { CLRRTS })?;
        (self.dtr, self.rts) = (Some(dtr), Some(rts));
        Ok(())
    }

    /// Begins a break.
    ///
    /// # Errors
    /// [`TransferError::Invalid`] where the port cannot send one.
    pub(super) fn begin_break(&self) -> Result<(), TransferError> {
        // SAFETY: the handle is open.
        checked(unsafe { SetCommBreak(handle(&self.port)) }).map_err(|e| transfer_error(&e))
    }

    /// Ends a break.
    ///
    /// # Errors
    /// Those of [`Settings::begin_break`].
    pub(super) fn end_break(&self) -> Result<(), TransferError> {
        end_break(&self.port).map_err(|e| transfer_error(&e))
    }

    fn escape(&self, function: ESCAPE_COMM_FUNCTION) -> Result<(), TransferError> {
        // SAFETY: the handle is open.
        checked(unsafe { EscapeCommFunction(handle(&self.port), function) }).map_err(|e| transfer_error(&e))
    }

    fn with_lines(&self, bits: u32) -> u32 {
        let set = |bits: u32, line: Option<bool>, mask: u32, on: u32| match line {
            Some(true) => bits & !mask | on,
            Some(false) => bits & !mask,
            None => bits,
        };
        let bits = set(bits, self.dtr, DTR_CONTROL, DTR_ON);
        // RTS is then the flow control's.
        let rts = self.rts.filter(|_| self.flow != FlowControl::RtsCts);
        set(bits, rts, RTS_CONTROL, RTS_ON)
    }
}

/// Ends a break.
///
/// # Errors
/// Those of ClearCommBreak.
pub(super) fn end_break(port: &File) -> io::Result<()> {
    // SAFETY: the handle is open.
    checked(unsafe { ClearCommBreak(handle(port)) })
}

/// What waits in the queues of the driver.
///
/// # Errors
/// Those of ClearCommError.
pub(super) fn queues(port: &File) -> io::Result<COMSTAT> {
    let (mut errors, mut state) = (0, COMSTAT::default());
    // SAFETY: the handle is open, and both outlive the call.
    checked(unsafe { ClearCommError(handle(port), &mut errors, &mut state) })?;
    Ok(state)
}

/// What an error of a port means. Drivers have many words for a device that is not there any more.
pub(super) fn transfer_error(error: &io::Error) -> TransferError {
    match error.raw_os_error().map(|code| code as u32) {
        Some(ERROR_INVALID_PARAMETER | ERROR_INVALID_FUNCTION | ERROR_NOT_SUPPORTED) => TransferError::Invalid,
        Some(ERROR_SEM_TIMEOUT) => TransferError::Timeout,
        Some(
            ERROR_ACCESS_DENIED
            | ERROR_BAD_COMMAND
            | ERROR_BROKEN_PIPE
            | ERROR_DEVICE_NOT_CONNECTED
            | ERROR_DEVICE_REMOVED
            | ERROR_FILE_NOT_FOUND
            | ERROR_GEN_FAILURE
            | ERROR_NOT_READY
            | ERROR_OPERATION_ABORTED,
        ) => TransferError::Disconnected,
        _ => TransferError::Io(EIO),
    }
}

/// Makes an open port raw, with these settings.
///
/// # Errors
/// Those of SetCommState.
pub(super) fn set_up(port: &File, first: FirstSettings) -> io::Result<()> {
    let mut state = get_state(port)?;
    state._bitfield = raw(state._bitfield, FlowControl::None);
    set_flow_control(&mut state, first.flow);
    let raw_only = state;
    state.BaudRate = first.baud.unwrap_or(state.BaudRate);
    if let Some(mode) = first.mode {
        let [.., stop_bits, parity, data_bits] = LineCoding { baud: state.BaudRate, mode }.to_bytes();
        (state.StopBits, state.Parity, state.ByteSize) = (stop_bits, parity, data_bits);
    }
    // What a port cannot do is refused later, when the same is asked for with an answer.
    set_state(port, &state).or_else(|_| set_state(port, &raw_only))
}

/// What the bits of a DCB say.
fn flow_control(bits: u32) -> FlowControl {
    match (bits & OUT_CTS != 0, bits & OUT_X != 0) {
        (true, _) => FlowControl::RtsCts,
        (false, true) => FlowControl::XonXoff,
        (false, false) => FlowControl::None,
    }
}

fn set_flow_control(state: &mut DCB, flow: FlowControl) {
    let was_handshake = state._bitfield & RTS_CONTROL == RTS_HANDSHAKE;
    state._bitfield &= !(OUT_CTS | OUT_X | IN_X);
    match flow {
        FlowControl::RtsCts => state._bitfield = state._bitfield & !RTS_CONTROL | RTS_HANDSHAKE | OUT_CTS,
        FlowControl::XonXoff => {
            state._bitfield |= OUT_X | IN_X;
            (state.XonChar, state.XoffChar) = (XON, XOFF);
            // Bytes of the driver's buffer, as much as most have room for.
            (state.XonLim, state.XoffLim) = (LIMIT, LIMIT);
        }
        FlowControl::None => {}
    }
    if was_handshake && flow != FlowControl::RtsCts {
        state._bitfield = state._bitfield & !RTS_CONTROL | RTS_ON;
    }
}

/// No translation, no stop at errors, and no flow control but this one, which the port has. A line that a driver moves by
/// itself stays on instead.
fn raw(bits: u32, flow: FlowControl) -> u32 {
    let mut lines = bits & (DTR_CONTROL | RTS_CONTROL);
    if lines & DTR_CONTROL > DTR_ON {
        lines = lines & !DTR_CONTROL | DTR_ON;
    }
    if lines & RTS_CONTROL > RTS_ON && flow != FlowControl::RtsCts {
        lines = lines & !RTS_CONTROL | RTS_ON;
    }
    let kept = match flow {
        FlowControl::None => 0,
        FlowControl::RtsCts => OUT_CTS,
        FlowControl::XonXoff => OUT_X | IN_X,
    };
    lines | bits & kept | BINARY
}

fn get_state(port: &File) -> io::Result<DCB> {
    let mut state = DCB { DCBlength: size_of::<DCB>() as u32, ..DCB::default() };
    // SAFETY: the handle is open, and the structure outlives the call.
    checked(unsafe { GetCommState(handle(port), &mut state) })?;
    Ok(state)
}

fn set_state(port: &File, state: &DCB) -> io::Result<()> {
    // SAFETY: the handle is open, and the structure outlives the call.
    checked(unsafe { SetCommState(handle(port), state) })
}

fn handle(port: &File) -> HANDLE {
    port.as_raw_handle()
}

fn checked(result: i32) -> io::Result<()> {
    if result == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Bits of a DCB: fBinary, fDtrControl and fRtsControl with their ENABLE.
const BINARY: u32 = 1;
const DTR_CONTROL: u32 = 3 << 4;
const DTR_ON: u32 = 1 << 4;
const RTS_CONTROL: u32 = 3 << 12;
const RTS_ON: u32 = 1 << 12;
const RTS_HANDSHAKE: u32 = 2 << 12;
/// fOutxCtsFlow, fOutX and fInX.
const OUT_CTS: u32 = 1 << 2;
const OUT_X: u32 = 1 << 8;
const IN_X: u32 = 1 << 9;
const XON: i8 = 0x11;
const XOFF: i8 = 0x13;
const LIMIT: u16 = 512;
const SENDING: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(5);
