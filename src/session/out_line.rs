//! The line of an OUT endpoint: waits for writers and for the device, and runs the pump while both are there.
//!
//! The states are those of [`super::in_line`]; when the daemon stops, what was written is flushed first.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use super::backoff::Backoff;
use super::hub::Hub;
use super::in_line::framing;
use super::line::{Attachment, Context, FIRST_PAUSE, LEAVE_AFTER_STALL, LEAVE_BEFORE_ATTACH, LONGEST_PAUSE, halt};
use super::losses::{Losses, fate};
use super::plan;
use super::when_woken::WhenWoken;
use crate::bridge::{BulkOut, IsoOut, IsoOutSettings, NewWriter, Refusals, Verdict, Writers as AllWriters};
use crate::config::{PipeConfig, StallPolicy, Underrun, Writers};
use crate::outlet::OutFifo;
use crate::usb::descriptors::TransferType;
use crate::usb::errno::ENOMEM;
use crate::usb::{Pipe, TransferError};

/// One OUT endpoint and its outlets.
pub(super) struct OutLine {
    context: Context,
    config: PipeConfig,
    writers: AllWriters,
    losses: Arc<Losses>,
    /// What had been refused and lost when the first program opened the outlet.
    at_opening: Refusals,
    pump: Option<Pump>,
}

enum Pump {
    Bulk(BulkOut),
    Iso(IsoOut),
}

impl OutLine {
    /// The line of this FIFO, if there is one, and of the programs that come through the hub.
    pub(super) fn new(
        context: Context,
        config: PipeConfig,
        fifo: Option<OutFifo>,
        hub: &Hub,
        arrivals: UnboundedReceiver<NewWriter>,
    ) -> Self {
        let writers = AllWriters::new(fifo, hub.fifo(), arrivals, config.writers == Writers::One);
        let losses = Losses::new(&context);
        Self { context, config, writers, losses, at_opening: Refusals::default(), pump: None }
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
            if self.context.eof && self.context.has_gone(&attachment).await && !self.context.is_stopping() {
                self.lose("the device went before it took");
                self.end_outlet();
            }
        }
        self.lose("the daemon ended before the device took");
    }

    /// Waits for the device; programs come and go meanwhile.
    async fn next_attachment(&mut self) -> Option<Attachment> {
        let Self { context, writers, .. } = self;
        tokio::select! {
            attachment = context.next_attachment() => attachment,
            never = poll_fn(|cx| {
                writers.poll_idle(cx);
                Poll::<Option<Attachment>>::Pending
            }) => never,
        }
    }

    /// Gives up what was read and not sent, and says so.
    fn lose(&mut self, why: &str) {
        let lost = self.pump.as_mut().map_or(0, Pump::discard);
        if lost > 0 {
            self.context.tell("loss", format!("{why} {lost} bytes that were written"));
        }
    }

    /// What writers wrote and nobody will read is lost with the outlet's end.
    fn end_outlet(&mut self) {
        let mut lost = self.writers.dismiss();
        if let Some(fifo) = &mut self.writers.fifo {
            match fifo.end() {
                Ok(unread) => lost += unread,
                Err(e) => self.context.tell("error", format!("{} cannot be ended: {e}", fifo.path().display())),
            }
        }
        if lost > 0 {
            self.context.counters.add_lost_bytes(lost);
            self.context.tell("loss", format!("the device went before it took {lost} bytes that were written"));
        }
    }

    async fn begin_outlet(&mut self, patience: Duration) {
        if let Some(fifo) = &mut self.writers.fifo {
            let begun = fifo.begin(patience).await;
            self.context.begun(fifo.path(), begun);
        }
    }

    async fn serve(&mut self, attachment: &Attachment) {
        let mut pipe = match attachment.open_pipe() {
            Ok(pipe) => pipe,
            Err(e) => return self.context.tell_refused(attachment, &e).await,
        };
        self.context.problem.clear();
        self.context.found(self.writers.is_open() || self.pump.as_ref().is_some_and(Pump::has_pending));
        self.make_pump(attachment);
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut open = false;
        loop {
            let over = self.context.stop_or_over(attachment);
            if !self.pump.as_ref().is_some_and(Pump::has_pending) {
                // The last writer may have gone in a pause.
                if open && !self.writers.is_open() {
                    open = false;
                    self.closed();
                }
                self.context.state.set("idle", "a program that writes");
                tokio::select! {
                    biased;
                    () = poll_fn(|cx| self.writers.poll_opened(cx)) => {}
                    () = over => return,
                }
            }
            if !std::mem::replace(&mut open, true) {
                self.context.set_open(true);
                self.at_opening = self.context.counters.refusals();
                self.context.tell("open", "a program writes");
            }
            self.context.state.set("transferring", "programs that write, or the device");
            let before = self.context.counters.transfers();
            let verdict = self.pump(&mut *pipe, attachment).await;
            if self.context.counters.transfers() > before {
                backoff.reset();
            }
            match verdict {
                Verdict::Stopped | Verdict::Device(TransferError::Disconnected) => return,
                Verdict::Closed => {
                    open = false;
                    self.closed();
                }
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
                    self.context.tell_outlet_failure(format!("reading {} failed: {e}", self.context.outlet));
                    if self.context.pause(attachment, backoff.step()).await {
                        return;
                    }
                }
            }
        }
    }

    async fn pump(&mut self, pipe: &mut dyn Pipe, attachment: &Attachment) -> Verdict {
        let Some(pump) = &mut self.pump else { return Verdict::Stopped };
        let stop = pin!(WhenWoken::new(self.context.stop_or_over(attachment)));
        let losses = self.losses.clone();
        let verdict = tokio::select! {
            biased;
            verdict = pump.run(pipe, &mut self.writers, stop) => verdict,
            () = losses.watch(|| ()) => Verdict::Stopped,
        };
        self.losses.emit();
        verdict
    }

    /// The last writer has gone. The next one gets transfers as configured, if the kernel has memory for them then.
    fn closed(&mut self) {
        self.context.set_open(false);
        if let Some(Pump::Bulk(pump)) = &mut self.pump {
            pump.restore();
        }
        self.context.problem.clear();
        let fate = fate(self.at_opening, self.context.counters.refusals());
        self.context.tell("close", format!("no program writes, {fate}"));
    }

    /// True when the session ended meanwhile.
    async fn halted(&mut self, attachment: &Attachment, pause: Duration) -> bool {
        self.context.counters.add_stall();
        if self.config.stall == StallPolicy::Stop {
            self.context.tell("stall", format!("{}; open the outlet again to go on", halt(attachment)));
            self.lose("the device refused");
            self.end_outlet();
            self.begin_outlet(LEAVE_AFTER_STALL).await;
            let over = self.context.stop_or_over(attachment);
            tokio::select! {
                () = poll_fn(|cx| self.writers.poll_opened(cx)) => {}
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

    fn make_pump(&mut self, attachment: &Attachment) {
        let endpoint = &attachment.endpoint;
        let counters = self.context.counters.clone();
        if endpoint.transfer_type == TransferType::Isochronous {
            let speed = attachment.device.descriptors().speed;
            let settings = IsoOutSettings {
                framing: framing(self.config.framing),
                shape: plan::iso_shape(&self.config, endpoint, speed),
                prebuffer: plan::packets_in(self.config.prebuffer, endpoint, speed),
                silence: self.config.underrun == Underrun::Silence,
                flush: self.config.flush,
            };
            self.losses.set_longest(settings.shape.packet_size);
            self.pump = Some(Pump::Iso(IsoOut::new(settings, counters)));
        } else if self.pump.is_none() {
            let is_serial = self.context.openings.is_some();
            let sizes = if is_serial { plan::serial_out_sizes } else { plan::sizes }(&self.config, endpoint);
            let framing = framing(self.config.framing);
            let zlp = plan::closes_by_zlp(&self.config, endpoint);
            self.losses.set_longest(sizes.transfer);
            self.pump = Some(Pump::Bulk(BulkOut::new(framing, sizes, zlp, self.config.flush, counters)));
        }
    }
}

impl Pump {
    async fn run(
        &mut self,
        pipe: &mut dyn Pipe,
        writers: &mut AllWriters,
        stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
    ) -> Verdict {
        match self {
            Self::Bulk(pump) => pump.run(pipe, writers, stop).await,
            Self::Iso(pump) => pump.run(pipe, writers, stop).await,
        }
    }

    /// Makes do with less memory in flight; false when that cannot be.
    fn lower(&mut self) -> bool {
        match self {
            Self::Bulk(pump) => pump.lower(),
            Self::Iso(_) => false,
        }
    }

    fn has_pending(&self) -> bool {
        match self {
            Self::Bulk(pump) => pump.has_pending(),
            Self::Iso(_) => false,
        }
    }

    fn discard(&mut self) -> usize {
        match self {
            Self::Bulk(pump) => pump.discard(),
            Self::Iso(_) => 0,
        }
    }
}
