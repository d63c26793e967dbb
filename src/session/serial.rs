//! The line control of a serial function: requests one after the other, from whoever makes them.
//!
//! ```text
//!   serial.ctl ─┐
//!   commands ───┼─► SerialPort (one request at a time) ─► class requests
//!   openings ───┤        ├─ remembers what was asked for, and asks again when the device is back
//!   attach ─────┘        └─ shuts the gate before the OUT endpoint while the board is in reset or boots
//! ```
//!
//! Requests that take as long as they were told to (`dtr pulse 60000`, `break 5000`) do not hold the line meanwhile, and
//! end early when nobody waits for them any more or the daemon stops: the line is left as it would be after them.

mod client;

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use super::Events;
use super::coding::{Ask, Coding, TerminalId};
use super::control::{disconnected, done, error_name};
use super::line::{NEWS_DELAY, Stop, stopped};
use super::lock::lock;
use super::openings::Openings;
use crate::bridge::InputPolicy;
use crate::config::{Flow, SerialConfig, SerialMode};
use crate::outlet::tty::Settings;
use crate::request::{Answer, ErrorName, Line, SerialRequest};
use crate::serial::{Function, Gate, Hold, Lines, SerialState, Step, TOUCH_BAUD, Wanted, parse_notification, profile};
use crate::usb::{Transfer, TransferError, UsbDevice, complete};

/// The serial function of one device, over all its sessions.
pub(super) struct SerialPort {
    device_name: String,
    /// `serial`, or `serial-2` of a second function.
    pub(super) line: String,
    /// As configured.
    config: Mutex<SerialConfig>,
    events: Events,
    state: tokio::sync::Mutex<State>,
    /// Held by a request that changes the line, from its beginning to its end: they come one after the other.
    requests: tokio::sync::Mutex<()>,
    stop: Stop,
    /// Told when the session is over, so that no request holds the line any longer.
    over: Notify,
    reported: watch::Sender<Option<SerialState>>,
    /// What its lines tell of programs.
    pub(super) openings: Arc<Openings>,
    /// What holds OUT transfers back.
    pub(super) gate: Arc<Gate>,
    /// Whether this session's board was asked to start its bootloader.
    touched: AtomicBool,
    /// Whether it was told in this session that a program asked for flow control in vain.
    flow_refused: AtomicBool,
    /// Holds the gate while the board boots.
    boot: Mutex<Option<Task>>,
    /// What programs find that open a terminal now.
    pub(super) shown: watch::Sender<Settings>,
}

struct State {
    wanted: Wanted,
    coding: Coding,
    attached: Option<(Arc<dyn UsbDevice>, Lines)>,
    /// Reads notifications. It has a pipe of the device, so it must not outlive the session.
    listener: Option<Task>,
}

/// A task that ends with this.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl SerialPort {
    /// The name of one of its outlets, such as `serial.rx`.
    pub(super) fn outlet(&self, kind: &str) -> String {
        format!("{}.{kind}", self.line)
    }

    /// Also what is to be given to [`SerialPort::reset_when_opened`].
    pub(super) fn new(
        name: &str,
        line: &str,
        config: &SerialConfig,
        events: Events,
        stop: Stop,
    ) -> (Self, mpsc::Receiver<Hold>) {
        let wanted = Wanted { dtr: config.dtr, rts: config.rts, ..Wanted::default() };
        let coding = Coding::new(Ask { baud: config.baud, mode: config.mode, flow: Some(config.flow) });
        let shown = watch::Sender::new(coding.shown());
        let gate = Arc::<Gate>::default();
        let input = Arc::new(InputPolicy::new(config.keeps_unread(), config.waits_for_readers()));
        let (openings, due) = Openings::new(config.reset, gate.clone(), input);
        let port = Self {
            device_name: name.to_owned(),
            line: line.to_owned(),
            config: Mutex::new(config.clone()),
            events,
            state: tokio::sync::Mutex::new(State { wanted, coding, attached: None, listener: None }),
            requests: tokio::sync::Mutex::default(),
            stop,
            over: Notify::new(),
            reported: watch::Sender::new(None),
            openings: Arc::new(openings),
            gate,
            touched: AtomicBool::default(),
            flow_refused: AtomicBool::default(),
            boot: Mutex::default(),
            shown,
        };
        (port, due)
    }

    /// What keeps it from working as somebody may expect.
    pub(super) fn problem(&self) -> Option<String> {
        self.openings.problem()
    }

    /// Resets the board each time that is due. Ends only by being dropped.
    pub(super) async fn reset_when_opened(self: Arc<Self>, mut due: mpsc::Receiver<Hold>) {
        while let Some(_hold) = due.recv().await {
            self.openings.input.mute();
            let answer = self.execute(&SerialRequest::Reset(None)).await;
            self.openings.input.unmute();
            if let Answer::Error { text, .. } = answer {
                self.tell("error", format!("a program opened the line, but the board could not be reset: {text}"));
            }
        }
    }

    /// The board has just been plugged in or reset: nothing is sent to it while it boots. What it says meanwhile proves
    /// nothing, because bootloaders talk, too.
    fn wait_for_boot(&self) {
        let time = lock(&self.config).boot_wait;
        if time.is_zero() {
            return;
        }
        let hold = self.gate.hold();
        let task = tokio::spawn(async move {
            tokio::time::sleep(time).await;
            drop(hold);
        });
        *lock(&self.boot) = Some(Task(task.abort_handle()));
    }

    /// The device is there: asks of it what was asked for before, and listens to what it reports.
    pub(super) async fn attach(&self, device: Arc<dyn UsbDevice>, function: Function) {
        let mut state = self.state.lock().await;
        self.touched.store(false, Ordering::Relaxed);
        let ask = state.coding.wanted();
        self.flow_refused.store(false, Ordering::Relaxed);
        let lines = Lines::new(function, Wanted { baud: ask.baud, mode: ask.mode, flow: ask.flow, ..state.wanted });
        state.coding.device_came();
        match lines.apply(&*device).await {
            Ok(()) => state.coding.sent(ask),
            Err(e) => self.tell("error", format!("setting up the serial line failed: {e}")),
        }
        state.listener = self.listen(&device, &function);
        state.attached = Some((device, lines));
        self.wait_for_boot();
    }

    /// The device has gone. Requests that are under way end at once, however long a pulse they asked for.
    pub(super) async fn detach(&self) {
        self.over.notify_waiters();
        let mut state = self.state.lock().await;
        state.attached = None;
        state.listener = None;
        state.coding.device_went(lock(&self.config).baud);
        self.shown.send_replace(state.coding.shown());
        *lock(&self.boot) = None;
        self.openings.session_over();
        self.reported.send_replace(None);
    }

    /// What the port is to have from its opening on.
    pub(super) async fn first_settings(&self) -> (Option<u32>, Option<SerialMode>, Flow) {
        let wanted = self.state.lock().await.coding.wanted();
        (wanted.baud, wanted.mode, wanted.flow.unwrap_or_default())
    }

    /// The configuration has changed. What is other than before is asked of the line, as over line control.
    pub(super) async fn configure(&self, new: &SerialConfig) {
        let old = std::mem::replace(&mut *lock(&self.config), new.clone());
        self.openings.set_policy(new.reset);
        self.openings.input.set(new.keeps_unread(), new.waits_for_readers());
        let mut state = self.state.lock().await;
        let gone = |was: bool, is: bool| was && !is;
        state.coding.no_longer_stands(Ask {
            baud: old.baud.filter(|_| new.baud.is_none()),
            mode: old.mode.filter(|_| new.mode.is_none()),
            flow: None,
        });
        state.coding.asked_for_good(Ask {
            baud: new.baud.filter(|_| new.baud != old.baud),
            mode: new.mode.filter(|_| new.mode != old.mode),
            flow: Some(new.flow).filter(|_| new.flow != old.flow),
        });
        self.shown.send_replace(state.coding.shown());
        let (dtr, rts) = (new.dtr.filter(|_| new.dtr != old.dtr), new.rts.filter(|_| new.rts != old.rts));
        let no_dtr = gone(old.dtr.is_some(), new.dtr.is_some());
        let no_rts = gone(old.rts.is_some(), new.rts.is_some());
        let State { wanted, coding, attached, .. } = &mut *state;
        wanted.dtr = dtr.or(wanted.dtr).filter(|_| !no_dtr);
        wanted.rts = rts.or(wanted.rts).filter(|_| !no_rts);
        let Some((device, lines)) = attached else { return };
        lines.forget_lines(no_dtr, no_rts);
        let change = async {
            self.send(&**device, lines, coding, "the configuration").await;
            if (dtr.is_some() || rts.is_some())
                && let Err(e) = lines.set_lines(&**device, dtr, rts).await
            {
                self.tell("error", format!("the configuration asked for other lines, but they could not be set: {e}"));
            }
        };
        tokio::select! {
            () = change => {}
            () = self.over.notified() => {}
        }
    }

    /// Whether the board was asked to start its bootloader, by a touch or by a program that did as much.
    pub(super) fn was_touched(&self) -> bool {
        self.touched.load(Ordering::Relaxed)
    }

    /// Carries out one request. If the future is dropped, the request is cut short. Release and reclaim are about more than
    /// the line: see [`super::release`].
    pub(super) async fn execute(self: &Arc<Self>, request: &SerialRequest) -> Answer {
        // In a task of its own, because what was begun must be brought to an end.
        let (sender, answer) = oneshot::channel();
        tokio::spawn(self.clone().carry_out(request.clone(), sender));
        let broken =
            || Answer::Error { name: ErrorName::Io, text: "the request ended by an internal error".to_owned() };
        answer.await.unwrap_or_else(|_| broken())
    }

    async fn carry_out(self: Arc<Self>, request: SerialRequest, mut asker: oneshot::Sender<Answer>) {
        let mut stop = self.stop.clone();
        let answer = {
            let mut unwanted = pin!(async {
                tokio::select! {
                    () = asker.closed() => {}
                    () = stopped(&mut stop) => {}
                }
            });
            self.answer(&request, unwanted.as_mut()).await
        };
        // Whoever does not wait for it needs none.
        let _ = asker.send(answer);
    }

    async fn answer(&self, request: &SerialRequest, mut unwanted: Unwanted<'_>) -> Answer {
        let mut over = pin!(self.over.notified());
        over.as_mut().enable();
        let _turn = match request {
            SerialRequest::Lines => None,
            _ => tokio::select! {
                turn = self.requests.lock() => Some(turn),
                () = unwanted.as_mut() => return disconnected(&self.device_name),
            },
        };
        if *request == SerialRequest::Touch {
            // That the device goes is what a touch waits for; whoever asks next is to find it gone.
            let answer = self.execute_on_device(request, unwanted).await;
            if self.was_touched() {
                let _ = tokio::time::timeout(NEWS_DELAY, over).await;
            }
            return answer;
        }
        let on_device = async {
            match *request {
                SerialRequest::Dtr(line) => self.set_line(line, |on| (Some(on), None), unwanted).await,
                SerialRequest::Rts(line) => self.set_line(line, |on| (None, Some(on)), unwanted).await,
                SerialRequest::Break(time) => self.send_break(time, unwanted).await,
                _ => self.execute_on_device(request, unwanted).await,
            }
        };
        tokio::select! {
            answer = on_device => answer,
            () = over => disconnected(&self.device_name),
        }
    }

    /// Turns a line on or off, or on for a while.
    async fn set_line(&self, line: Line, which: fn(bool) -> LineStates, unwanted: Unwanted<'_>) -> Answer {
        let (first, pulse) = match line {
            Line::On => (true, None),
            Line::Off => (false, None),
            Line::Pulse(time) => (true, Some(time)),
        };
        // What a board gets that is plugged in during a pulse is what it would have after it.
        let lasting = which(first && pulse.is_none());
        let mut result = self.set_lines(which(first), lasting).await;
        if let (Ok(()), Some(time)) = (&result, pulse) {
            tokio::select! {
                () = tokio::time::sleep(time) => {}
                () = unwanted => {}
            }
            result = self.set_lines(lasting, lasting).await;
        }
        match result {
            Err(TransferError::Disconnected) => disconnected(&self.device_name),
            result => line_answer(result),
        }
    }

    async fn set_lines(&self, (dtr, rts): LineStates, lasting: LineStates) -> Result<(), TransferError> {
        let mut state = self.state.lock().await;
        let State { wanted, attached: Some((device, lines)), .. } = &mut *state else {
            return Err(TransferError::Disconnected);
        };
        lines.set_lines(&**device, dtr, rts).await?;
        *wanted = lines.wanted();
        wanted.dtr = lasting.0.or(wanted.dtr);
        wanted.rts = lasting.1.or(wanted.rts);
        Ok(())
    }

    async fn send_break(&self, time: Duration, unwanted: Unwanted<'_>) -> Answer {
        let Some((device, lines)) = self.state.lock().await.attached.clone() else {
            return disconnected(&self.device_name);
        };
        let ms = u16::try_from(time.as_millis()).unwrap_or(u16::MAX - 1);
        tokio::select! {
            sent = lines.function().send_break(&*device, ms) => done(sent),
            // Where the host ends a break, it does so when nobody waits for that any more.
            () = unwanted => disconnected(&self.device_name),
        }
    }

    async fn execute_on_device(&self, request: &SerialRequest, unwanted: Unwanted<'_>) -> Answer {
        let mut state = self.state.lock().await;
        let Some((device, mut lines)) = state.attached.clone() else { return disconnected(&self.device_name) };
        let device = &*device;
        let answer = match request {
            SerialRequest::Baud(baud) => {
                let ask = Ask { baud: Some(*baud), ..Ask::default() };
                done(self.set_coding(device, &mut lines, &mut state.coding, ask).await)
            }
            SerialRequest::Mode(mode) => {
                let ask = Ask { mode: Some(*mode), ..Ask::default() };
                done(self.set_coding(device, &mut lines, &mut state.coding, ask).await)
            }
            SerialRequest::Flow(flow) => {
                let result = lines.set_flow(device, *flow).await;
                if result.is_ok() {
                    state.coding.stands(Ask { flow: Some(*flow), ..Ask::default() });
                    self.shown.send_replace(state.coding.shown());
                }
                flow_answer(result)
            }
            SerialRequest::Reset(name) => self.reset(device, &mut lines, name.as_deref(), unwanted).await,
            SerialRequest::Touch => self.touch(device, &mut lines).await,
            SerialRequest::Lines => return self.describe(device, &lines).await,
            SerialRequest::Dtr(_) | SerialRequest::Rts(_) | SerialRequest::Break(_) => Answer::Ok(String::new()),
            SerialRequest::Release | SerialRequest::Reclaim => Answer::Ok(String::new()),
        };
        state.wanted = lines.wanted();
        if let SerialRequest::Baud(baud) = request {
            self.touched.store(*baud == TOUCH_BAUD, Ordering::Relaxed);
        }
        if let Some((_, kept)) = &mut state.attached {
            *kept = lines;
        }
        answer
    }

    async fn set_coding(
        &self,
        device: &dyn UsbDevice,
        lines: &mut Lines,
        coding: &mut Coding,
        ask: Ask,
    ) -> Result<(), TransferError> {
        // What was written before goes out as it was meant.
        let _hold = self.gate.hold();
        let _ = tokio::time::timeout(SENDING, self.gate.all_sent()).await;
        lines.set_coding(device, ask.baud, ask.mode).await?;
        coding.stands(ask);
        self.shown.send_replace(coding.shown());
        Ok(())
    }

    /// A program has opened a terminal: it finds the line as it was asked for.
    pub(super) async fn terminal_opened(&self) -> TerminalId {
        let mut terminal = None;
        self.change(|coding| {
            terminal = Some(coding.terminal_opened());
            coding.due()
        })
        .await;
        terminal.unwrap_or_default()
    }

    /// A program has set its terminal so.
    pub(super) async fn terminal_set(&self, terminal: TerminalId, settings: Settings) {
        self.change(|coding| coding.terminal_set(terminal, settings)).await;
    }

    /// A program has closed its terminal. The line goes back to what others asked for once all that it wrote is on its
    /// way, which `written` tells.
    pub(super) async fn terminal_closed(&self, terminal: TerminalId, written: impl Future<Output = ()>) {
        let mut state = self.state.lock().await;
        state.coding.terminal_closed(terminal);
        self.shown.send_replace(state.coding.shown());
        let is_attached = state.attached.is_some();
        drop(state);
        if is_attached {
            let _ = tokio::time::timeout(SENDING, written).await;
        }
        if self.was_touched() {
            // Another speed would call the board back, which takes its time to leave.
            let _ = tokio::time::timeout(TOUCH_PATIENCE, self.over.notified()).await;
        }
        self.change(Coding::due).await;
    }

    /// Has the device get what follows from what a program did; while it is away, it gets that when it is back.
    async fn change(&self, change: impl FnOnce(&mut Coding) -> Ask) {
        let mut state = self.state.lock().await;
        let ask = change(&mut state.coding);
        self.shown.send_replace(state.coding.shown());
        let State { coding, attached: Some((device, lines)), .. } = &mut *state else { return };
        if ask.is_nothing() {
            return;
        }
        tokio::select! {
            () = self.send(&**device, lines, coding, "a program") => {}
            () = self.over.notified() => {}
        }
    }

    /// Has the device get what is due, for which somebody asked.
    async fn send(&self, device: &dyn UsbDevice, lines: &mut Lines, coding: &mut Coding, who: &str) {
        let ask = coding.due();
        if let Some(baud) = ask.baud {
            self.touched.store(baud == TOUCH_BAUD, Ordering::Relaxed);
        }
        // What any program wrote before this was set goes out as before, and what it writes later in the new way.
        let _hold = self.gate.hold();
        let _ = tokio::time::timeout(SENDING, self.gate.all_sent()).await;
        if ask.baud.is_some() || ask.mode.is_some() {
            match lines.set_coding(device, ask.baud, ask.mode).await {
                Ok(()) => coding.sent(Ask { flow: None, ..ask }),
                Err(TransferError::Disconnected) => return,
                Err(e) => self.tell("error", format!("{who} asked for {ask}, but setting the line up failed: {e}")),
            }
        }
        let Some(flow) = ask.flow else { return };
        let answer = flow_answer(lines.set_flow(device, flow).await);
        // Also what is refused is not asked for again.
        coding.sent(Ask { flow: Some(flow), ..Ask::default() });
        if let Answer::Error { text, .. } = answer
            && !self.flow_refused.swap(true, Ordering::Relaxed)
        {
            self.tell("warning", format!("{who} asked for flow control {flow}: {text}"));
        }
    }

    /// One that nobody waits for any more goes through its last steps at once.
    async fn reset(
        &self,
        device: &dyn UsbDevice,
        lines: &mut Lines,
        name: Option<&str>,
        unwanted: Unwanted<'_>,
    ) -> Answer {
        let configured = lock(&self.config).profile.clone();
        let name = name.unwrap_or(&configured);
        let Some(steps) = profile(name, lines.is_dtr_on(device).await) else {
            let text = format!("there is no reset profile {name:?}; there are arduino, wiring and esp");
            return Answer::Error { name: ErrorName::Invalid, text };
        };
        let before = lines.wanted();
        let answer = self.play(device, lines, steps, name, unwanted).await;
        // What a reset did to lines that nobody had asked for is not to be repeated at the next attach.
        if before.dtr.is_none() && matches!(answer, Answer::Ok(_)) {
            *lines = Lines::new(*lines.function(), before);
        }
        answer
    }

    /// Runs the steps of a reset sequence while no byte goes out.
    async fn play(
        &self,
        device: &dyn UsbDevice,
        lines: &mut Lines,
        steps: Vec<Step>,
        name: &str,
        mut unwanted: Unwanted<'_>,
    ) -> Answer {
        let mut is_wanted = true;
        let _hold = self.gate.hold();
        for step in steps {
            let result = match step {
                Step::Lines { dtr, rts } => lines.set_lines(device, Some(dtr), Some(rts)).await,
                Step::Wait(time) => {
                    is_wanted = is_wanted && tokio::time::timeout(time, unwanted.as_mut()).await.is_err();
                    Ok(())
                }
                Step::Begin => {
                    self.openings.input.unmute();
                    Ok(())
                }
            };
            if result.is_err() {
                return line_answer(result);
            }
        }
        self.wait_for_boot();
        self.tell("reset", format!("the board was reset ({name})"));
        Answer::Ok(String::new())
    }

    /// 1200 baud with DTR off: boards with native USB go into their bootloader. Others get their speed back.
    async fn touch(&self, device: &dyn UsbDevice, lines: &mut Lines) -> Answer {
        let function = *lines.function();
        let before = match function.line_coding(device).await {
            Ok(coding) => coding,
            Err(e) => return done(Err(e)),
        };
        let low = crate::serial::LineCoding { baud: TOUCH_BAUD, ..before };
        let result = async {
            function.set_line_coding(device, low).await?;
            function.set_lines(device, false, false).await
        };
        if let Err(e) = result.await {
            return done(Err(e));
        }
        self.touched.store(true, Ordering::Relaxed);
        self.tell("reset", "the board was touched (1200 baud)");
        if tokio::time::timeout(TOUCH_PATIENCE, device.gone()).await.is_err() {
            self.touched.store(false, Ordering::Relaxed);
            return done(function.set_line_coding(device, before).await);
        }
        Answer::Ok(String::new())
    }

    async fn describe(&self, device: &dyn UsbDevice, lines: &Lines) -> Answer {
        let coding = match lines.function().line_coding(device).await {
            Ok(coding) => coding,
            Err(e) => return Answer::Error { name: error_name(e), text: e.to_string() },
        };
        let on_off = |line: Option<bool>| match line {
            Some(true) => "on",
            Some(false) => "off",
            None => "untouched",
        };
        let (wanted, now) = (lines.wanted(), device.modem_lines(lines.function().control_interface).await);
        let (dtr, rts) = (now.map(|l| l.dtr).or(wanted.dtr), now.map(|l| l.rts).or(wanted.rts));
        let mut text = format!("dtr={} rts={} baud={} mode={}", on_off(dtr), on_off(rts), coding.baud, coding.mode);
        if let Some(flow) = wanted.flow.filter(|flow| *flow != Flow::None) {
            text.push_str(&format!(" flow={flow}"));
        }
        let reported = match (now, *self.reported.borrow()) {
            (Some(l), _) => vec![("dcd", l.dcd), ("dsr", l.dsr), ("ring", l.ring), ("cts", l.cts)],
            (None, Some(state)) => vec![("dcd", state.dcd), ("dsr", state.dsr), ("ring", state.ring)],
            (None, None) => Vec::new(),
        };
        for (name, on) in reported {
            text.push_str(&format!(" {name}={}", on_off(Some(on))));
        }
        Answer::Ok(text)
    }

    /// Reads notifications until the session is over; one transfer waits in the device, nothing is polled.
    fn listen(&self, device: &Arc<dyn UsbDevice>, function: &Function) -> Option<Task> {
        let endpoint = function.notification?;
        let mut pipe = device.open_pipe(&endpoint).ok()?;
        let (events, name, line) = (self.events.clone(), self.device_name.clone(), self.line.clone());
        let reported = self.reported.clone();
        let task = tokio::spawn(async move {
            let room = NOTIFICATION_ROOM.div_ceil(endpoint.max_packet_size) * endpoint.max_packet_size;
            let mut transfer = Transfer::new(room);
            loop {
                transfer.length = room;
                pipe.submit(transfer);
                transfer = complete(&mut *pipe).await;
                if transfer.status.is_err() {
                    return;
                }
                if let Some(state) = parse_notification(transfer.received()) {
                    for complaint in state.complaints() {
                        events.emit_repeatedly("line", &name, &line, complaint.to_owned());
                    }
                    reported.send_replace(Some(state));
                }
            }
        });
        Some(Task(task.abort_handle()))
    }

    fn tell(&self, event: &str, text: impl Into<String>) {
        self.events.tell(event, &self.device_name, Some(&self.line), text);
    }
}

/// The answer to a request about DTR and RTS, which not every port has.
fn line_answer(result: Result<(), TransferError>) -> Answer {
    match result {
        Err(TransferError::Invalid) => {
            let text = "the port has no modem lines: DTR and RTS cannot be set on it".to_owned();
            Answer::Error { name: ErrorName::Invalid, text }
        }
        result => done(result),
    }
}

/// The answer to a request for flow control, which takes a port of the operating system.
fn flow_answer(result: Result<(), TransferError>) -> Answer {
    match result {
        Err(TransferError::Invalid) => {
            let text = "this line has none: CDC ACM has no request for it, and USB holds both sides up already; the \
                        system's serial port may have it (driver = \"kernel\")";
            Answer::Error { name: ErrorName::Invalid, text: text.to_owned() }
        }
        result => done(result),
    }
}

/// Resolves when nobody waits for the answer to a request any more.
type Unwanted<'a> = Pin<&'a mut (dyn Future<Output = ()> + Send)>;
/// DTR and RTS; what is `None` stays.
type LineStates = (Option<bool>, Option<bool>);

/// How long what was written before a change of the line may take to be sent.
const SENDING: Duration = Duration::from_secs(1);
/// How long a board may take to leave the bus after a touch; native-USB boards need 120 to 250 ms.
const TOUCH_PATIENCE: Duration = Duration::from_millis(700);
/// SERIAL_STATE has ten bytes.
const NOTIFICATION_ROOM: usize = 64;
