//! Hot path. One program alone with both endpoints of a serial function: no framing, nobody else, nothing kept.
//!
//! Each direction ends with the program or with the first transfer that fails; going on after that is for others to
//! decide.

use std::future::poll_fn;
use std::io::{self, IoSlice};

use crate::outlet::{Sink, Source};
use crate::usb::{Pipe, Transfer, TransferError, complete, drain};

use super::Verdict;

/// Moves what the device sends to the program, in transfers of this many bytes. All are back when it returns.
pub async fn inward(pipe: &mut dyn Pipe, sink: &mut dyn Sink, size: usize) -> Verdict {
    for _ in 0..IN_FLIGHT {
        let transfer = pipe.allocate(size);
        pipe.submit(transfer);
    }
    let verdict = loop {
        let mut transfer = tokio::select! {
            transfer = complete(pipe) => transfer,
            () = poll_fn(|cx| sink.poll_closed(cx)) => break Verdict::Closed,
        };
        let written = write_all(sink, transfer.received()).await;
        match (transfer.status, written) {
            (Err(e), _) => break Verdict::Device(e),
            (_, Err(e)) if e.kind() == io::ErrorKind::BrokenPipe => break Verdict::Closed,
            (_, Err(e)) => break Verdict::Outlet(e),
            (Ok(()), Ok(())) => {}
        }
        transfer.length = size;
        pipe.submit(transfer);
    };
    drain(pipe, drop).await;
    verdict
}

/// Moves what the program writes to the device, a read at a time, in transfers of at most this many bytes. What was
/// read when a transfer failed is lost.
pub async fn outward(pipe: &mut dyn Pipe, source: &mut dyn Source, size: usize) -> Verdict {
    let mut transfer: Transfer = pipe.allocate(size);
    loop {
        match poll_fn(|cx| source.poll_read(cx, &mut transfer.buffer)).await {
            Ok(0) => return Verdict::Closed,
            Ok(n) => transfer.length = n,
            Err(e) => return Verdict::Outlet(e),
        }
        pipe.submit(transfer);
        transfer = complete(pipe).await;
        match transfer.status {
            Err(TransferError::Cancelled) => return Verdict::Stopped,
            Err(e) => return Verdict::Device(e),
            Ok(()) => {}
        }
    }
}

async fn write_all(sink: &mut dyn Sink, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = poll_fn(|cx| sink.poll_write(cx, &[IoSlice::new(bytes)])).await?;
        bytes = &bytes[written..];
    }
    Ok(())
}

/// Transfers from the device: enough for it never to wait for the daemon.
const IN_FLIGHT: usize = 16;

#[cfg(test)]
mod tests {
    use super::super::fakes::{FakePipe, FakeSink, FakeSource};
    use super::*;

    #[tokio::test]
    async fn what_the_device_sends_arrives_in_order_until_it_goes() {
        let messages = (0..100u8).map(|n| vec![n; usize::from(n % 7) + 1]);
        let expected: Vec<u8> = messages.clone().flatten().collect();
        let (mut pipe, mut sink) = (FakePipe::sending(messages), FakeSink::default());
        let verdict = inward(&mut pipe, &mut sink, 64).await;
        assert!(matches!(verdict, Verdict::Device(TransferError::Disconnected)), "{verdict:?}");
        assert_eq!(sink.bytes, expected);
        assert_eq!(pipe.in_flight(), 0);
    }

    #[tokio::test]
    async fn a_program_that_closes_gets_all_transfers_back() {
        let mut pipe = FakePipe::sending((0..100u8).map(|n| vec![n; 3]));
        let mut sink = FakeSink { closes_after: Some(10), ..FakeSink::default() };
        assert!(matches!(inward(&mut pipe, &mut sink, 64).await, Verdict::Closed));
        assert_eq!((sink.bytes.len(), pipe.in_flight()), (10, 0));
    }

    #[tokio::test]
    async fn what_a_program_writes_arrives_in_order_and_a_halt_is_told() {
        let (mut pipe, mut source) = (FakePipe::receiving(), FakeSource::of([b"one".to_vec(), b"two".to_vec()]));
        assert!(matches!(outward(&mut pipe, &mut source, 64).await, Verdict::Closed));
        assert_eq!(pipe.received, [b"one".to_vec(), b"two".to_vec()]);
        pipe.results.push_back(Err(TransferError::Stall));
        source = FakeSource::of([b"lost".to_vec(), b"next".to_vec()]);
        let verdict = outward(&mut pipe, &mut source, 64).await;
        assert!(matches!(verdict, Verdict::Device(TransferError::Stall)), "{verdict:?}");
        assert!(matches!(outward(&mut pipe, &mut source, 64).await, Verdict::Closed));
        assert_eq!(pipe.received.last().unwrap(), b"next");
    }
}
