//! What every line has: one endpoint and its outlet, for as long as the outlet stands.

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::Events;
use super::openings::Openings;
use super::problem::Problem;
use super::tasks::TaskState;
use crate::bridge::Counters;
use crate::serial::Gate;
use crate::usb::descriptors::Endpoint;
use crate::usb::errno::{EINVAL, ENOENT, ENOMEM};
use crate::usb::{OpenError, Pipe, TransferError, UsbDevice, advice};

/// Becomes true when everything shall end in order.
pub type Stop = watch::Receiver<bool>;

/// Resolves when `stop` has become true, or when nobody can say so any more.
pub(super) async fn stopped(stop: &mut Stop) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// How a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The device is there.
    Attached,
    /// It has gone: what `unplug` says happens.
    Gone,
    /// It was given to another program: outlets wait, whatever `unplug` says.
    Released,
}

/// The device's side of a line, for one session.
#[derive(Clone)]
pub(super) struct Attachment {
    pub(super) device: Arc<dyn UsbDevice>,
    pub(super) endpoint: Endpoint,
    pub(super) phase: watch::Receiver<Phase>,
    /// What holds back OUT transfers of a serial line.
    pub(super) gate: Option<Arc<Gate>>,
    /// Dropped with the attachment; when all are, nobody uses the device any more.
    pub(super) _in_use: mpsc::Sender<()>,
}

impl Attachment {
    /// The pipe to the endpoint.
    ///
    /// # Errors
    /// Those of [`UsbDevice::open_pipe`].
    pub(super) fn open_pipe(&self) -> Result<Box<dyn Pipe>, OpenError> {
        let pipe = self.device.open_pipe(&self.endpoint)?;
        let gate = self.gate.as_ref().filter(|_| !self.endpoint.is_in());
        Ok(match gate {
            Some(gate) => gate.guard(pipe),
            None => pipe,
        })
    }

    /// Resolves when the session is over.
    pub(super) fn over(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut phase = self.phase.clone();
        async move {
            let _ = phase.wait_for(|phase| *phase != Phase::Attached).await;
        }
    }

    /// Which endpoint of which device this is.
    pub(super) fn describe(&self) -> String {
        let (Endpoint { address, .. }, d) = (self.endpoint, self.device.descriptors());
        format!("endpoint {address:#04x} of {:04x}:{:04x}", d.vendor_id, d.product_id)
    }
}

/// What a line knows besides its outlet.
#[derive(Clone)]
pub(super) struct Context {
    /// The device's name.
    pub(super) device: String,
    /// The outlet's name.
    pub(super) outlet: String,
    pub(super) events: Events,
    pub(super) counters: Arc<Counters>,
    pub(super) problem: Arc<Problem>,
    /// What `status --tasks` shows of the line's task.
    pub(super) state: Arc<TaskState>,
    /// Told of programs that come and go, if this is a data outlet of a serial function.
    pub(super) openings: Option<Arc<Openings>>,
    /// `unplug = "eof"`.
    pub(super) eof: bool,
    /// The attachment of the moment. A line that is late simply misses the sessions in between.
    pub(super) attachments: watch::Receiver<Option<Attachment>>,
    pub(super) stop: Stop,
}

impl Context {
    pub(super) fn tell(&self, event: &str, text: impl Into<String>) {
        self.events.tell(event, &self.device, Some(&self.outlet), text);
    }

    /// The same for what a device can cause as often as it likes: at most once a second, with its number.
    pub(super) fn emit_repeatedly(&self, event: &'static str, text: String) {
        self.events.emit_repeatedly(event, &self.device, &self.outlet, text);
    }

    /// The line's task has ended by itself, which none does: emits why, and waits for a moment. False when the daemon stops.
    pub(super) async fn starts_over(&self, ended: Result<(), String>, pause: Duration) -> bool {
        if self.is_stopping() {
            return false;
        }
        let error = ended.err().unwrap_or_else(|| "internal error: its task ended".to_owned());
        let text = format!("{error}; this pipe starts over, please report it");
        self.problem.failed(&text, self.counters.transfers(), Instant::now());
        self.emit_repeatedly("error", text);
        self.counters.set_open(false);
        self.state.set("starting over", "a pause after a failure");
        let mut stop = self.stop.clone();
        tokio::time::timeout(pause, stopped(&mut stop)).await.is_err()
    }

    /// What is found open when a session begins.
    pub(super) fn found(&self, open: bool) {
        if let Some(openings) = &self.openings {
            openings.found(&self.outlet, open);
        }
    }

    /// The FIFO was begun for another session, or could not be: something else may have been put in its place.
    pub(super) fn begun(&self, fifo: &Path, result: io::Result<()>) {
        let problem = result.err().map(|e| format!("{} cannot be used: {e}", fifo.display()));
        if let Some(text) = &problem {
            self.tell("error", text.clone());
        }
        self.problem.set_outlet(problem);
    }

    /// The first program has opened the outlet, or the last one has closed it.
    pub(super) fn set_open(&self, open: bool) {
        self.counters.set_open(open);
        if let Some(openings) = &self.openings {
            openings.set(&self.outlet, open);
        }
    }

    /// The next session's attachment; `None` when there will be no more.
    pub(super) async fn next_attachment(&mut self) -> Option<Attachment> {
        self.state.set("absent", "the device");
        loop {
            tokio::select! {
                changed = self.attachments.changed() => changed.ok()?,
                () = stopped(&mut self.stop) => return None,
            }
            let attachment = self.attachments.borrow_and_update().clone();
            if attachment.is_some() {
                return attachment;
            }
        }
    }

    /// A future for pumps: the daemon stops, or the session is over.
    pub(super) fn stop_or_over(&self, attachment: &Attachment) -> impl Future<Output = ()> + Send + 'static {
        let mut stop = self.stop.clone();
        let over = attachment.over();
        async move {
            tokio::select! {
                () = stopped(&mut stop) => {}
                () = over => {}
            }
        }
    }

    /// Waits for the end of the session, of which a line may know before the keeper says what it means. True when outlets
    /// of `unplug = "eof"` end now.
    pub(super) async fn has_gone(&self, attachment: &Attachment) -> bool {
        self.stop_or_over(attachment).await;
        *attachment.phase.borrow() == Phase::Gone
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits before another try. True if there shall be none: the session is over, or the daemon stops.
    #[must_use]
    pub(super) async fn pause(&self, attachment: &Attachment, time: Duration) -> bool {
        self.state.set("pausing", "the next try after a failure");
        tokio::time::timeout(time, self.stop_or_over(attachment)).await.is_ok()
    }

    /// Counts a transfer that failed, and says why and what helps, unless that was said already.
    pub(super) fn tell_failure(&self, attachment: &Attachment, error: TransferError) {
        self.counters.add_error();
        let text = failure(attachment, error);
        if self.problem.failed(&text, self.counters.transfers(), Instant::now()) {
            // Two failures that take turns are both news each time.
            self.emit_repeatedly("error", format!("{text}; trying again"));
        }
    }

    /// Says that transfers are fewer or smaller than configured, because the kernel lends no more memory.
    pub(super) fn tell_shortage(&self, attachment: &Attachment) {
        let text = failure(attachment, TransferError::Io(ENOMEM));
        if self.problem.limits(&text, Instant::now()) {
            self.tell("warning", format!("{text}; trying with fewer or smaller transfers"));
        }
    }

    /// The device's end cannot be opened in this session. Of a device that has gone, the session's end tells.
    pub(super) async fn tell_refused(&self, attachment: &Attachment, error: &OpenError) {
        if tokio::time::timeout(NEWS_DELAY, self.stop_or_over(attachment)).await.is_ok() {
            return;
        }
        let (d, address) = (attachment.device.descriptors(), attachment.endpoint.address);
        let is_refusal = matches!(error, OpenError::Busy(_) | OpenError::Unreachable(..));
        let advice = is_refusal.then(|| advice::endpoint_not_selected(d, address)).flatten();
        let advice = advice.map_or_else(String::new, |advice| format!("; {advice}"));
        let text = format!("{} cannot be used: {error}{advice}", attachment.describe());
        self.problem.limits(&text, Instant::now());
        self.tell("error", text);
    }

    /// The outlet itself failed.
    pub(super) fn tell_outlet_failure(&self, text: String) {
        if self.problem.failed(&text, self.counters.transfers(), Instant::now()) {
            self.tell("error", format!("{text}; trying again"));
        }
    }

    /// Counts a halt, says so and ends it on the device.
    pub(super) async fn clear_halt(&self, attachment: &Attachment) {
        let address = attachment.endpoint.address;
        match attachment.device.clear_halt(address).await {
            Ok(()) | Err(TransferError::Disconnected) => {}
            Err(e) => {
                let text = format!("the halt of endpoint {address:#04x} could not be cleared: {e}");
                self.emit_repeatedly("error", text);
            }
        }
    }
}

/// What was being done to which endpoint, why it failed, and what may help.
fn failure(attachment: &Attachment, error: TransferError) -> String {
    let doing = if attachment.endpoint.is_in() { "reading from" } else { "writing to" };
    let advice = advice::transfer_failed(error).or_else(|| not_selected(attachment, error));
    let advice = advice.map_or_else(String::new, |advice| format!("; {advice}"));
    format!("{doing} {} failed: {error}{advice}", attachment.describe())
}

/// Where the system refuses the endpoint itself: in the setting that is selected it may not be there.
fn not_selected(attachment: &Attachment, error: TransferError) -> Option<String> {
    let is_refusal = matches!(error, TransferError::Invalid | TransferError::Io(ENOENT | EINVAL));
    let (d, address) = (attachment.device.descriptors(), attachment.endpoint.address);
    is_refusal.then(|| advice::endpoint_not_selected(d, address)).flatten()
}

/// That the endpoint is halted, and what that means: USB 2.0, 8.4.5.
pub(super) fn halt(attachment: &Attachment) -> String {
    let what = if attachment.endpoint.is_in() { "sends nothing" } else { "refuses what is written to it" };
    format!("{} is halted: the device {what} until that is cleared", attachment.describe())
}

/// While a device is pulled out, requests fail before there is news of it: how much later the news may come.
pub(super) const NEWS_DELAY: Duration = Duration::from_millis(500);
/// The first and the longest pause after a failed transfer, or after halts that follow one another without a byte.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(10);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long programs that had an ended FIFO open may take to see that and to close it, before it begins anew. Others wait
/// for them when the device is back; after a stall there is nothing to wait for.
pub(super) const LEAVE_BEFORE_ATTACH: Duration = Duration::from_millis(100);
pub(super) const LEAVE_AFTER_STALL: Duration = Duration::from_secs(1);
