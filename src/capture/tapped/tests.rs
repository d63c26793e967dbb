//! A tapped device against a simple one: what it passes on, and what a capture tells of it.

use std::collections::VecDeque;

use super::super::{Blocks, Kind, MOST_CAPTURED};
use super::*;
use crate::usb::descriptors::Speed;

/// Answers every control transfer with `answer`, and every other one with its number.
struct Simple {
    descriptors: Arc<Descriptors>,
    answer: Result<Vec<u8>, TransferError>,
}

struct SimplePipe {
    in_flight: VecDeque<Transfer>,
    next: u8,
}

impl UsbDevice for Simple {
    fn descriptors(&self) -> &Arc<Descriptors> {
        &self.descriptors
    }

    fn control(&self, _: Setup, _: Vec<u8>, _: Duration) -> BoxFuture<'_, Result<Vec<u8>, TransferError>> {
        Box::pin(async { self.answer.clone() })
    }

    fn claim(&self, _: u8, _: bool) -> BoxFuture<'_, Result<(), OpenError>> {
        Box::pin(async { Err(OpenError::Busy("held".into())) })
    }

    fn open_pipe(&self, _: &Endpoint) -> Result<Box<dyn Pipe>, OpenError> {
        Ok(Box::new(SimplePipe { in_flight: VecDeque::new(), next: 0 }))
    }

    fn set_alt_setting(&self, _: u8, _: u8) -> BoxFuture<'_, Result<(), TransferError>> {
        Box::pin(async { Ok(()) })
    }

    fn clear_halt(&self, _: u8) -> BoxFuture<'_, Result<(), TransferError>> {
        Box::pin(async { Err(TransferError::Stall) })
    }

    fn reset(&self) -> BoxFuture<'_, Result<(), TransferError>> {
        Box::pin(async { Ok(()) })
    }

    fn modem_lines(&self, _: u8) -> BoxFuture<'_, Option<ModemLines>> {
        let lines = ModemLines { dtr: true, rts: false, cts: false, dsr: false, dcd: false, ring: false };
        Box::pin(async move { Some(lines) })
    }

    fn gone(&self) -> BoxFuture<'_, String> {
        Box::pin(async { "gone".to_owned() })
    }
}

impl Pipe for SimplePipe {
    fn submit(&mut self, transfer: Transfer) {
        self.in_flight.push_back(transfer);
    }

    fn poll_complete(&mut self, _: &mut Context<'_>) -> Poll<Transfer> {
        let Some(mut transfer) = self.in_flight.pop_front() else { return Poll::Pending };
        self.next += 1;
        transfer.buffer[0] = self.next;
        transfer.actual = 1;
        Poll::Ready(transfer)
    }

    fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    fn cancel_all(&mut self) {}
}

fn tapped(answer: Result<Vec<u8>, TransferError>) -> (Arc<Tap>, Arc<dyn UsbDevice>) {
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
    let tap = Arc::new(Tap::default());
    let device = tap.wrap(Arc::new(Simple { descriptors: Arc::new(descriptors), answer }));
    (tap, device)
}

/// The records of a capture: event, address, id, status and data.
fn records(capture: &[u8]) -> Vec<(char, u8, u64, i32, Vec<u8>)> {
    let mut blocks = Blocks::default();
    blocks.push(capture);
    let mut records = Vec::new();
    while let Some(block) = blocks.next().unwrap() {
        if let Kind::Record { .. } = block.kind {
            let r = &block.bytes[28..];
            let kept = u32::from_le_bytes(r[36..40].try_into().unwrap()) as usize;
            let id = u64::from_le_bytes(r[..8].try_into().unwrap());
            let status = i32::from_le_bytes(r[28..32].try_into().unwrap());
            records.push((char::from(r[8]), r[10], id, status, r[64..64 + kept].to_vec()));
        }
    }
    records
}

fn bulk() -> Endpoint {
    Endpoint {
        address: 0x81,
        transfer_type: TransferType::Bulk,
        max_packet_size: 64,
        packets_per_microframe: 1,
        interval: 0,
        companion: None,
    }
}

async fn next(pipe: &mut dyn Pipe) -> Transfer {
    crate::usb::complete(pipe).await
}

#[tokio::test]
async fn what_a_device_can_do_it_can_do_behind_a_tap() {
    let (_, device) = tapped(Ok(vec![1, 2]));
    assert!(device.modem_lines(0).await.is_some_and(|lines| lines.dtr));
    assert!(matches!(device.claim(0, false).await, Err(OpenError::Busy(_))));
    assert_eq!(device.clear_halt(0x81).await, Err(TransferError::Stall));
    assert_eq!(device.gone().await, "gone");
}

#[tokio::test]
async fn a_capture_that_begins_with_transfers_in_flight_knows_which_is_which() {
    let (tap, device) = tapped(Ok(vec![]));
    let mut pipe = device.open_pipe(&bulk()).unwrap();
    pipe.submit(Transfer::new(64));
    let mut capture = tap.open("simple", "", MOST_CAPTURED).unwrap();
    pipe.submit(Transfer::new(64));
    for number in 1..=2 {
        assert_eq!(next(&mut *pipe).await.received(), [number]);
    }
    let records = records(&capture.finish());
    let (ids, data): (Vec<u64>, Vec<&[u8]>) = records.iter().map(|r| (r.2, &r.4[..])).unzip();
    assert_eq!(records.iter().map(|r| r.0).collect::<String>(), "SCC");
    assert_eq!((ids[1] + 1, ids[2]), (ids[0], ids[0]), "the first to end was submitted before the capture");
    assert_eq!(data[1..], [&[1][..], &[2][..]]);
}

#[tokio::test]
async fn control_transfers_are_told_with_what_became_of_them() {
    let (tap, device) = tapped(Ok(vec![7, 8]));
    let mut capture = tap.open("simple", "", MOST_CAPTURED).unwrap();
    let time = Duration::from_secs(1);
    device.control(standard::get_device_descriptor(), vec![], time).await.unwrap();
    device.clear_halt(0x81).await.unwrap_err();
    drop(device.set_alt_setting(0, 1));
    let records = records(&capture.finish());
    let shape: Vec<_> =
        records.iter().map(|(event, address, _, status, data)| (*event, *address, *status, data.len())).collect();
    assert_eq!(shape, [('S', 0x80, -115, 0), ('C', 0x80, 0, 2), ('S', 0, -115, 0), ('C', 0, -32, 0)]);
}

#[tokio::test]
async fn nothing_is_told_to_a_capture_that_has_ended() {
    let (tap, device) = tapped(Ok(vec![]));
    let capture = tap.open("simple", "", MOST_CAPTURED).unwrap();
    let other = tap.open("simple", "", MOST_CAPTURED).unwrap();
    drop(capture);
    assert!(tap.is_on(), "one goes on");
    drop(other);
    assert!(!tap.is_on());
    device.reset().await.unwrap();
}
