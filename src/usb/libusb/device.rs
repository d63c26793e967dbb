//! A device that libusb has opened.

use std::sync::Arc;
use std::time::Duration;

use rusb::constants::{
    LIBUSB_TRANSFER_TYPE_BULK, LIBUSB_TRANSFER_TYPE_CONTROL, LIBUSB_TRANSFER_TYPE_INTERRUPT,
    LIBUSB_TRANSFER_TYPE_ISOCHRONOUS,
};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::error::{cannot_open, of_request};
use super::events;
use super::flight::{Route, SETUP};
use super::link::Link;
use super::pipe::{LibusbPipe, Orphanage};
use crate::usb::descriptors::{Descriptors, Endpoint, TransferType};
use crate::usb::device::complete_within;
use crate::usb::local::LocalDevice;
use crate::usb::{BoxFuture, OpenError, Pipe, Setup, Transfer, TransferError, UsbDevice};

/// Opens a device; no interface is claimed.
///
/// # Errors
/// [`OpenError::Denied`] with what to do, [`OpenError::NotFound`] when it has gone meanwhile, [`OpenError::Protocol`] when
/// its descriptors make no sense.
pub async fn open(found: &LocalDevice) -> Result<LibusbDevice, OpenError> {
    let device = found.clone();
    let opened = spawn_blocking(move || Link::open(&device)).await;
    let link = Arc::new(opened.map_err(|e| cannot_open(found, e.into()))??);
    let (orphanage, orphans) = mpsc::unbounded_channel();
    events::start(link.clone(), orphans).map_err(|e| cannot_open(found, e))?;
    Ok(LibusbDevice { link, orphanage })
}

/// A device that libusb has opened. Dropping it and its pipes cancels what is in flight, gives interfaces back and
/// closes it.
pub struct LibusbDevice {
    link: Arc<Link>,
    /// After the link: when the last of these goes, the events close the device.
    orphanage: Orphanage,
}

impl LibusbDevice {
    /// Takes note that the device has gone, for those who know it from elsewhere. On Linux its node tells by itself.
    pub fn tell_gone(&self, reason: &str) {
        self.link.tell_gone(reason);
    }

    fn pipe(&self, endpoint: u8, kind: u8) -> LibusbPipe {
        LibusbPipe::new(Route { endpoint, kind }, self.link.clone(), self.orphanage.clone())
    }

    async fn control_transfer(&self, setup: Setup, data: Vec<u8>, timeout: Duration) -> Result<Vec<u8>, TransferError> {
        let mut pipe = self.pipe(0, LIBUSB_TRANSFER_TYPE_CONTROL);
        let mut transfer = Transfer::new(SETUP + usize::from(setup.length));
        transfer.buffer[..SETUP].copy_from_slice(&setup.to_bytes());
        if !setup.is_in() {
            let n = data.len().min(setup.length.into());
            transfer.buffer[SETUP..SETUP + n].copy_from_slice(&data[..n]);
        }
        pipe.submit(transfer);
        let done = complete_within(&mut pipe, timeout).await;
        done.status?;
        let received = if setup.is_in() { done.actual } else { 0 };
        Ok(done.buffer[SETUP..SETUP + received].to_vec())
    }

    /// Does on a helper thread what blocks.
    fn request<T: Send + 'static>(
        &self,
        request: impl FnOnce(&Link) -> T + Send + 'static,
    ) -> impl Future<Output = Option<T>> + Send + 'static {
        let link = self.link.clone();
        let done = spawn_blocking(move || request(&link));
        async move { done.await.ok() }
    }
}

impl UsbDevice for LibusbDevice {
    fn descriptors(&self) -> &Arc<Descriptors> {
        &self.link.descriptors
    }

    fn control(&self, setup: Setup, data: Vec<u8>, timeout: Duration) -> BoxFuture<'_, Result<Vec<u8>, TransferError>> {
        Box::pin(self.control_transfer(setup, data, timeout))
    }

    fn claim(&self, interface: u8, detach: bool) -> BoxFuture<'_, Result<(), OpenError>> {
        let claimed = self.request(move |link| link.claim(interface, detach));
        Box::pin(async { claimed.await.unwrap_or_else(|| Err(OpenError::NotFound("the daemon ends".to_owned()))) })
    }

    fn give_back(&self) -> BoxFuture<'_, ()> {
        let given = self.request(Link::give_back);
        Box::pin(async { given.await.unwrap_or_default() })
    }

    fn open_pipe(&self, endpoint: &Endpoint) -> Result<Box<dyn Pipe>, OpenError> {
        if let Some(reason) = self.link.gone().borrow().as_ref() {
            return Err(OpenError::NotFound(reason.clone()));
        }
        let kind = match endpoint.transfer_type {
            TransferType::Control => LIBUSB_TRANSFER_TYPE_CONTROL,
            TransferType::Isochronous => LIBUSB_TRANSFER_TYPE_ISOCHRONOUS,
            TransferType::Bulk => LIBUSB_TRANSFER_TYPE_BULK,
            TransferType::Interrupt => LIBUSB_TRANSFER_TYPE_INTERRUPT,
        };
        Ok(Box::new(self.pipe(endpoint.address, kind)))
    }

    fn set_alt_setting(&self, interface: u8, setting: u8) -> BoxFuture<'_, Result<(), TransferError>> {
        let done = self.request(move |link| link.set_alt_setting(interface, setting));
        Box::pin(async { done.await.unwrap_or(Err(TransferError::Disconnected)) })
    }

    fn clear_halt(&self, endpoint: u8) -> BoxFuture<'_, Result<(), TransferError>> {
        let done = self.request(move |link| link.handle.clear_halt(endpoint).map_err(of_request));
        Box::pin(async { done.await.unwrap_or(Err(TransferError::Disconnected)) })
    }

    fn reset(&self) -> BoxFuture<'_, Result<(), TransferError>> {
        let done = self.request(Link::reset);
        Box::pin(async { done.await.unwrap_or(Err(TransferError::Disconnected)) })
    }

    fn gone(&self) -> BoxFuture<'_, String> {
        let mut gone = self.link.gone();
        Box::pin(async move {
            match gone.wait_for(Option::is_some).await {
                Ok(reason) => reason.clone().unwrap_or_default(),
                Err(_) => "closed".to_owned(),
            }
        })
    }
}
