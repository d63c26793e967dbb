//! One device through two backends: interfaces with isochronous endpoints through one that can do them, all else
//! through the other. Both have the device open; no interface is claimed by both.

use std::sync::Arc;
use std::time::Duration;

use crate::usb::descriptors::{Descriptors, Endpoint, TransferType};
use crate::usb::{BoxFuture, OpenError, Pipe, Setup, TransferError, UsbDevice};

/// A device and a second way to it.
pub struct Combined {
    main: Arc<dyn UsbDevice>,
    isochronous: Arc<dyn UsbDevice>,
}

impl Combined {
    /// `main` for everything but isochronous interfaces.
    pub fn new(main: Arc<dyn UsbDevice>, isochronous: Arc<dyn UsbDevice>) -> Self {
        Self { main, isochronous }
    }

    fn by_interface(&self, interface: u8) -> &Arc<dyn UsbDevice> {
        let is_isochronous = isochronous_interfaces(self.main.descriptors()).any(|i| i == interface);
        if is_isochronous { &self.isochronous } else { &self.main }
    }

    /// An address may stand in several interfaces, if only one of them is in use; it is then the one that is found.
    fn by_endpoint(&self, address: u8) -> &Arc<dyn UsbDevice> {
        let interface = self.main.descriptors().find_endpoint(address, None, None).map(|(s, _)| s.interface);
        interface.map_or(&self.main, |interface| self.by_interface(interface))
    }
}

/// Interfaces that have an isochronous endpoint in any of their settings.
pub fn isochronous_interfaces(descriptors: &Descriptors) -> impl Iterator<Item = u8> {
    let has = |endpoints: &[Endpoint]| endpoints.iter().any(|e| e.transfer_type == TransferType::Isochronous);
    descriptors.alt_settings.iter().filter(move |s| has(&s.endpoints)).map(|s| s.interface)
}

impl UsbDevice for Combined {
    fn descriptors(&self) -> &Arc<Descriptors> {
        self.main.descriptors()
    }

    fn control(&self, setup: Setup, data: Vec<u8>, timeout: Duration) -> BoxFuture<'_, Result<Vec<u8>, TransferError>> {
        let recipient = setup.request_type & 0x1f;
        let [low, _] = setup.index.to_le_bytes();
        // usbfs lets only who has claimed an interface send requests to it or to its endpoints.
        let device = match recipient {
            RECIPIENT_INTERFACE => self.by_interface(low),
            RECIPIENT_ENDPOINT => self.by_endpoint(low),
            _ => &self.main,
        };
        device.control(setup, data, timeout)
    }

    fn claim(&self, interface: u8, detach: bool) -> BoxFuture<'_, Result<(), OpenError>> {
        self.by_interface(interface).claim(interface, detach)
    }

    fn give_back(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.isochronous.give_back().await;
            self.main.give_back().await;
        })
    }

    fn end_within(&self, time: Duration) {
        self.isochronous.end_within(time);
        self.main.end_within(time);
    }

    fn open_pipe(&self, endpoint: &Endpoint) -> Result<Box<dyn Pipe>, OpenError> {
        self.by_endpoint(endpoint.address).open_pipe(endpoint)
    }

    fn set_alt_setting(&self, interface: u8, setting: u8) -> BoxFuture<'_, Result<(), TransferError>> {
        self.by_interface(interface).set_alt_setting(interface, setting)
    }

    fn clear_halt(&self, endpoint: u8) -> BoxFuture<'_, Result<(), TransferError>> {
        self.by_endpoint(endpoint).clear_halt(endpoint)
    }

    fn reset(&self) -> BoxFuture<'_, Result<(), TransferError>> {
        self.main.reset()
    }

    fn gone(&self) -> BoxFuture<'_, String> {
        Box::pin(async {
            tokio::select! {
                reason = self.main.gone() => reason,
                reason = self.isochronous.gone() => reason,
            }
        })
    }
}

/// bmRequestType, bits 4 to 0: USB 2.0, table 9-2.
const RECIPIENT_INTERFACE: u8 = 1;
const RECIPIENT_ENDPOINT: u8 = 2;
