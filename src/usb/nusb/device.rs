//! A device opened by nusb: its interfaces, control transfers and halts.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ::nusb::transfer::{Bulk, ControlIn, ControlOut, ControlType, In, Interrupt, Out, Recipient};
use ::nusb::{Device, ErrorKind, Interface};
use tokio::time::timeout;

use super::control::Control;
use super::pipe::{NusbPipe, SharedEndpoint, share, transfer_error};
use super::thread;
use crate::usb::descriptors::{Descriptors, Endpoint, TransferType};
use crate::usb::local::{self, Hotplug, LocalDevice, Presence, UNPLUGGED};
use crate::usb::{BoxFuture, OpenError, Pipe, Setup, TransferError, UsbDevice, advice, errno, permission_advice};

/// Opens a device; no interface is claimed and nothing is sent to it.
///
/// # Errors
/// [`OpenError::Denied`] with what to do, [`OpenError::NotFound`] when it has gone meanwhile,
/// [`OpenError::Protocol`] when its descriptors make no sense.
pub async fn open(found: &LocalDevice, hotplug: &Hotplug) -> Result<NusbDevice, OpenError> {
    let opened = open_now(found, hotplug).await;
    let Err(OpenError::Unreachable(..) | OpenError::Protocol(_)) = opened else { return opened };
    // One that is about to go, or that the kernel has not configured yet, fails in ways of its own.
    let presence = Presence::new(local::node(found.bus, found.address), hotplug.clone());
    match timeout(SETTLING, presence.gone()).await {
        Ok(_) => Err(went(found)),
        Err(_) => open_now(found, hotplug).await,
    }
}

async fn open_now(found: &LocalDevice, hotplug: &Hotplug) -> Result<NusbDevice, OpenError> {
    if let Some(reason) = thread::end() {
        return Err(OpenError::Busy(reason));
    }
    let node = local::node(found.bus, found.address);
    let device = found.info.open().await.map_err(|e| open_error(found, e))?;
    let descriptors = descriptors(found, &device)?;
    Ok(NusbDevice {
        device,
        place: found.place.clone(),
        descriptors: Arc::new(descriptors),
        presence: Arc::new(Presence::new(node, hotplug.clone())),
        held: Mutex::default(),
    })
}

/// A device of this machine, opened by nusb.
pub struct NusbDevice {
    device: Device,
    place: String,
    descriptors: Arc<Descriptors>,
    presence: Arc<Presence>,
    held: Mutex<Held>,
}

/// What the daemon holds of the device.
#[derive(Default)]
struct Held {
    interfaces: BTreeMap<u8, Interface>,
    /// By address. An endpoint lives as long as the pipe that has it.
    endpoints: HashMap<u8, Weak<Mutex<SharedEndpoint>>>,
}

impl NusbDevice {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn claim_interface(&self, number: u8, detach: bool) -> Result<(), OpenError> {
        if self.held().interfaces.contains_key(&number) {
            return Ok(());
        }
        let driver = local::driver(&self.place, self.descriptors.configuration_value, number);
        let claimed = match (detach, &driver) {
            (true, Some(_)) => self.device.detach_and_claim_interface(number).await,
            _ => self.device.claim_interface(number).await,
        };
        let interface = match claimed {
            Ok(interface) => interface,
            Err(error) => return Err(self.claim_error(number, driver.as_deref(), error).await),
        };
        self.held().interfaces.insert(number, interface);
        Ok(())
    }

    async fn claim_error(&self, interface: u8, driver: Option<&str>, error: ::nusb::Error) -> OpenError {
        match error.kind() {
            ErrorKind::Disconnected => self.went(),
            ErrorKind::NotFound => OpenError::NotFound(format!("the device has no interface {interface}")),
            ErrorKind::Busy => {
                let node = self.presence.node().to_owned();
                let users = tokio::task::spawn_blocking(move || local::users(&node)).await.unwrap_or_default();
                OpenError::Busy(advice::interface_busy(interface, driver, &users))
            }
            _ => OpenError::Unreachable(format!("interface {interface} cannot be claimed"), error.into()),
        }
    }

    fn went(&self) -> OpenError {
        OpenError::NotFound(format!("the device at {} went while it was being opened", self.place))
    }

    /// Makes nusb's endpoint, or says why that cannot be.
    fn endpoint(&self, endpoint: &Endpoint) -> Result<Arc<Mutex<SharedEndpoint>>, OpenError> {
        let mut held = self.held();
        let address = endpoint.address;
        let claimed = held.interfaces.values().find(|i| has_endpoint(i, address));
        let Some(interface) = claimed else {
            let text = format!("no claimed interface has endpoint {address:#04x} in its selected alternate setting");
            return Err(OpenError::Busy(text));
        };
        let made = match (endpoint.transfer_type, endpoint.is_in()) {
            (TransferType::Bulk, true) => interface.endpoint::<Bulk, In>(address).map(share),
            (TransferType::Bulk, false) => interface.endpoint::<Bulk, Out>(address).map(share),
            (TransferType::Interrupt, true) => interface.endpoint::<Interrupt, In>(address).map(share),
            (TransferType::Interrupt, false) => interface.endpoint::<Interrupt, Out>(address).map(share),
            (kind, _) => {
                let text = format!("endpoint {address:#04x} is {kind}, which backend nusb cannot do; use libusb");
                return Err(OpenError::Protocol(text));
            }
        };
        let shared = made.map_err(|e| match self.presence.is_there() {
            true => OpenError::Unreachable(format!("endpoint {address:#04x}"), e.into()),
            false => self.went(),
        })?;
        held.endpoints.insert(address, Arc::downgrade(&shared));
        Ok(shared)
    }

    async fn control_transfer(&self, setup: Setup, data: Vec<u8>, timeout: Duration) -> Result<Vec<u8>, TransferError> {
        let (control_type, recipient) = request_type(setup.request_type).ok_or(TransferError::Invalid)?;
        let Setup { request, value, index, length, .. } = setup;
        let way = Control::of(&self.device, &self.held().interfaces, setup).ok_or(TransferError::Invalid)?;
        let result = if setup.is_in() {
            let wanted = ControlIn { control_type, recipient, request, value, index, length };
            way.receive(wanted, timeout).await
        } else {
            let sent = ControlOut { control_type, recipient, request, value, index, data: &data };
            way.send(sent, timeout).await.map(|()| Vec::new())
        };
        result.map_err(|e| match transfer_error(e) {
            // nusb ends a transfer whose time is up by cancelling it.
            TransferError::Cancelled => TransferError::Timeout,
            error => self.noticed(error),
        })
    }

    /// A device that has gone shows itself in whatever fails first.
    fn noticed(&self, error: TransferError) -> TransferError {
        if error == TransferError::Disconnected {
            self.presence.set_lost(UNPLUGGED);
        }
        error
    }

    fn request_error(&self, error: ::nusb::Error) -> TransferError {
        self.noticed(match error.kind() {
            ErrorKind::Disconnected => TransferError::Disconnected,
            ErrorKind::NotFound => TransferError::Invalid,
            _ => TransferError::Io(error.os_error().map_or(errno::EBUSY, |code| code as i32)),
        })
    }

    async fn select(&self, number: u8, setting: u8) -> Result<(), TransferError> {
        // A setting that is asked for by hand may be that of an interface nobody uses yet.
        self.claim_interface(number, false).await.map_err(|_| TransferError::Io(errno::EBUSY))?;
        let Some(interface) = self.held().interfaces.get(&number).cloned() else { return Err(TransferError::Invalid) };
        interface.set_alt_setting(setting).await.map_err(|e| self.request_error(e))
    }

    async fn end_halt(&self, address: u8) -> Result<(), TransferError> {
        let open = self.held().endpoints.get(&address).and_then(Weak::upgrade);
        let endpoint = match open {
            Some(endpoint) => endpoint,
            None => self.endpoint_for_halt(address)?,
        };
        let clearing = endpoint.lock().unwrap_or_else(PoisonError::into_inner).clear_halt();
        clearing.await.map_err(|e| self.request_error(e))
    }

    fn endpoint_for_halt(&self, address: u8) -> Result<Arc<Mutex<SharedEndpoint>>, TransferError> {
        let (_, endpoint) = self.descriptors.find_endpoint(address, None, None).ok_or(TransferError::Invalid)?;
        self.endpoint(&endpoint).map_err(|_| TransferError::Io(errno::EBUSY))
    }
}

impl UsbDevice for NusbDevice {
    fn descriptors(&self) -> &Arc<Descriptors> {
        &self.descriptors
    }

    fn control(&self, setup: Setup, data: Vec<u8>, timeout: Duration) -> BoxFuture<'_, Result<Vec<u8>, TransferError>> {
        Box::pin(self.control_transfer(setup, data, timeout))
    }

    fn claim(&self, interface: u8, detach: bool) -> BoxFuture<'_, Result<(), OpenError>> {
        Box::pin(self.claim_interface(interface, detach))
    }

    fn give_back(&self) -> BoxFuture<'_, ()> {
        let interfaces = std::mem::take(&mut self.held().interfaces);
        Box::pin(async move {
            // Dropping one releases it, and a kernel driver that comes back may take its time. The first interface of a
            // function goes last: its driver wants the others free when it looks at it.
            let _ = tokio::task::spawn_blocking(move || interfaces.into_iter().rev().for_each(drop)).await;
        })
    }

    fn open_pipe(&self, endpoint: &Endpoint) -> Result<Box<dyn Pipe>, OpenError> {
        if !self.presence.is_there() {
            return Err(self.went());
        }
        let shared = self.endpoint(endpoint)?;
        Ok(Box::new(NusbPipe::new(shared, endpoint.is_in(), self.presence.clone())))
    }

    fn set_alt_setting(&self, interface: u8, setting: u8) -> BoxFuture<'_, Result<(), TransferError>> {
        Box::pin(self.select(interface, setting))
    }

    fn clear_halt(&self, endpoint: u8) -> BoxFuture<'_, Result<(), TransferError>> {
        Box::pin(self.end_halt(endpoint))
    }

    fn reset(&self) -> BoxFuture<'_, Result<(), TransferError>> {
        Box::pin(async {
            self.device.reset().await.map_err(|e| self.request_error(e))?;
            // usbfs loses every claim at a reset, so the device has to be opened anew.
            self.presence.set_lost("reset");
            Ok(())
        })
    }

    fn gone(&self) -> BoxFuture<'_, String> {
        Box::pin(async {
            tokio::select! {
                reason = self.presence.gone() => reason,
                reason = thread::ended() => reason,
            }
        })
    }
}

/// Whether the interface's selected setting has this endpoint.
fn has_endpoint(interface: &Interface, address: u8) -> bool {
    interface.descriptor().is_some_and(|setting| setting.endpoints().any(|e| e.address() == address))
}

/// bmRequestType in nusb's words; reserved types and recipients have none. USB 2.0, table 9-2.
fn request_type(bits: u8) -> Option<(ControlType, Recipient)> {
    let control_type = match bits >> 5 & 3 {
        0 => ControlType::Standard,
        1 => ControlType::Class,
        2 => ControlType::Vendor,
        _ => return None,
    };
    let recipient = match bits & 0x1f {
        0 => Recipient::Device,
        1 => Recipient::Interface,
        2 => Recipient::Endpoint,
        3 => Recipient::Other,
        _ => return None,
    };
    Some((control_type, recipient))
}

fn descriptors(found: &LocalDevice, device: &Device) -> Result<Descriptors, OpenError> {
    let configuration = device.active_configuration().map_err(|_| {
        let text = format!("the device at {} is not configured; unplug it and plug it in again", found.place);
        OpenError::Protocol(text)
    })?;
    let raw = device.device_descriptor();
    let mut parsed = Descriptors::parse(raw.as_bytes(), configuration.as_bytes(), found.speed)?;
    parsed.manufacturer = found.manufacturer.clone();
    parsed.product = found.product.clone();
    parsed.serial_number = found.serial_number.clone();
    Ok(parsed)
}

fn went(found: &LocalDevice) -> OpenError {
    OpenError::NotFound(format!("the device at {} went while it was being opened", found.place))
}

fn open_error(found: &LocalDevice, error: ::nusb::Error) -> OpenError {
    let (vid, pid, place) = (found.vendor_id, found.product_id, &found.place);
    match error.kind() {
        ErrorKind::PermissionDenied => {
            let advice = permission_advice(vid, pid, &local::node(found.bus, found.address));
            OpenError::Denied(format!("no permission to open {vid:04x}:{pid:04x} at {place}: {advice}"))
        }
        ErrorKind::Disconnected | ErrorKind::NotFound => went(found),
        _ => OpenError::Unreachable(format!("{vid:04x}:{pid:04x} at {place} cannot be opened"), io::Error::from(error)),
    }
}

/// How long a device may take from its node to its configuration, or back.
const SETTLING: Duration = Duration::from_millis(500);
