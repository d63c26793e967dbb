//! Hot path. What the pumps of IN endpoints have in common: draining while nobody reads, and serving readers without a
//! device. How transfers are cut and written is each pump's own.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::sleep;

use super::ring::Ring;
use super::{Counters, Readers, Verdict};
use crate::outlet::StandingSink;
use crate::usb::{Pipe, Transfer, TransferError};

/// A pump from a device to readers.
pub(super) trait InPump {
    fn ring(&mut self) -> &mut Ring;

    fn counters(&self) -> &Counters;

    /// Sorts a transfer that has ended.
    fn take(&mut self, transfer: Transfer);

    /// Transfers that can go into flight.
    fn spare(&mut self) -> &mut Vec<Transfer>;

    /// Has each reader write until its outlet is full.
    fn write<F: StandingSink>(&mut self, cx: &mut Context<'_>, readers: &mut Readers<F>) -> Result<(), Verdict>;

    /// Why the run will end, if it will.
    fn failure(&self) -> Option<TransferError>;

    /// Puts into flight what can be; says whether that was anything.
    fn refill(&mut self, pipe: &mut dyn Pipe) -> bool;
}

/// Takes what has come from the device.
pub(super) fn collect(pump: &mut impl InPump, cx: &mut Context<'_>, pipe: &mut dyn Pipe) {
    while let Poll::Ready(transfer) = pipe.poll_complete(cx) {
        pump.take(transfer);
    }
}

/// Serves everybody who is there, and makes room of what all have passed.
pub(super) fn serve<F: StandingSink>(
    pump: &mut impl InPump,
    cx: &mut Context<'_>,
    readers: &mut Readers<F>,
) -> Result<(), Verdict> {
    readers.poll_people(cx, pump.ring());
    pump.write(cx, readers)?;
    let needed = readers.oldest_needed(pump.ring());
    while pump.ring().first() < needed {
        let Some(transfer) = readers.pop(pump.ring()) else { break };
        pump.spare().push(transfer);
    }
    Ok(())
}

/// Reads what nobody wants, throws it away and counts it, until somebody comes or `stop` resolves.
pub(super) fn poll_drain<F: StandingSink>(
    pump: &mut impl InPump,
    cx: &mut Context<'_>,
    pipe: &mut dyn Pipe,
    readers: &mut Readers<F>,
    stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
) -> Poll<Verdict> {
    loop {
        collect(pump, cx, pipe);
        while let Some(transfer) = pump.ring().pop() {
            pump.counters().add_discarded(transfer.actual);
            pump.spare().push(transfer);
        }
        if let Some(error) = pump.failure() {
            return Poll::Ready(Verdict::Device(error));
        }
        if !pump.refill(pipe) {
            break;
        }
    }
    if readers.poll_opened(cx).is_ready() {
        return Poll::Ready(Verdict::Closed);
    }
    stop.poll(cx).map(|()| Verdict::Stopped)
}

/// Without a device: programs come and go, and get what waits.
pub(super) fn poll_idle<F: StandingSink>(
    pump: &mut impl InPump,
    cx: &mut Context<'_>,
    readers: &mut Readers<F>,
) -> Result<(), Verdict> {
    let result = serve(pump, cx, readers);
    pump.spare().clear();
    readers.forget_left(pump.ring());
    result
}

/// Without a device: gives everybody who is there what had arrived, and ends the connection of each client that has it.
/// One that takes longer than `patience` loses the rest, unless it is alone.
pub(super) async fn finish<F: StandingSink>(pump: &mut impl InPump, readers: &mut Readers<F>) {
    let mut limit = readers.last_patience().map(|limit| Box::pin(sleep(limit)));
    poll_fn(|cx| {
        let result = poll_idle(pump, cx, readers);
        if result.is_err() || !readers.dismiss_done(pump.ring()) {
            return Poll::Ready(());
        }
        limit.as_mut().map_or(Poll::Pending, |limit| limit.as_mut().poll(cx))
    })
    .await;
    readers.cut(pump.ring());
}
