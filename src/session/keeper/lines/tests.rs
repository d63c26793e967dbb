//! A line beside a device whose pipes fail as no pipe should.

use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::task::{Context as TaskContext, Poll};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::{mpsc, watch};

use super::*;
use crate::outlet::{Peer, Sink};
use crate::session::Events;
use crate::session::hub::{Rules, Via};
use crate::session::line::{Attachment, Phase};
use crate::session::tasks::Tasks;
use crate::usb::descriptors::{Descriptors, Endpoint, Speed, TransferType};
use crate::usb::{BoxFuture, OpenError, Pipe, Setup, Transfer, TransferError, UsbDevice};

/// The first pipe that is opened panics; the others answer one transfer with one byte.
struct Brittle {
    descriptors: Arc<Descriptors>,
    opened: AtomicU32,
}

struct BrittlePipe {
    in_flight: Vec<Transfer>,
    panics: bool,
    has_answered: bool,
    is_cancelled: bool,
}

impl UsbDevice for Brittle {
    fn descriptors(&self) -> &Arc<Descriptors> {
        &self.descriptors
    }

    fn control(&self, _: Setup, _: Vec<u8>, _: Duration) -> BoxFuture<'_, Result<Vec<u8>, TransferError>> {
        Box::pin(async { Err(TransferError::Stall) })
    }

    fn open_pipe(&self, _: &Endpoint) -> Result<Box<dyn Pipe>, OpenError> {
        let panics = self.opened.fetch_add(1, SeqCst) == 0;
        Ok(Box::new(BrittlePipe { in_flight: Vec::new(), panics, has_answered: false, is_cancelled: false }))
    }

    fn set_alt_setting(&self, _: u8, _: u8) -> BoxFuture<'_, Result<(), TransferError>> {
        Box::pin(async { Ok(()) })
    }

    fn clear_halt(&self, _: u8) -> BoxFuture<'_, Result<(), TransferError>> {
        Box::pin(async { Ok(()) })
    }

    fn reset(&self) -> BoxFuture<'_, Result<(), TransferError>> {
        Box::pin(async { Ok(()) })
    }

    fn gone(&self) -> BoxFuture<'_, String> {
        Box::pin(std::future::pending())
    }
}

impl Pipe for BrittlePipe {
    fn submit(&mut self, transfer: Transfer) {
        self.in_flight.push(transfer);
    }

    fn poll_complete(&mut self, _: &mut TaskContext<'_>) -> Poll<Transfer> {
        assert!(!self.panics, "no such packet");
        if self.has_answered && !self.is_cancelled {
            return Poll::Pending;
        }
        let Some(mut transfer) = self.in_flight.pop() else { return Poll::Pending };
        if self.is_cancelled {
            return Poll::Ready(transfer.fail(TransferError::Cancelled));
        }
        self.has_answered = true;
        transfer.buffer[0] = b'!';
        transfer.actual = 1;
        Poll::Ready(transfer)
    }

    fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    fn cancel_all(&mut self) {
        self.is_cancelled = true;
    }
}

/// A program that hands on what it reads.
struct Program(UnboundedSender<Vec<u8>>);

impl Sink for Program {
    fn poll_write(&mut self, _: &mut TaskContext<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        let n = bytes.len();
        Poll::Ready(self.0.send(bytes).map(|()| n).map_err(|_| io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_closed(&mut self, _: &mut TaskContext<'_>) -> Poll<()> {
        if self.0.is_closed() { Poll::Ready(()) } else { Poll::Pending }
    }
}

fn device() -> Arc<Brittle> {
    let descriptors = Descriptors {
        vendor_id: 1,
        product_id: 2,
        device_version: 0,
        class: 0,
        speed: Speed::High,
        manufacturer: None,
        product: None,
        serial_number: None,
        configuration_value: 1,
        alt_settings: Vec::new(),
        remarks: Vec::new(),
        associations: Vec::new(),
    };
    Arc::new(Brittle { descriptors: Arc::new(descriptors), opened: AtomicU32::new(0) })
}

#[tokio::test]
async fn a_line_whose_task_panics_is_reported_and_starts_over() {
    let (events, device) = (Events::default(), device());
    let mut heard = events.listen();
    let ((attachments, receiver), (stop, stopping)) = (watch::channel(None), watch::channel(false));
    let context = Context {
        device: "probe".into(),
        outlet: "ep_81".into(),
        events: events.clone(),
        counters: Arc::default(),
        problem: Arc::default(),
        state: Arc::new(Tasks::default().add(Some("probe"), "ep_81", "absent", "the device")),
        openings: None,
        eof: false,
        attachments: receiver,
        stop: stopping,
    };
    let (problem, counters) = (context.problem.clone(), context.counters.clone());
    let config = PipeConfig::new(0x81);
    let rules = Rules { packets: false, exclusive: false, transfer: config.longest_transfer() };
    let (hub, arrivals) = Hub::of_in("probe", "ep_81", &events, rules);
    let watcher = Watcher::new().unwrap();
    let line = Parts { context, config, hub: hub.clone(), fifo: None, watcher }.read(None, arrivals);
    let line = tokio::spawn(line);

    let endpoint = Endpoint {
        address: 0x81,
        transfer_type: TransferType::Bulk,
        max_packet_size: 512,
        packets_per_microframe: 1,
        interval: 0,
        companion: None,
    };
    let (phase, in_use) = (watch::channel(Phase::Attached), mpsc::channel(1));
    let attachment =
        Attachment { device: device.clone(), endpoint, phase: phase.1.clone(), gate: None, _in_use: in_use.0.clone() };
    attachments.send_replace(Some(attachment));
    let (first, mut of_first) = unbounded_channel();
    hub.offer_reader(Box::new(Program(first)), Via::Descriptor, Peer::default()).unwrap().take();
    let failed = loop {
        let event = heard.recv().await.unwrap();
        if event.event == "error" {
            break event;
        }
    };
    assert_eq!(failed.outlet.as_deref(), Some("ep_81"));
    assert!(failed.text.starts_with("internal error: no such packet; this pipe starts over"), "{}", failed.text);
    assert_eq!(problem.show(counters.transfers()), Some(failed.text.clone()));
    assert_eq!(of_first.recv().await, None, "its program finds the end");

    let second = loop {
        // Between the end of one and the beginning of the next a program that comes is let go, too.
        let (second, mut of_second) = unbounded_channel();
        hub.offer_reader(Box::new(Program(second)), Via::Descriptor, Peer::default()).unwrap().take();
        if let Some(bytes) = of_second.recv().await {
            break bytes;
        }
    };
    assert_eq!(second[0], b'!');
    assert_eq!(problem.show(counters.transfers()), None);
    assert_eq!(device.opened.load(SeqCst), 2);
    stop.send_replace(true);
    line.await.unwrap();
}
