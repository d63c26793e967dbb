//! A device imported from a USB/IP server, and its pipes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use usbip_wire::DeviceRecord;

use super::client;
use super::in_flight::{Completion, InFlight};
use super::link::Link;
use super::protocol::{Command, Submission};
use super::table::PipeId;
use crate::selector::Remote;
use crate::usb::descriptors::{Descriptors, Endpoint, Speed};
use crate::usb::device::complete_within;
use crate::usb::enumerate::{self, DESCRIPTOR_TIMEOUT};
use crate::usb::{BoxFuture, OpenError, Pipe, Setup, Transfer, TransferError, UsbDevice, standard};

/// Imports a device and reads its descriptors.
///
/// # Errors
/// [`OpenError::Unreachable`] when no server answers, [`OpenError::NotFound`] when it does not export the bus id,
/// [`OpenError::Busy`] when another client has the device, [`OpenError::Protocol`] when server or device talk nonsense.
pub async fn open(remote: &Remote, busid: &str) -> Result<UsbipDevice, OpenError> {
    let (stream, record) = client::import(remote, busid).await?;
    let (commands, receiver) = mpsc::unbounded_channel();
    let (gone_sender, gone) = watch::channel(None);
    tokio::spawn(Link::new(stream, record.devid(), receiver).run(gone_sender));
    let placeholder = Arc::new(placeholder(&record));
    let mut device = UsbipDevice { commands, next_pipe: AtomicU32::new(1), gone, descriptors: placeholder };
    let descriptors = tokio::time::timeout(OPEN_TIMEOUT, read_descriptors(&device, &record)).await;
    device.descriptors = Arc::new(descriptors.map_err(|_| too_slow())??);
    Ok(device)
}

fn too_slow() -> OpenError {
    let seconds = OPEN_TIMEOUT.as_secs();
    OpenError::Protocol(format!(
        "the device takes more than {seconds} s for its descriptors; `usbpipe list --remote` shows what its server claims"
    ))
}

/// A device imported from a USB/IP server. Dropping it and its pipes closes the link.
pub struct UsbipDevice {
    commands: mpsc::UnboundedSender<Command>,
    next_pipe: AtomicU32,
    gone: watch::Receiver<Option<String>>,
    descriptors: Arc<Descriptors>,
}

impl UsbipDevice {
    pub(super) fn pipe(&self, endpoint: u8, interval: u32) -> UsbipPipe {
        let id = self.next_pipe.fetch_add(1, Ordering::Relaxed);
        let (completions, receiver) = mpsc::unbounded_channel();
        // A link that has ended shows itself at the first submit.
        let _ = self.commands.send(Command::Open { pipe: id, completions: completions.clone() });
        UsbipPipe {
            id,
            endpoint,
            interval,
            setup: [0; 8],
            commands: self.commands.clone(),
            completions: receiver,
            come_back: completions,
            submitted: 0,
            completed: 0,
            early: Vec::new(),
        }
    }

    async fn control_transfer(&self, setup: Setup, data: Vec<u8>, timeout: Duration) -> Result<Vec<u8>, TransferError> {
        let is_in = setup.is_in();
        let mut pipe = self.pipe(if is_in { 0x80 } else { 0 }, 0);
        pipe.setup = setup.to_bytes();
        let mut transfer = Transfer::new(usize::from(setup.length));
        if !is_in {
            let n = data.len().min(transfer.length);
            transfer.buffer[..n].copy_from_slice(&data[..n]);
        }
        pipe.submit(transfer);
        let mut done = complete_within(&mut pipe, timeout).await;
        done.status?;
        let received = if is_in { done.actual } else { 0 };
        let mut bytes = std::mem::take(&mut done.buffer).into_vec();
        bytes.truncate(received);
        Ok(bytes)
    }
}

impl UsbDevice for UsbipDevice {
    fn descriptors(&self) -> &Arc<Descriptors> {
        &self.descriptors
    }

    fn control(&self, setup: Setup, data: Vec<u8>, timeout: Duration) -> BoxFuture<'_, Result<Vec<u8>, TransferError>> {
        Box::pin(self.control_transfer(setup, data, timeout))
    }

    fn open_pipe(&self, endpoint: &Endpoint) -> Result<Box<dyn Pipe>, OpenError> {
        if let Some(reason) = self.gone.borrow().as_ref() {
            return Err(OpenError::NotFound(reason.clone()));
        }
        let interval = endpoint.interval_in_frames(self.descriptors.speed);
        Ok(Box::new(self.pipe(endpoint.address, interval)))
    }

    fn set_alt_setting(&self, interface: u8, setting: u8) -> BoxFuture<'_, Result<(), TransferError>> {
        self.request(standard::set_interface(interface, setting))
    }

    fn clear_halt(&self, endpoint: u8) -> BoxFuture<'_, Result<(), TransferError>> {
        self.request(standard::clear_halt(endpoint))
    }

    fn reset(&self) -> BoxFuture<'_, Result<(), TransferError>> {
        self.request(standard::port_reset(0))
    }

    /// Ends the link in order, so that the server has nothing to cancel when its client has gone and can hand the device to
    /// the next one. The device is of no use after that.
    fn give_back(&self) -> BoxFuture<'_, ()> {
        let _ = self.commands.send(Command::End);
        Box::pin(async {
            let _ = tokio::time::timeout(END_TIMEOUT, self.gone()).await;
        })
    }

    fn end_within(&self, time: Duration) {
        let _ = self.commands.send(Command::EndWithin(time));
    }

    fn gone(&self) -> BoxFuture<'_, String> {
        let mut gone = self.gone.clone();
        Box::pin(async move {
            match gone.wait_for(Option::is_some).await {
                Ok(reason) => reason.clone().unwrap_or_default(),
                Err(_) => "the link ended".to_owned(),
            }
        })
    }
}

impl UsbipDevice {
    fn request(&self, setup: Setup) -> BoxFuture<'_, Result<(), TransferError>> {
        Box::pin(async move { self.control_transfer(setup, Vec::new(), REQUEST_TIMEOUT).await.map(|_| ()) })
    }
}

/// One endpoint of an imported device.
pub(super) struct UsbipPipe {
    id: PipeId,
    endpoint: u8,
    interval: u32,
    setup: [u8; 8],
    commands: mpsc::UnboundedSender<Command>,
    completions: mpsc::UnboundedReceiver<Completion>,
    /// Where each transfer comes back, whatever becomes of it.
    come_back: mpsc::UnboundedSender<Completion>,
    /// How many were submitted so far, and how many came out: the ordinals of the next ones.
    submitted: u64,
    completed: u64,
    /// Ended before one that was submitted earlier.
    early: Vec<Completion>,
}

impl UsbipPipe {
    /// Takes note of a transfer that is given back. One with a lower ordinal was given back before, as cancelled; it is
    /// what the peer sent for it afterwards.
    fn came_out(&mut self, ordinal: u64, transfer: Transfer) -> Transfer {
        self.completed += u64::from(ordinal == self.completed);
        transfer
    }
}

impl Pipe for UsbipPipe {
    fn submit(&mut self, transfer: Transfer) {
        let flight = InFlight::new(transfer, self.submitted, self.come_back.clone());
        let (pipe, endpoint, interval, setup) = (self.id, self.endpoint, self.interval, self.setup);
        self.submitted += 1;
        // One that a link does not take any more is dropped here, and so comes back.
        let _ = self.commands.send(Command::Submit(Submission { pipe, endpoint, interval, setup, flight }));
    }

    fn poll_complete(&mut self, cx: &mut Context<'_>) -> Poll<Transfer> {
        loop {
            if let Some(at) = self.early.iter().position(|(ordinal, _)| *ordinal <= self.completed) {
                let (ordinal, transfer) = self.early.remove(at);
                return Poll::Ready(self.came_out(ordinal, transfer));
            }
            match self.completions.poll_recv(cx) {
                Poll::Ready(Some((ordinal, transfer))) if ordinal <= self.completed => {
                    return Poll::Ready(self.came_out(ordinal, transfer));
                }
                Poll::Ready(Some(early)) => self.early.push(early),
                // It never closes, as it has a sender here; and each transfer is in somebody's hands.
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn in_flight(&self) -> usize {
        (self.submitted - self.completed) as usize
    }

    fn cancel_all(&mut self) {
        let _ = self.commands.send(Command::Cancel { pipe: self.id });
    }
}

impl Drop for UsbipPipe {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Close { pipe: self.id });
    }
}

async fn read_descriptors(device: &UsbipDevice, record: &DeviceRecord) -> Result<Descriptors, OpenError> {
    let failed = |what: &str, e: TransferError| match device.gone.borrow().as_ref() {
        Some(reason) => OpenError::Protocol(format!("{what} failed: {reason}")),
        None => OpenError::Protocol(format!("{what} failed: {e}")),
    };
    let raw = enumerate::read_device(device, DESCRIPTOR_TIMEOUT).await;
    let raw = raw.map_err(|e| failed("reading the device descriptor", e))?;
    let index = active_configuration(device, record).await;
    let index = index.map_err(|(index, e)| failed(&format!("reading the head of configuration {index}"), e))?;
    let configuration = enumerate::read_configuration(device, index, DESCRIPTOR_TIMEOUT).await;
    let configuration = configuration.map_err(|e| failed("reading the configuration descriptor", e))?;
    let mut parsed = Descriptors::parse(&raw, &configuration, speed(record))?;
    if record.configuration_value == 0 {
        // A server that took the device from its drivers, such as the kernel's, may have left it unconfigured.
        let setup = standard::set_configuration(parsed.configuration_value);
        let answer = device.control_transfer(setup, Vec::new(), DESCRIPTOR_TIMEOUT).await;
        answer.map_err(|e| failed("selecting the configuration", e))?;
    }
    enumerate::read_strings(device, &raw, &mut parsed).await;
    Ok(parsed)
}

/// The index of the configuration whose value the server reports as active; 0 where that cannot be found.
///
/// # Errors
/// The index of the first one that is not answered at all. Others would not be, either.
async fn active_configuration(device: &UsbipDevice, record: &DeviceRecord) -> Result<u8, (u8, TransferError)> {
    for index in 0..if record.num_configurations > 1 { record.num_configurations } else { 0 } {
        match enumerate::read_configuration_head(device, index, DESCRIPTOR_TIMEOUT).await {
            Ok(head) if head.get(5) == Some(&record.configuration_value) => return Ok(index),
            Err(e @ (TransferError::Timeout | TransferError::Disconnected)) => return Err((index, e)),
            _ => {}
        }
    }
    Ok(0)
}

fn speed(record: &DeviceRecord) -> Speed {
    match record.speed {
        usbip_wire::Speed::Low => Speed::Low,
        usbip_wire::Speed::Full => Speed::Full,
        usbip_wire::Speed::High => Speed::High,
        usbip_wire::Speed::Super => Speed::Super,
        usbip_wire::Speed::SuperPlus => Speed::SuperPlus,
        usbip_wire::Speed::Unknown | usbip_wire::Speed::Wireless => Speed::Unknown,
    }
}

/// What the server says of the device, until the device itself has been asked.
fn placeholder(record: &DeviceRecord) -> Descriptors {
    Descriptors {
        vendor_id: record.vendor_id,
        product_id: record.product_id,
        device_version: record.device_version,
        class: record.class,
        speed: speed(record),
        manufacturer: None,
        product: None,
        serial_number: None,
        configuration_value: record.configuration_value,
        alt_settings: Vec::new(),
        remarks: Vec::new(),
        associations: Vec::new(),
    }
}

/// How long a device may take from its import until all its descriptors are read: many slow round trips, but whatever number of
/// configurations it claims.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// Control requests with no data stage: USB 2.0, 9.2.6.4 gives a device 50 ms, a network may add much to it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A server that takes longer to end a link in order is left to itself.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// A device without a link, and what it asks of one.
#[cfg(any(test, fuzzing))]
pub(super) fn detached() -> (UsbipDevice, mpsc::UnboundedReceiver<Command>) {
    let (commands, receiver) = mpsc::unbounded_channel();
    let record = DeviceRecord::decode(&[0; usbip_wire::DEVICE_RECORD_LEN]);
    let descriptors = Arc::new(placeholder(&record));
    (UsbipDevice { commands, next_pipe: AtomicU32::new(1), gone: watch::channel(None).1, descriptors }, receiver)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usb::drain;

    fn numbered(n: u8) -> Transfer {
        let mut transfer = Transfer::new(1);
        transfer.buffer[0] = n;
        transfer
    }

    #[tokio::test]
    async fn transfers_that_were_cancelled_newest_first_come_out_in_order() {
        let (device, mut link) = detached();
        let mut pipe = device.pipe(0x02, 0);
        (0..4).for_each(|n| pipe.submit(numbered(n)));
        let Some(Command::Open { .. }) = link.recv().await else { panic!("a pipe is opened first") };
        let mut ended = Vec::new();
        while let Ok(Command::Submit(submission)) = link.try_recv() {
            ended.push(submission.flight);
        }
        ended.into_iter().rev().for_each(|flight| flight.fail(TransferError::Cancelled));
        let mut order = Vec::new();
        drain(&mut pipe, |transfer| order.push(transfer.buffer[0])).await;
        assert_eq!(order, [0, 1, 2, 3]);
    }

    #[tokio::test]
    async fn what_comes_for_cancelled_transfers_afterwards_comes_out_once_and_counts_for_no_other() {
        let (device, mut link) = detached();
        let mut pipe = device.pipe(0x81, 0);
        (0..2).for_each(|n| pipe.submit(numbered(n)));
        let Some(Command::Open { completions, .. }) = link.recv().await else { panic!("a pipe is opened first") };
        // The link has what was submitted, which is given back by hand here.
        let _held: Vec<Command> = std::iter::from_fn(|| link.try_recv().ok()).collect();
        let send = |ordinal, n| completions.send((ordinal, numbered(n))).unwrap();
        // The newer was cancelled and replied to after all before the older was cancelled.
        [(1, 1), (1, 11), (0, 0), (0, 10)].into_iter().for_each(|(ordinal, n)| send(ordinal, n));
        let mut order = Vec::new();
        drain(&mut pipe, |transfer| order.push(transfer.buffer[0])).await;
        assert_eq!(order, [0, 1]);
        pipe.submit(numbered(2));
        send(2, 2);
        drain(&mut pipe, |transfer| order.push(transfer.buffer[0])).await;
        assert_eq!(order, [0, 1, 11, 10, 2]);
    }

    #[tokio::test]
    async fn what_a_link_had_in_flight_that_died_comes_out_as_disconnected() {
        let (device, mut link) = detached();
        let mut pipe = device.pipe(0x02, 0);
        (0..2).for_each(|n| pipe.submit(numbered(n)));
        while let Ok(command) = link.try_recv() {
            drop(command);
        }
        drop(link);
        let mut ends = Vec::new();
        drain(&mut pipe, |transfer| ends.push(transfer.status)).await;
        assert_eq!(ends, [Err(TransferError::Disconnected); 2]);
    }

    #[tokio::test]
    async fn what_is_submitted_after_the_end_of_the_link_comes_out_in_order_too() {
        let (device, link) = detached();
        let mut pipe = device.pipe(0x02, 0);
        drop(link);
        (0..3).for_each(|n| pipe.submit(numbered(n)));
        let mut order = Vec::new();
        drain(&mut pipe, |transfer| order.push((transfer.buffer[0], transfer.status))).await;
        assert_eq!(order, [0, 1, 2].map(|n| (n, Err(TransferError::Disconnected))));
    }
}
