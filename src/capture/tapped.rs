//! Hot path. A device and its pipes with a tap before them: everything is passed on as it is, and while somebody
//! captures, told to the tap. Nobody capturing costs one look at a flag for each transfer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use super::Tap;
use super::usbmon::{Event, Urb};
use crate::usb::descriptors::{Descriptors, Endpoint, TransferType};
use crate::usb::{
    BoxFuture, FlowControl, ModemLines, OpenError, Pipe, Setup, Transfer, TransferError, UsbDevice, standard,
};

/// A device with a tap.
pub(super) struct TappedDevice {
    device: Arc<dyn UsbDevice>,
    tap: Arc<Tap>,
    address: u8,
    controls: AtomicU64,
}

impl TappedDevice {
    pub(super) fn new(device: Arc<dyn UsbDevice>, tap: Arc<Tap>, address: u8) -> Self {
        let controls = AtomicU64::new(first_id(&tap));
        Self { device, tap, address, controls }
    }

    /// Tells of a control transfer that is about to be made; `data` is sent for OUT.
    fn begin_control(&self, setup: Setup, data: &[u8]) -> OpenControl<'_> {
        let endpoint = if setup.is_in() { 0x80 } else { 0 };
        let id = self.controls.fetch_add(1, Ordering::Relaxed);
        let urb = Urb { id, transfer_type: TransferType::Control, endpoint, device: self.address, interval: 0 };
        let control = OpenControl { tap: &self.tap, urb, length: setup.length.into(), is_over: false };
        control.tell(&Event {
            setup: Some(setup.to_bytes()),
            is_submit: true,
            length: control.length,
            buffer: data,
            ..control.completed(Ok(&[]))
        });
        control
    }

    /// Makes a request without data, which the backend makes in a way of its own.
    fn request<'a>(
        &'a self,
        setup: Setup,
        request: BoxFuture<'a, Result<(), TransferError>>,
    ) -> BoxFuture<'a, Result<(), TransferError>> {
        if !self.tap.is_on() {
            return request;
        }
        Box::pin(async move {
            let control = self.begin_control(setup, &[]);
            let result = request.await;
            control.end(result.as_ref().map(|()| &[][..]).map_err(|e| *e));
            result
        })
    }
}

#[warn(clippy::missing_trait_methods, reason = "nothing that a device can do may be lost behind the tap")]
impl UsbDevice for TappedDevice {
    fn descriptors(&self) -> &Arc<Descriptors> {
        self.device.descriptors()
    }

    fn control(&self, setup: Setup, data: Vec<u8>, timeout: Duration) -> BoxFuture<'_, Result<Vec<u8>, TransferError>> {
        if !self.tap.is_on() {
            return self.device.control(setup, data, timeout);
        }
        Box::pin(async move {
            let control = self.begin_control(setup, &data);
            let result = self.device.control(setup, data, timeout).await;
            control.end(result.as_deref().map_err(|e| *e));
            result
        })
    }

    fn claim(&self, interface: u8, detach: bool) -> BoxFuture<'_, Result<(), OpenError>> {
        self.device.claim(interface, detach)
    }

    fn give_back(&self) -> BoxFuture<'_, ()> {
        self.device.give_back()
    }

    fn end_within(&self, time: Duration) {
        self.device.end_within(time);
    }

    fn open_pipe(&self, endpoint: &Endpoint) -> Result<Box<dyn Pipe>, OpenError> {
        let pipe = self.device.open_pipe(endpoint)?;
        let Endpoint { address, transfer_type, .. } = *endpoint;
        let interval = endpoint.interval_in_frames(self.descriptors().speed);
        let id = first_id(&self.tap);
        let urb = Urb { id, transfer_type, endpoint: address, device: self.address, interval };
        Ok(Box::new(TappedPipe { pipe, tap: self.tap.clone(), urb, completed: id }))
    }

    fn set_alt_setting(&self, interface: u8, setting: u8) -> BoxFuture<'_, Result<(), TransferError>> {
        self.request(standard::set_interface(interface, setting), self.device.set_alt_setting(interface, setting))
    }

    fn clear_halt(&self, endpoint: u8) -> BoxFuture<'_, Result<(), TransferError>> {
        self.request(standard::clear_halt(endpoint), self.device.clear_halt(endpoint))
    }

    fn reset(&self) -> BoxFuture<'_, Result<(), TransferError>> {
        self.device.reset()
    }

    fn modem_lines(&self, interface: u8) -> BoxFuture<'_, Option<ModemLines>> {
        self.device.modem_lines(interface)
    }

    fn set_flow_control(&self, flow: FlowControl) -> BoxFuture<'_, Result<(), TransferError>> {
        self.device.set_flow_control(flow)
    }

    fn gone(&self) -> BoxFuture<'_, String> {
        self.device.gone()
    }
}

/// A control transfer that was told of; if nobody waits for its end any more, it counts as cancelled.
struct OpenControl<'a> {
    tap: &'a Tap,
    urb: Urb,
    /// wLength.
    length: usize,
    is_over: bool,
}

impl OpenControl<'_> {
    fn end(mut self, result: Result<&[u8], TransferError>) {
        self.is_over = true;
        self.tell(&self.completed(result));
    }

    fn completed<'a>(&self, result: Result<&'a [u8], TransferError>) -> Event<'a> {
        let buffer = result.unwrap_or_default();
        let moved = if self.urb.endpoint == 0 && result.is_ok() { self.length } else { buffer.len() };
        let status = result.map(|_| ());
        Event { urb: self.urb, is_submit: false, setup: None, status, length: moved, buffer, packets: &[] }
    }

    fn tell(&self, event: &Event<'_>) {
        if self.tap.is_on() {
            self.tap.tell(event);
        }
    }
}

impl Drop for OpenControl<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.tell(&self.completed(Err(TransferError::Cancelled)));
        }
    }
}

/// A pipe with a tap. Transfers come out in the order in which they went in, so that counting both tells which is which.
struct TappedPipe {
    pipe: Box<dyn Pipe>,
    tap: Arc<Tap>,
    /// With the id of the next transfer that goes in.
    urb: Urb,
    /// The id of the next one that comes out.
    completed: u64,
}

#[warn(clippy::missing_trait_methods, reason = "nothing that a pipe can do may be lost behind the tap")]
impl Pipe for TappedPipe {
    fn allocate(&self, size: usize) -> Transfer {
        self.pipe.allocate(size)
    }

    fn submit(&mut self, transfer: Transfer) {
        if self.tap.is_on() {
            self.tap.tell(&Event {
                urb: self.urb,
                is_submit: true,
                setup: None,
                status: Ok(()),
                length: transfer.length,
                buffer: &transfer.buffer,
                packets: &transfer.packets,
            });
        }
        self.urb.id += 1;
        self.pipe.submit(transfer);
    }

    fn poll_complete(&mut self, cx: &mut Context<'_>) -> Poll<Transfer> {
        let polled = self.pipe.poll_complete(cx);
        if let Poll::Ready(transfer) = &polled {
            if self.tap.is_on() {
                self.tap.tell(&Event {
                    urb: Urb { id: self.completed, ..self.urb },
                    is_submit: false,
                    setup: None,
                    status: transfer.status,
                    length: transfer.actual,
                    buffer: &transfer.buffer,
                    packets: &transfer.packets,
                });
            }
            self.completed += 1;
        }
        polled
    }

    fn moves_when_polled(&self) -> bool {
        self.pipe.moves_when_polled()
    }

    fn in_flight(&self) -> usize {
        self.pipe.in_flight()
    }

    fn cancel_all(&mut self) {
        self.pipe.cancel_all();
    }
}

/// Ids of one pipe follow one another, and never run into those of the next.
fn first_id(tap: &Tap) -> u64 {
    (tap.next_pipe() + 1) << ID_BITS
}

const ID_BITS: u32 = 40;

#[cfg(test)]
mod tests;
