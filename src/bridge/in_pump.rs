//! Hot path. What the pumps of IN endpoints have in common: draining while nobody reads, and serving readers without a
//! device. How transfers are cut and written is each pump's own.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::sleep;

use super::place::{Place, Style};
use super::ring::Ring;
use super::{Account, Counters, Readers, Verdict};
use crate::outlet::{Sink, StandingSink};
use crate::usb::{Pipe, Transfer, TransferError};

/// What every pump from a device to readers has.
pub(crate) struct Stock {
    pub(super) style: Style,
    write: WriteAt,
    pub(super) counters: Arc<Counters>,
    /// Completed and not yet passed by everybody.
    pub(super) ring: Ring,
    /// Transfers that can go into flight.
    pub(super) spare: Vec<Transfer>,
    /// While a run lasts: why it will end.
    pub(super) failure: Option<TransferError>,
}

impl Stock {
    /// Nothing yet, and room for so many transfers, which are written by `write`.
    pub(super) fn new(style: Style, write: WriteAt, transfers: usize, counters: Arc<Counters>) -> Self {
        let (ring, spare) = (Ring::with_capacity(transfers), Vec::with_capacity(transfers));
        Self { style, write, counters, ring, spare, failure: None }
    }
}

/// Has one reader write until its outlet is full.
pub(super) type WriteAt = fn(&mut Place, &mut Context<'_>, &mut dyn Sink, &Ring, Style, &Account) -> io::Result<()>;

/// A pump from a device to readers.
pub(crate) trait InPump: Sized {
    /// What it works with.
    fn stock(&mut self) -> &mut Stock;

    /// Sorts a transfer that has ended.
    fn take(&mut self, transfer: Transfer);

    /// Puts into flight what can be; says whether that was anything.
    fn refill(&mut self, pipe: &mut dyn Pipe) -> bool;

    /// Whether data waits for a reader.
    fn has_pending(&mut self) -> bool {
        !self.stock().ring.is_empty()
    }

    /// Throws away and counts what waits for the FIFO's next reader, with what is in the FIFO.
    fn discard<F: StandingSink>(&mut self, readers: &mut Readers<F>) {
        readers.forget(&mut self.stock().ring);
    }

    /// Without a device: programs come and go, and get what waits.
    ///
    /// # Errors
    /// When the FIFO itself fails.
    fn poll_idle<F: StandingSink>(&mut self, cx: &mut Context<'_>, readers: &mut Readers<F>) -> Result<(), Verdict> {
        let result = serve(self, cx, readers);
        let stock = self.stock();
        stock.spare.clear();
        readers.forget_left(&mut stock.ring);
        result
    }
}

/// Takes what has come from the device, or as much of it as is to be passed on first; says whether there may be more.
pub(super) fn collect<F: StandingSink>(
    pump: &mut impl InPump,
    cx: &mut Context<'_>,
    pipe: &mut dyn Pipe,
    readers: &mut Readers<F>,
) -> bool {
    while let Poll::Ready(transfer) = pipe.poll_complete(cx) {
        complete(pump, readers, transfer);
        if pipe.moves_when_polled() {
            return true;
        }
    }
    false
}

/// Takes a transfer, which is for everybody who has an outlet open by now.
pub(super) fn complete<F: StandingSink>(pump: &mut impl InPump, readers: &mut Readers<F>, transfer: Transfer) {
    readers.look(&pump.stock().ring);
    pump.take(transfer);
}

/// Serves everybody who is there, and makes room of what all have passed.
pub(super) fn serve<F: StandingSink>(
    pump: &mut impl InPump,
    cx: &mut Context<'_>,
    readers: &mut Readers<F>,
) -> Result<(), Verdict> {
    let Stock { ring, style, spare, write, .. } = pump.stock();
    readers.poll_people(cx, ring);
    let written = readers.write(ring, |place, sink, account| write(place, cx, sink, ring, *style, account));
    written.map_err(Verdict::Outlet)?;
    let needed = readers.oldest_needed(ring);
    while ring.first() < needed {
        let Some(transfer) = readers.pop(ring) else { break };
        spare.push(transfer);
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
        let is_more = collect(pump, cx, pipe, readers);
        if !readers.is_empty() {
            return Poll::Ready(Verdict::Closed);
        }
        let Stock { ring, spare, counters, failure, .. } = pump.stock();
        while let Some(transfer) = ring.pop() {
            counters.add_discarded(transfer.actual);
            spare.push(transfer);
        }
        if let Some(error) = *failure {
            return Poll::Ready(Verdict::Device(error));
        }
        if !pump.refill(pipe) && !is_more {
            break;
        }
    }
    if readers.poll_opened(cx).is_ready() {
        return Poll::Ready(Verdict::Closed);
    }
    stop.poll(cx).map(|()| Verdict::Stopped)
}

/// Without a device: gives everybody who is there what had arrived, and ends the connection of each client that has it.
/// One that takes longer than `patience` loses the rest, unless it is alone.
pub(super) async fn finish<F: StandingSink>(pump: &mut impl InPump, readers: &mut Readers<F>) {
    let mut limit = readers.last_patience().map(|limit| Box::pin(sleep(limit)));
    poll_fn(|cx| {
        let result = pump.poll_idle(cx, readers);
        if result.is_err() || !readers.dismiss_done(&pump.stock().ring) {
            return Poll::Ready(());
        }
        limit.as_mut().map_or(Poll::Pending, |limit| limit.as_mut().poll(cx))
    })
    .await;
    readers.cut(&pump.stock().ring);
}
