//! A serial port as a USB device: its class requests, and the two pipes of its function.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::config::SerialMode;
use crate::serial::LineCoding;
use crate::usb::descriptors::{Descriptors, Endpoint};
use crate::usb::{BoxFuture, FlowControl, ModemLines, OpenError, Pipe, Setup, TransferError, UsbDevice};

use super::opened::Opened;
use super::pipe::PortPipe;
use super::settings::Settings;
use super::{PortInfo, node, system};

/// What a port has from its opening on; `None` leaves what it had.
#[derive(Debug, Clone, Copy, Default)]
pub struct FirstSettings {
    /// Bits a second.
    pub baud: Option<u32>,
    /// Character format.
    pub mode: Option<SerialMode>,
    /// Flow control.
    pub flow: FlowControl,
}

/// Opens a port that nobody else has open; with `lock` for this process alone. It is raw and has these settings before it
/// hears its device.
///
/// # Errors
/// [`OpenError::NotFound`] with the ports that there are, [`OpenError::Held`] with who has it, [`OpenError::Denied`]
/// with what to do.
pub async fn open(info: &PortInfo, lock: bool, first: FirstSettings) -> Result<SerialDevice, OpenError> {
    let (info, path) = (info.clone(), info.path.clone());
    let failed = |e| OpenError::Unreachable(format!("opening {} failed", path.display()), e);
    let opened = tokio::task::spawn_blocking(move || {
        let port = node::open(&info.path, first)?;
        Ok((port, info.descriptors(), info.control_interface()))
    });
    let (port, descriptors, control_interface) = opened.await.map_err(|e| failed(e.into()))??;
    let port = Arc::new(port);
    let settings = Settings::of(port.clone(), lock).map_err(failed)?;
    let opened = Opened::new(port, settings).map_err(failed)?;
    Ok(SerialDevice {
        path: path.clone(),
        descriptors: Arc::new(descriptors),
        control_interface,
        flush: DEFAULT_FLUSH,
        opened: Mutex::new(Some(Arc::new(opened))),
    })
}

/// An open serial port. Dropping it and its pipes closes it, and so does [`UsbDevice::give_back`]; neither touches a
/// line.
pub struct SerialDevice {
    path: PathBuf,
    descriptors: Arc<Descriptors>,
    control_interface: u8,
    flush: Duration,
    /// `None` once it was given back.
    opened: Mutex<Option<Arc<Opened>>>,
}

impl SerialDevice {
    /// How long [`UsbDevice::give_back`] waits for what was written to be sent; 1 s if nothing is said.
    pub fn flush_for(mut self, time: Duration) -> Self {
        self.flush = time;
        self
    }

    fn opened(&self) -> Option<Arc<Opened>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// PSTN 1.2, 6.3: the requests that a port can carry out.
    async fn request(&self, setup: Setup, data: Vec<u8>, timeout: Duration) -> Result<Vec<u8>, TransferError> {
        let port = self.opened().ok_or(TransferError::Disconnected)?;
        if setup.index != u16::from(self.control_interface) {
            return Err(TransferError::Invalid);
        }
        match (setup.request_type, setup.request) {
            SET_LINE_CODING => {
                let raw: [u8; 7] = data.try_into().map_err(|_| TransferError::Invalid)?;
                let coding = LineCoding::from_bytes(&raw);
                port.on_settings(timeout, move |settings| settings.set_coding(coding)).await?;
            }
            GET_LINE_CODING => {
                let coding = port.on_settings(timeout, |settings| settings.coding()).await?;
                let wanted = usize::from(setup.length);
                return Ok(coding.to_bytes().into_iter().take(wanted).collect());
            }
            SET_CONTROL_LINE_STATE => {
                let (dtr, rts) = (setup.value & 1 != 0, setup.value & 2 != 0);
                port.on_settings(timeout, move |settings| settings.set_modem_lines(dtr, rts)).await?;
            }
            SEND_BREAK => send_break(&port, setup.value, timeout).await?,
            _ => return Err(TransferError::Invalid),
        }
        Ok(Vec::new())
    }
}

/// A break of `ms` milliseconds; 0xffff begins one, 0 ends it. One that is not waited for to its end, ends at once.
async fn send_break(port: &Arc<Opened>, ms: u16, timeout: Duration) -> Result<(), TransferError> {
    if ms == 0 {
        return port.on_settings(timeout, |settings| settings.end_break()).await;
    }
    let mut breaking = Break { port: port.clone(), wanted: Arc::new(AtomicBool::new(true)) };
    let wanted = breaking.wanted.clone();
    // It begins when all that was written is sent, which may be when nobody wants it any more.
    let begin = move |settings: &mut Settings| {
        settings.begin_break()?;
        if wanted.load(Ordering::SeqCst) { Ok(()) } else { settings.end_break() }
    };
    port.on_settings(timeout, begin).await?;
    if ms == FOREVER {
        breaking.goes_on();
        return Ok(());
    }
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(ms.into())) => {}
        () = port.gone() => {}
    }
    breaking.end(timeout).await
}

/// A break that ends when nobody waits for its end any more.
struct Break {
    port: Arc<Opened>,
    wanted: Arc<AtomicBool>,
}

impl Break {
    fn goes_on(&mut self) {
        self.wanted = Arc::default();
    }

    async fn end(mut self, timeout: Duration) -> Result<(), TransferError> {
        let result = self.port.on_settings(timeout, |settings| settings.end_break()).await;
        self.goes_on();
        result
    }
}

impl Drop for Break {
    fn drop(&mut self) {
        if self.wanted.swap(false, Ordering::SeqCst) {
            self.port.end_break_now();
        }
    }
}

impl UsbDevice for SerialDevice {
    fn descriptors(&self) -> &Arc<Descriptors> {
        &self.descriptors
    }

    fn control(&self, setup: Setup, data: Vec<u8>, timeout: Duration) -> BoxFuture<'_, Result<Vec<u8>, TransferError>> {
        Box::pin(self.request(setup, data, timeout))
    }

    fn give_back(&self) -> BoxFuture<'_, ()> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner).take();
        Box::pin(async move {
            let Some(port) = opened else { return };
            let unsent = port.finish(self.flush).await;
            if unsent > 0 {
                tracing::warn!("{}: closed with up to {unsent} bytes unsent", self.path.display());
            }
        })
    }

    fn modem_lines(&self, _interface: u8) -> BoxFuture<'_, Option<ModemLines>> {
        Box::pin(async move {
            let port = self.opened()?;
            port.on_settings(PORT_TIMEOUT, |settings| settings.modem_lines()).await.ok()
        })
    }

    fn set_flow_control(&self, flow: FlowControl) -> BoxFuture<'_, Result<(), TransferError>> {
        Box::pin(async move {
            let port = self.opened().ok_or(TransferError::Disconnected)?;
            port.on_settings(PORT_TIMEOUT, move |settings| settings.set_flow_control(flow)).await
        })
    }

    fn open_pipe(&self, endpoint: &Endpoint) -> Result<Box<dyn Pipe>, OpenError> {
        match self.opened() {
            Some(port) => Ok(Box::new(PortPipe::new(port, endpoint.is_in()))),
            None => Err(OpenError::NotFound(format!("{} was closed", self.path.display()))),
        }
    }

    /// There is one setting.
    fn set_alt_setting(&self, _interface: u8, setting: u8) -> BoxFuture<'_, Result<(), TransferError>> {
        Box::pin(async move { if setting == 0 { Ok(()) } else { Err(TransferError::Invalid) } })
    }

    /// A port never halts.
    fn clear_halt(&self, _endpoint: u8) -> BoxFuture<'_, Result<(), TransferError>> {
        Box::pin(async { Ok(()) })
    }

    /// The device behind a port is the kernel driver's.
    fn reset(&self) -> BoxFuture<'_, Result<(), TransferError>> {
        Box::pin(async { Err(TransferError::Invalid) })
    }

    fn gone(&self) -> BoxFuture<'_, String> {
        Box::pin(async move {
            match self.opened() {
                Some(port) => {
                    tokio::select! {
                        () = port.gone() => {}
                        () = system::struck_off(&self.path) => {}
                    }
                    format!("{} has gone", self.path.display())
                }
                None => format!("{} was closed", self.path.display()),
            }
        })
    }
}

const SET_LINE_CODING: (u8, u8) = (0x21, 0x20);
const GET_LINE_CODING: (u8, u8) = (0xa1, 0x21);
const SET_CONTROL_LINE_STATE: (u8, u8) = (0x21, 0x22);
const SEND_BREAK: (u8, u8) = (0x21, 0x23);
/// SEND_BREAK until further notice.
const FOREVER: u16 = u16::MAX;
const DEFAULT_FLUSH: Duration = Duration::from_secs(1);
const PORT_TIMEOUT: Duration = Duration::from_secs(5);
