//! The line of an IN endpoint: waits for readers and for the device, and runs the pump while both are there.
//!
//! ```text
//!              device there              reader there
//!   absent ───────────────► waiting ───────────────────► pumping
//!     ▲                        ▲  ▲                          │
//!     │                        │  └── last reader gone ──────┤
//!     │                        └───── halt cleared, failure ─┤ (after a pause)
//!     └──────────────────────────── device gone ─────────────┘  eof: the outlet ends
//! ```

use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::libc::ENOMEM;

use super::backoff::Backoff;
use super::line::{Attachment, Context, FIRST_PAUSE, LONGEST_PAUSE, halt, stopped};
use super::plan;
use crate::bridge::{self, BulkIn, Counters, Discard, IsoIn, Verdict};
use crate::config::{Framing, Idle, OnOpen, PipeConfig, StallPolicy};
use crate::outlet::{InFifo, Sink, openers};
use crate::usb::descriptors::TransferType;
use crate::usb::{Pipe, TransferError};

/// One IN endpoint and its FIFO.
pub(super) struct InLine {
    context: Context,
    config: PipeConfig,
    fifo: InFifo,
    pump: Option<Pump>,
    /// How many lost packets have been told of.
    told_losses: Arc<AtomicU64>,
}

enum Pump {
    Bulk(BulkIn),
    Iso(IsoIn),
}

impl InLine {
    pub(super) fn new(context: Context, config: PipeConfig, fifo: InFifo) -> Self {
        Self { context, config, fifo, pump: None, told_losses: Arc::default() }
    }

    /// Lives until the daemon stops.
    pub(super) async fn run(mut self) {
        if self.context.eof {
            self.end_outlet();
        }
        while let Some(attachment) = self.next_attachment().await {
            if let Err(e) = self.fifo.begin().await {
                self.context.tell("error", format!("{} cannot be opened again: {e}", self.fifo.path().display()));
            }
            self.serve(&attachment).await;
            self.context.counters.set_open(false);
            self.fifo.rest();
            if self.context.eof && attachment.is_gone() && !self.context.is_stopping() {
                self.deliver_rest().await;
                self.end_outlet();
            }
        }
    }

    /// Waits for the device; readers meanwhile get what had arrived before it went.
    async fn next_attachment(&mut self) -> Option<Attachment> {
        let forgets = self.forgets();
        let Self { context, fifo, pump, .. } = self;
        let counters = context.counters.clone();
        tokio::select! {
            attachment = context.next_attachment() => attachment,
            () = deliver_forever(pump, fifo, forgets.then_some(&counters)) => None,
        }
    }

    async fn deliver_rest(&mut self) {
        if let Some(pump) = &mut self.pump
            && self.fifo.has_reader()
        {
            tokio::select! {
                _ = pump.deliver(&mut self.fifo) => {}
                () = stopped(&mut self.context.stop) => {}
            }
        }
    }

    fn end_outlet(&mut self) {
        if let Err(e) = self.fifo.end() {
            self.context.tell("error", format!("{} cannot be ended: {e}", self.fifo.path().display()));
        }
    }

    async fn serve(&mut self, attachment: &Attachment) {
        let mut pipe = match attachment.open_pipe() {
            Ok(pipe) => pipe,
            Err(e) => return self.context.tell_refused(attachment, &e).await,
        };
        self.context.problem.clear();
        self.context.found(self.fifo.has_reader());
        self.make_pump(attachment);
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut open = false;
        loop {
            let before = self.context.counters.transfers();
            let verdict = if self.fifo.has_reader() {
                if !std::mem::replace(&mut open, true) {
                    self.context.set_open(true);
                    self.context.tell("open", "a program reads");
                }
                let verdict = self.pump(&mut *pipe, attachment).await;
                self.fifo.rest();
                verdict
            } else if std::mem::take(&mut open) {
                self.closed();
                continue;
            } else if self.config.idle == Idle::Drain {
                self.drain(&mut *pipe, attachment).await
            } else {
                let over = self.context.stop_or_over(attachment);
                tokio::select! {
                    () = poll_fn(|cx| self.fifo.poll_opened(cx)) => continue,
                    () = over => return,
                }
            };
            if self.context.counters.transfers() > before {
                backoff.reset();
            }
            match verdict {
                Verdict::Stopped | Verdict::Device(TransferError::Disconnected) => return,
                Verdict::Closed => {}
                Verdict::Device(TransferError::Stall) => self.halted(attachment, backoff.step()).await,
                Verdict::Device(TransferError::Io(ENOMEM)) if self.pump.as_mut().is_some_and(Pump::lower) => {
                    self.context.tell_shortage(attachment);
                }
                Verdict::Device(e) => {
                    self.context.tell_failure(attachment, e);
                    self.context.pause(attachment, backoff.step()).await;
                }
                Verdict::Outlet(e) => {
                    self.context.tell_outlet_failure(format!("writing to {} failed: {e}", self.fifo.path().display()));
                    self.context.pause(attachment, backoff.step()).await;
                }
            }
        }
    }

    /// Runs the pump, and meanwhile looks after what the pump must not: a second reader, and losses to be told.
    async fn pump(&mut self, pipe: &mut dyn Pipe, attachment: &Attachment) -> Verdict {
        let Some(pump) = &mut self.pump else { return Verdict::Stopped };
        let stop = pin!(self.context.stop_or_over(attachment));
        let watch = watch(&self.context, &self.fifo, self.told_losses.clone());
        let verdict = tokio::select! {
            biased;
            verdict = pump.run(pipe, &mut self.fifo, stop) => verdict,
            () = watch => Verdict::Stopped,
        };
        let lost = self.context.counters.lost_packets();
        let told = self.told_losses.swap(lost, Ordering::Relaxed);
        if lost > told {
            self.context.tell("loss", losses(lost - told));
        }
        verdict
    }

    async fn drain(&mut self, pipe: &mut dyn Pipe, attachment: &Attachment) -> Verdict {
        let Some(pump) = &mut self.pump else { return Verdict::Stopped };
        let stop = pin!(self.context.stop_or_over(attachment));
        pump.run(pipe, &mut Discard { fifo: &mut self.fifo, counters: &self.context.counters }, stop).await
    }

    /// The last reader has gone, while the pump ran or in a pause.
    fn closed(&mut self) {
        self.context.set_open(false);
        self.restore();
        self.context.tell("close", "no program reads");
        if self.forgets() {
            discard(&mut self.pump, &mut self.fifo, &self.context.counters);
        }
    }

    /// The next program gets transfers as configured, if the kernel has memory for them then.
    fn restore(&mut self) {
        if let Some(Pump::Bulk(pump)) = &mut self.pump {
            pump.restore();
        }
        self.context.problem.clear();
    }

    /// Whether what the last reader leaves is of no use to the next one.
    fn forgets(&self) -> bool {
        matches!(self.pump, Some(Pump::Iso(_))) || self.config.on_open == OnOpen::Discard
    }

    async fn halted(&mut self, attachment: &Attachment, pause: Duration) {
        self.context.counters.add_stall();
        if self.config.stall == StallPolicy::Stop {
            self.context.tell("stall", format!("{}; open the outlet again to go on", halt(attachment)));
            self.deliver_rest().await;
            self.end_outlet();
            if let Err(e) = self.fifo.begin().await {
                self.context.tell("error", format!("{} cannot be opened again: {e}", self.fifo.path().display()));
            }
            let over = self.context.stop_or_over(attachment);
            tokio::select! {
                () = poll_fn(|cx| self.fifo.poll_opened(cx)) => {}
                () = over => return,
            }
        } else {
            let text = "the halt is cleared and the bridge goes on; write stall = \"stop\" to end the outlet instead";
            self.context.tell("stall", format!("{}; {text}", halt(attachment)));
            self.context.pause(attachment, pause).await;
        }
        self.context.clear_halt(attachment).await;
    }

    /// The pump is kept over unplugs, with what waits in it, unless the device has come back with another endpoint.
    fn make_pump(&mut self, attachment: &Attachment) {
        let endpoint = &attachment.endpoint;
        let counters = self.context.counters.clone();
        let framing = framing(self.config.framing);
        let speed = attachment.device.descriptors().speed;
        if endpoint.transfer_type == TransferType::Isochronous {
            let shape = plan::iso_shape(&self.config, endpoint, speed);
            let ring = plan::packets_in(self.config.buffer, endpoint, speed).div_ceil(shape.packets).max(1);
            self.pump = Some(Pump::Iso(IsoIn::new(endpoint.address, framing, shape, ring, counters)));
        } else if !matches!(self.pump, Some(Pump::Bulk(ref pump)) if pump.has_pending()) {
            let sizes = plan::sizes(&self.config, endpoint);
            self.pump = Some(Pump::Bulk(BulkIn::new(endpoint.address, framing, sizes, counters)));
        }
    }
}

impl Pump {
    async fn run(
        &mut self,
        pipe: &mut dyn Pipe,
        sink: &mut dyn Sink,
        stop: std::pin::Pin<&mut (dyn Future<Output = ()> + Send)>,
    ) -> Verdict {
        match self {
            Self::Bulk(pump) => pump.run(pipe, sink, stop).await,
            Self::Iso(pump) => pump.run(pipe, sink, stop).await,
        }
    }

    /// Makes do with less memory in flight; false when that cannot be.
    fn lower(&mut self) -> bool {
        match self {
            Self::Bulk(pump) => pump.lower(),
            Self::Iso(_) => false,
        }
    }

    async fn deliver(&mut self, sink: &mut dyn Sink) -> Verdict {
        match self {
            Self::Bulk(pump) => pump.deliver(sink).await,
            Self::Iso(pump) => pump.deliver(sink).await,
        }
    }

    fn has_pending(&self) -> bool {
        match self {
            Self::Bulk(pump) => pump.has_pending(),
            Self::Iso(pump) => pump.has_pending(),
        }
    }

    fn discard(&mut self) -> usize {
        match self {
            Self::Bulk(pump) => pump.discard(),
            Self::Iso(pump) => pump.discard(),
        }
    }
}

fn discard(pump: &mut Option<Pump>, fifo: &mut InFifo, counters: &Counters) {
    let waiting = pump.as_mut().map_or(0, Pump::discard);
    let unread = fifo.discard().unwrap_or(0);
    counters.add_discarded(waiting + unread);
}

/// While the device is away: whoever opens the FIFO gets what had arrived. With `forgets` what the last reader leaves
/// is thrown away and counted there. Ends only by being dropped.
async fn deliver_forever(pump: &mut Option<Pump>, fifo: &mut InFifo, forgets: Option<&Counters>) {
    while forgets.is_some() || pump.as_ref().is_some_and(Pump::has_pending) {
        poll_fn(|cx| fifo.poll_opened(cx)).await;
        if let Some(pump) = pump {
            pump.deliver(fifo).await;
        }
        if let Some(counters) = forgets {
            poll_fn(|cx| fifo.poll_closed(cx)).await;
            discard(pump, fifo, counters);
        }
        fifo.rest();
    }
    pending().await
}

/// Tells of losses, at most once in a while, and of programs that take each other's bytes. Never ends.
fn watch(context: &Context, fifo: &InFifo, told: Arc<AtomicU64>) -> impl Future<Output = ()> + Send + use<> {
    let (events, device, outlet) = (context.events.clone(), context.device.clone(), context.outlet.clone());
    let (counters, crowd, path) = (context.counters.clone(), fifo.crowd(), fifo.path().to_owned());
    let tell = Arc::new(move |event: &str, text: String| events.tell(event, &device, Some(&outlet), text));
    let tell_crowd = tell.clone();
    let lossy = async move {
        loop {
            counters.loss().await;
            tokio::time::sleep(LOSS_PAUSE).await;
            let lost = counters.lost_packets();
            let before = told.swap(lost, Ordering::Relaxed);
            tell("loss", losses(lost - before));
        }
    };
    let crowds = async move {
        // Two that came before the pump did were one change; so there is one look without a cause.
        let _ = tokio::time::timeout(CROWD_PAUSE, crowd.notified()).await;
        loop {
            let looked_at = path.clone();
            let readers = tokio::task::spawn_blocking(move || openers(&looked_at)).await.unwrap_or_default();
            if readers.len() > 1 {
                let pids: Vec<String> = readers.iter().map(u32::to_string).collect();
                tell_crowd(
                    "warning",
                    format!(
                        "processes {} read this FIFO and take each other's bytes; let one of them read, and `tee` for \
                         the others, or give each a socket (`outlets = [\"fifo\", \"socket\"]`)",
                        pids.join(" and ")
                    ),
                );
            }
            crowd.notified().await;
        }
    };
    async move {
        tokio::join!(lossy, crowds);
    }
}

fn losses(lost: u64) -> String {
    format!("{lost} packets were lost: the reader is too slow")
}

pub(super) fn framing(config: Framing) -> bridge::Framing {
    match config {
        Framing::Stream => bridge::Framing::Stream,
        Framing::Packet => bridge::Framing::Packet,
        Framing::Length => bridge::Framing::Length,
        Framing::Hex => bridge::Framing::Hex,
        Framing::Jsonl => bridge::Framing::Jsonl,
    }
}

/// A program that reads for less than this is not looked at.
const CROWD_PAUSE: Duration = Duration::from_millis(500);
/// Losses are gathered for this long before they are told.
const LOSS_PAUSE: Duration = Duration::from_secs(1);
