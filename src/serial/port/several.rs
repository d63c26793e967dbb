//! Several ports of one USB device as one device with as many CDC ACM functions.
//!
//! Control interfaces have the numbers of the ports' own; endpoints and data interfaces are numbered anew. It opens all
//! of them or none.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, select_all};

use super::{FirstSettings, PortInfo, SerialDevice, open};
use crate::usb::descriptors::{AltSetting, Descriptors, Endpoint, Union};
use crate::usb::{BoxFuture, ModemLines, OpenError, Pipe, Setup, TransferError, UsbDevice};

/// Open ports of one device.
pub struct SeveralPorts {
    ports: Vec<SerialDevice>,
    descriptors: Arc<Descriptors>,
}

impl SeveralPorts {
    /// Opens these ports, at least one and at most fifteen, which nobody else has open, each with its first settings.
    ///
    /// # Errors
    /// As [`open`], for the first that cannot be had.
    pub async fn open(
        infos: &[PortInfo],
        lock: bool,
        flush: Duration,
        first: impl Fn(usize) -> FirstSettings,
    ) -> Result<Self, OpenError> {
        let mut ports = Vec::with_capacity(infos.len());
        for (nth, info) in infos.iter().enumerate() {
            ports.push(open(info, lock, first(nth)).await?.flush_for(flush));
        }
        let descriptors = Arc::new(merged(ports.iter().map(|port| &**port.descriptors())));
        Ok(Self { ports, descriptors })
    }

    /// The port whose class requests go to this interface.
    fn by_interface(&self, interface: u16) -> Option<&SerialDevice> {
        let is_its = |port: &&SerialDevice| u16::from(port.descriptors().alt_settings[0].interface) == interface;
        self.ports.iter().find(is_its)
    }

    /// The port of an endpoint, and the endpoint as that port has it.
    fn by_endpoint(&self, endpoint: &Endpoint) -> Option<(&SerialDevice, Endpoint)> {
        let port = self.ports.get(usize::from(endpoint.address & 0x0f).checked_sub(1)?)?;
        Some((port, Endpoint { address: endpoint.address & 0x80 | 1, ..*endpoint }))
    }
}

/// The functions of all, one after the other.
fn merged<'a>(mut ports: impl Iterator<Item = &'a Descriptors>) -> Descriptors {
    let mut all = ports.next().cloned().expect("there is a port");
    let first = std::mem::take(&mut all.alt_settings);
    let settings = std::iter::once(first).chain(ports.map(|port| port.alt_settings.clone()));
    all.alt_settings = settings.zip(0..).flat_map(|(settings, nth)| renumbered(settings, nth)).collect();
    all
}

/// The two interfaces of a port, as those of function `nth`.
fn renumbered(settings: Vec<AltSetting>, nth: u8) -> Vec<AltSetting> {
    let subordinate = FIRST_DATA_INTERFACE + nth;
    let control = settings.first().map_or(0, |control| control.interface);
    let mut renumbered = settings;
    for setting in &mut renumbered {
        if setting.interface == control {
            setting.union = Some(Union { control, subordinate });
        } else {
            setting.interface = subordinate;
        }
        setting.endpoints.iter_mut().for_each(|endpoint| endpoint.address += nth);
    }
    renumbered
}

impl UsbDevice for SeveralPorts {
    fn descriptors(&self) -> &Arc<Descriptors> {
        &self.descriptors
    }

    fn control(&self, setup: Setup, data: Vec<u8>, timeout: Duration) -> BoxFuture<'_, Result<Vec<u8>, TransferError>> {
        match self.by_interface(setup.index) {
            Some(port) => port.control(setup, data, timeout),
            None => Box::pin(async { Err(TransferError::Invalid) }),
        }
    }

    fn give_back(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { drop(join_all(self.ports.iter().map(UsbDevice::give_back)).await) })
    }

    fn modem_lines(&self, interface: u8) -> BoxFuture<'_, Option<ModemLines>> {
        match self.by_interface(interface.into()) {
            Some(port) => port.modem_lines(interface),
            None => Box::pin(async { None }),
        }
    }

    fn open_pipe(&self, endpoint: &Endpoint) -> Result<Box<dyn Pipe>, OpenError> {
        match self.by_endpoint(endpoint) {
            Some((port, endpoint)) => port.open_pipe(&endpoint),
            None => Err(OpenError::NotFound(format!("no port has endpoint {:#04x}", endpoint.address))),
        }
    }

    /// There is one setting of each interface.
    fn set_alt_setting(&self, _interface: u8, setting: u8) -> BoxFuture<'_, Result<(), TransferError>> {
        Box::pin(async move { if setting == 0 { Ok(()) } else { Err(TransferError::Invalid) } })
    }

    /// A port never halts.
    fn clear_halt(&self, _endpoint: u8) -> BoxFuture<'_, Result<(), TransferError>> {
        Box::pin(async { Ok(()) })
    }

    /// The device behind the ports is the kernel driver's.
    fn reset(&self) -> BoxFuture<'_, Result<(), TransferError>> {
        Box::pin(async { Err(TransferError::Invalid) })
    }

    fn gone(&self) -> BoxFuture<'_, String> {
        Box::pin(async { select_all(self.ports.iter().map(UsbDevice::gone)).await.0 })
    }
}

/// Beyond those that devices have; control interfaces keep their numbers.
const FIRST_DATA_INTERFACE: u8 = 0xe0;
