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
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use super::backoff::Backoff;
use super::hub::Hub;
use super::line::{
    Attachment, Context, FIRST_PAUSE, LEAVE_AFTER_STALL, LEAVE_BEFORE_ATTACH, LONGEST_PAUSE, halt, stopped,
};
use super::losses::Losses;
use super::paced::PacedPipe;
use super::plan;
use super::when_woken::WhenWoken;
use crate::bridge::{self, BulkIn, InPump, IsoIn, NewReader, Readers, ReadersPolicy, Verdict};
use crate::config::{Framing, Idle, OnOpen, Patience, PipeConfig, StallPolicy};
use crate::outlet::{CompetingReaders, InFifo, openers};
use crate::usb::descriptors::TransferType;
use crate::usb::errno::ENOMEM;
use crate::usb::{Pipe, TransferError};

/// One IN endpoint and its outlets.
pub(super) struct InLine {
    context: Context,
    config: PipeConfig,
    hub: Arc<Hub>,
    readers: Readers,
    losses: Arc<Losses>,
    pump: Option<Pump>,
}

enum Pump {
    Bulk(BulkIn),
    Iso(IsoIn),
}

impl InLine {
    /// The line of this FIFO, if there is one, and of the programs that come through the hub.
    pub(super) fn new(
        context: Context,
        config: PipeConfig,
        fifo: Option<InFifo>,
        hub: Arc<Hub>,
        arrivals: UnboundedReceiver<NewReader>,
    ) -> Self {
        let patience = match config.patience {
            Patience::Forever => None,
            Patience::After(time) => Some(time),
        };
        let policy = ReadersPolicy { patience, forgets: config.on_open == OnOpen::Discard };
        let mut readers = Readers::new(fifo, hub.fifo(), arrivals, policy, context.counters.clone());
        if let Some(openings) = &context.openings {
            readers = readers.keeping_unread(openings.input.clone());
        }
        let losses = Losses::new(&context);
        Self { context, config, hub, readers, losses, pump: None }
    }

    /// Lives until the daemon stops.
    pub(super) async fn run(mut self) {
        if self.context.eof {
            self.end_outlet();
        }
        while let Some(attachment) = self.next_attachment().await {
            self.begin_outlet(LEAVE_BEFORE_ATTACH).await;
            self.serve(&attachment).await;
            self.context.counters.set_open(false);
            self.readers.rest();
            if self.context.eof && self.context.has_gone(&attachment).await && !self.context.is_stopping() {
                self.deliver_rest().await;
                self.end_outlet();
            }
        }
    }

    /// Waits for the device; readers meanwhile get what had arrived before it went.
    async fn next_attachment(&mut self) -> Option<Attachment> {
        let Self { context, readers, pump, .. } = self;
        tokio::select! {
            attachment = context.next_attachment() => attachment,
            () = deliver_forever(pump, readers) => None,
        }
    }

    async fn deliver_rest(&mut self) {
        let Some(pump) = &mut self.pump else { return };
        self.context.state.set("delivering", "programs that read to take the rest");
        tokio::select! {
            () = pump.finish(&mut self.readers) => {}
            () = stopped(&mut self.context.stop) => {}
        }
        self.hub.tell_losses();
    }

    /// Programs at all outlets get end of file. Those that connect to a socket from now on wait for what comes next.
    fn end_outlet(&mut self) {
        self.readers.dismiss();
        if let Some(fifo) = &mut self.readers.fifo
            && let Err(e) = fifo.end()
        {
            self.context.tell("error", format!("{} cannot be ended: {e}", fifo.path().display()));
        }
    }

    async fn begin_outlet(&mut self, patience: Duration) {
        if let Some(fifo) = &mut self.readers.fifo {
            let begun = fifo.begin(patience).await;
            self.context.begun(fifo.path(), begun);
        }
    }

    async fn serve(&mut self, attachment: &Attachment) {
        let mut pipe = match attachment.open_pipe() {
            Ok(pipe) => PacedPipe::of(pipe, &attachment.endpoint, &self.context.counters),
            Err(e) => return self.context.tell_refused(attachment, &e).await,
        };
        self.context.problem.clear();
        self.context.found(self.readers.is_open());
        let competing = self.readers.fifo.as_ref().map(InFifo::competing);
        competing.iter().for_each(CompetingReaders::begin);
        self.make_pump(attachment);
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut open = false;
        loop {
            let before = self.context.counters.transfers();
            let verdict = if self.readers.is_open() {
                if !std::mem::replace(&mut open, true) {
                    self.context.set_open(true);
                    self.context.tell("open", "a program reads");
                }
                self.context.state.set("transferring", "the device, or programs that read");
                let verdict = self.pump(&mut *pipe, attachment).await;
                self.readers.rest();
                verdict
            } else if std::mem::take(&mut open) {
                self.closed();
                continue;
            } else if self.readers.keep_unread() {
                self.context.state.set("keeping", "the device, or a program that reads");
                self.keep(&mut *pipe, attachment).await
            } else if self.config.idle == Idle::Drain {
                self.context.state.set("draining", "the device, or a program that reads");
                self.drain(&mut *pipe, attachment).await
            } else {
                self.context.state.set("idle", "a program that reads");
                let over = self.context.stop_or_over(attachment);
                tokio::select! {
                    () = poll_fn(|cx| self.readers.poll_opened(cx)) => {}
                    () = changed(competing.as_ref()) => self.tell_competition(None),
                    () = over => return,
                }
                continue;
            };
            if self.context.counters.transfers() > before {
                backoff.reset();
            }
            match verdict {
                Verdict::Stopped | Verdict::Device(TransferError::Disconnected) => return,
                Verdict::Closed => {}
                Verdict::Device(TransferError::Stall) => {
                    if self.halted(attachment, backoff.step()).await {
                        return;
                    }
                }
                Verdict::Device(TransferError::Io(ENOMEM)) if self.pump.as_mut().is_some_and(Pump::lower) => {
                    self.context.tell_shortage(attachment);
                }
                Verdict::Device(e) => {
                    self.context.tell_failure(attachment, e);
                    if self.context.pause(attachment, backoff.step()).await {
                        return;
                    }
                }
                Verdict::Outlet(e) => {
                    self.context.tell_outlet_failure(format!("writing to {} failed: {e}", self.context.outlet));
                    if self.context.pause(attachment, backoff.step()).await {
                        return;
                    }
                }
            }
        }
    }

    /// Runs the pump, and meanwhile looks after what the pump must not: a second reader, and losses to be told.
    async fn pump(&mut self, pipe: &mut dyn Pipe, attachment: &Attachment) -> Verdict {
        let Some(pump) = &mut self.pump else { return Verdict::Stopped };
        let stop = pin!(WhenWoken::new(self.context.stop_or_over(attachment)));
        let watch =
            WhenWoken::new(watch(&self.context, self.readers.fifo.as_ref(), self.hub.clone(), self.losses.clone()));
        let verdict = tokio::select! {
            biased;
            verdict = pump.run(pipe, &mut self.readers, stop) => verdict,
            () = watch => Verdict::Stopped,
        };
        self.losses.emit();
        self.hub.tell_losses();
        self.tell_competition(Some(self.hub.fifo().tally().bytes));
        verdict
    }

    /// Tells of programs that read the FIFO at once, and left before anybody had looked who they are.
    fn tell_competition(&self, bytes: Option<u64>) {
        let competing = self.readers.fifo.as_ref().map(InFifo::competing);
        if let Some(count) = competing.and_then(|competing| competing.take()) {
            self.context.tell("warning", competed(count, bytes));
        }
    }

    async fn drain(&mut self, pipe: &mut dyn Pipe, attachment: &Attachment) -> Verdict {
        let Some(pump) = &mut self.pump else { return Verdict::Stopped };
        let stop = pin!(self.context.stop_or_over(attachment));
        pump.drain(pipe, &mut self.readers, stop).await
    }

    async fn keep(&mut self, pipe: &mut dyn Pipe, attachment: &Attachment) -> Verdict {
        let Some(Pump::Bulk(pump)) = &mut self.pump else { return Verdict::Stopped };
        let stop = pin!(self.context.stop_or_over(attachment));
        pump.keep(pipe, &mut self.readers, stop).await
    }

    /// The last reader has gone, while the pump ran or in a pause.
    fn closed(&mut self) {
        self.context.set_open(false);
        self.restore();
        self.context.tell("close", "no program reads");
        if self.forgets()
            && let Some(pump) = &mut self.pump
        {
            pump.discard(&mut self.readers);
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

    /// True when the session ended meanwhile.
    async fn halted(&mut self, attachment: &Attachment, pause: Duration) -> bool {
        self.context.counters.add_stall();
        if self.config.stall == StallPolicy::Stop {
            self.context.tell("stall", format!("{}; open the outlet again to go on", halt(attachment)));
            self.deliver_rest().await;
            self.end_outlet();
            self.begin_outlet(LEAVE_AFTER_STALL).await;
            let over = self.context.stop_or_over(attachment);
            tokio::select! {
                () = poll_fn(|cx| self.readers.poll_opened(cx)) => {}
                () = over => return true,
            }
        } else {
            let text = "the halt is cleared and the bridge goes on; write stall = \"stop\" to end the outlet instead";
            self.context.emit_repeatedly("stall", format!("{}; {text}", halt(attachment)));
            if self.context.pause(attachment, pause).await {
                return true;
            }
        }
        self.context.clear_halt(attachment).await;
        false
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
            let readers = &mut self.readers;
            self.pump = Some(Pump::Iso(IsoIn::new(endpoint.address, framing, shape, ring, readers, counters)));
        } else if !self.pump.as_mut().is_some_and(Pump::waits_for_readers) {
            let sizes = plan::sizes(&self.config, endpoint);
            let readers = &mut self.readers;
            let pump = BulkIn::new(endpoint.address, framing, sizes, readers, counters);
            // A serial function has bytes, not transfers, and an empty message would be taken for their end.
            self.pump = Some(Pump::Bulk(match &self.context.openings {
                Some(openings) => pump.with_input(openings.input.clone()),
                None => pump.with_zlps(),
            }));
        }
    }
}

impl Pump {
    async fn run(&mut self, pipe: &mut dyn Pipe, readers: &mut Readers, stop: StopFuture<'_>) -> Verdict {
        match self {
            Self::Bulk(pump) => pump.run(pipe, readers, stop).await,
            Self::Iso(pump) => pump.run(pipe, readers, stop).await,
        }
    }

    async fn drain(&mut self, pipe: &mut dyn Pipe, readers: &mut Readers, stop: StopFuture<'_>) -> Verdict {
        match self {
            Self::Bulk(pump) => pump.drain(pipe, readers, stop).await,
            Self::Iso(pump) => pump.drain(pipe, readers, stop).await,
        }
    }

    /// Whether what had arrived before an unplug is still to be delivered.
    fn waits_for_readers(&mut self) -> bool {
        match self {
            Self::Bulk(pump) => pump.has_pending(),
            Self::Iso(_) => false,
        }
    }

    /// Makes do with less memory in flight; false when that cannot be.
    fn lower(&mut self) -> bool {
        match self {
            Self::Bulk(pump) => pump.lower(),
            Self::Iso(_) => false,
        }
    }

    async fn finish(&mut self, readers: &mut Readers) {
        match self {
            Self::Bulk(pump) => pump.finish(readers).await,
            Self::Iso(pump) => pump.finish(readers).await,
        }
    }

    fn poll_idle(&mut self, cx: &mut std::task::Context<'_>, readers: &mut Readers) {
        // What a FIFO says here it will say again when there is a device.
        let _ = match self {
            Self::Bulk(pump) => pump.poll_idle(cx, readers),
            Self::Iso(pump) => pump.poll_idle(cx, readers),
        };
    }

    fn discard(&mut self, readers: &mut Readers) {
        match self {
            Self::Bulk(pump) => pump.discard(readers),
            Self::Iso(pump) => pump.discard(readers),
        }
    }
}

type StopFuture<'a> = Pin<&'a mut (dyn Future<Output = ()> + Send)>;

/// While the device is away: programs come and go, and get what had arrived. Ends only by being dropped.
async fn deliver_forever(pump: &mut Option<Pump>, readers: &mut Readers) {
    poll_fn(|cx| {
        match pump {
            Some(pump) => pump.poll_idle(cx, readers),
            None => readers.poll_idle(cx),
        }
        std::task::Poll::<()>::Pending
    })
    .await;
}

/// Tells of losses, at most once in a while, and of programs that take each other's bytes. Never ends.
fn watch(
    context: &Context,
    fifo: Option<&InFifo>,
    hub: Arc<Hub>,
    losses: Arc<Losses>,
) -> impl Future<Output = ()> + Send + use<> {
    let (events, device, outlet) = (context.events.clone(), context.device.clone(), context.outlet.clone());
    let fifo = fifo.map(|fifo| (fifo.competing(), fifo.inner_path()));
    let warn = move |text: String| events.tell("warning", &device, Some(&outlet), text);
    let lossy_hub = hub.clone();
    let lossy = async move { losses.watch(|| lossy_hub.tell_losses()).await };
    let crowds = async move {
        let Some((competing, path)) = fifo else { return pending().await };
        // Two that came before the pump did were one change; so there is one look without a cause.
        let _ = tokio::time::timeout(CROWD_PAUSE, competing.changed()).await;
        loop {
            let mut readers = openers(&path).await;
            if readers.len() < 2 && competing.is_any() {
                // The kernel tells of an opening before the program has its descriptor.
                tokio::time::sleep(MOMENT).await;
                readers = openers(&path).await;
            }
            hub.saw_at_fifo(readers.first().copied());
            let at_once = competing.take();
            if readers.len() > 1 {
                let pids: Vec<String> = readers.iter().map(u32::to_string).collect();
                warn(format!("processes {} read this FIFO and take {COMPETING}", pids.join(" and ")));
            } else if let Some(count) = at_once {
                warn(competed(count, Some(hub.fifo().tally().bytes)));
            }
            competing.changed().await;
        }
    };
    async move {
        tokio::join!(lossy, crowds);
    }
}

/// That so many programs were at the FIFO at once, of which some have gone. So many bytes went to them together; those that
/// the FIFO still had are not counted.
fn competed(count: usize, bytes: Option<u64>) -> String {
    let bytes = bytes.filter(|&bytes| bytes > 0);
    let shared = bytes.map_or_else(String::new, |bytes| format!(", shared the {bytes} bytes of it"));
    format!("{count} programs had this FIFO open at the same time{shared} and took {COMPETING}")
}

/// Resolves when there may be something to tell of competing readers.
async fn changed(competing: Option<&CompetingReaders>) {
    match competing {
        Some(competing) => competing.changed().await,
        None => pending().await,
    }
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

/// What several readers of a FIFO do, and what to do about that.
const COMPETING: &str = "each other's bytes; let one of them read, and `tee` for the others, or give each a socket \
    (`outlets = [\"fifo\", \"socket\"]`)";
/// For a program that opens the FIFO to be seen with it.
const MOMENT: Duration = Duration::from_millis(20);
/// A program that reads for less than this is not looked at.
const CROWD_PAUSE: Duration = Duration::from_millis(500);
