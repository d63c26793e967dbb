//! One network client: its bytes to and from the line, and for RFC 2217 its requests.
//!
//! Two halves run side by side. What is received is handled in order: a request is carried out before the bytes behind it
//! go to the line. What is sent is the line's bytes with answers between them. A client that does not read its answers is
//! not read either, so that nothing grows.

use std::time::Duration;

use futures_util::FutureExt;
use rfc2217_wire::{
    Decoder, Item, Message, Options, Sender, Side, Verb, control, escape, modem_state, option, purge, put_negotiation,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use super::NetworkLine;
use super::connection::{LineEnds, ToLine};
use super::resets::{Change, Recogniser, Reset};
use crate::config::{Flow, ModemLinesPolicy, Parity, SerialMode, StopBits};
use crate::request::{Answer, Line, SerialRequest};
use crate::serial::{EspBridge, esp_bootloader};
use crate::session::coding::{Ask, TerminalId};
use crate::session::hub::Via;
use crate::usb::ModemLines;

/// Serves a client until it goes, or the line lets it go.
pub(super) async fn serve(stream: TcpStream, ends: LineEnds, via: Via, line: NetworkLine) {
    let LineEnds { from_line, to_line, written, gone } = ends;
    let (reading, writing) = stream.into_split();
    let (outgoing, to_send) = mpsc::channel(OUTGOING);
    let terminal = line.serial.terminal_opened().await;
    let is_telnet = via == Via::Rfc2217;
    let mut client = Client::new(line.clone(), terminal, to_line, outgoing);
    tokio::select! {
        () = send(writing, from_line, to_send, is_telnet) => {}
        () = client.run_until_gone(reading, is_telnet) => {}
    }
    let last = client.lines.next(Change::Closed);
    if client.is_break {
        line.serial.set_break(false).await;
    }
    drop((client, gone));
    line.serial.terminal_closed(terminal, async { drop(written.await) }).await;
    line.run(last).await;
}

/// What goes to the client beside the line's bytes.
enum Outgoing {
    Bytes(Vec<u8>),
    /// The client can take no data, or can again.
    Suspend(bool),
    /// The client wants nothing of what was received and not sent.
    Purge,
}

/// Returns when the client or the line has gone.
async fn send(
    mut writing: OwnedWriteHalf,
    mut from_line: DuplexStream,
    mut to_send: mpsc::Receiver<Outgoing>,
    is_telnet: bool,
) {
    let (mut bytes, mut escaped) = (vec![0; CHUNK], Vec::new());
    let mut is_suspended = false;
    loop {
        let out = tokio::select! {
            biased;
            Some(next) = to_send.recv() => match next {
                Outgoing::Bytes(answer) => {
                    escaped = answer;
                    &escaped[..]
                }
                Outgoing::Suspend(is) => {
                    is_suspended = is;
                    continue;
                }
                Outgoing::Purge => {
                    while let Some(Ok(1..)) = from_line.read(&mut bytes).now_or_never() {}
                    continue;
                }
            },
            read = from_line.read(&mut bytes), if !is_suspended => match read {
                Ok(0) | Err(_) => break,
                Ok(n) if is_telnet => {
                    escaped.clear();
                    escape(&bytes[..n], &mut escaped);
                    &escaped[..]
                }
                Ok(n) => &bytes[..n],
            },
        };
        if writing.write_all(out).await.is_err() {
            return;
        }
    }
    let _ = writing.shutdown().await;
}

/// The receiving half.
struct Client {
    line: NetworkLine,
    terminal: TerminalId,
    to_line: ToLine,
    outgoing: mpsc::Sender<Outgoing>,
    options: Options,
    lines: Recogniser,
    is_break: bool,
    modem_mask: u8,
    modem_sent: Option<u8>,
    /// The client refused binary transmission: a CR that is data is followed by NUL (RFC 854).
    is_text: bool,
    was_cr: bool,
}

/// The client has gone, or the line has let it go.
struct Gone;

impl Client {
    fn new(line: NetworkLine, terminal: TerminalId, to_line: ToLine, outgoing: mpsc::Sender<Outgoing>) -> Self {
        Self {
            line,
            terminal,
            to_line,
            outgoing,
            options: Options::new(&OPTIONS),
            lines: Recogniser::default(),
            is_break: false,
            modem_mask: u8::MAX,
            modem_sent: None,
            is_text: false,
            was_cr: false,
        }
    }

    async fn run_until_gone(&mut self, reading: OwnedReadHalf, is_telnet: bool) {
        if is_telnet {
            return self.receive(reading).await;
        }
        self.receive_raw(reading).await;
        // A program that has written its last may still wait for the answer.
        tokio::time::sleep(LAST_ANSWER).await;
    }

    async fn receive_raw(&mut self, mut reading: OwnedReadHalf) {
        let mut bytes = vec![0; CHUNK];
        while let Ok(n @ 1..) = reading.read(&mut bytes).await {
            if self.to_line.write_all(&bytes[..n]).await.is_err() {
                return;
            }
        }
    }

    async fn receive(&mut self, mut reading: OwnedReadHalf) {
        let (mut decoder, mut bytes) = (Decoder::default(), vec![0; CHUNK]);
        if self.offer().await.is_err() {
            return;
        }
        let mut reports = self.line.serial.reports();
        loop {
            let read = tokio::select! {
                read = reading.read(&mut bytes) => read,
                Ok(()) = reports.changed() => {
                    if self.notify_modem_state().await.is_err() {
                        return;
                    }
                    continue;
                }
                () = tokio::time::sleep(MODEM_STATE), if self.modem_sent.is_some() => {
                    if self.notify_modem_state().await.is_err() {
                        return;
                    }
                    continue;
                }
            };
            let Ok(n @ 1..) = read else { return };
            let mut rest = &bytes[..n];
            while let Some(item) = decoder.next(&mut rest) {
                if self.handle(item).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Has the client know what this end can do.
    async fn offer(&mut self) -> Result<(), Gone> {
        let mut out = Vec::new();
        for (side, option) in OFFERED {
            if let Some((verb, option)) = self.options.request(side, option) {
                put_negotiation(verb, option, &mut out);
            }
        }
        self.send(out).await
    }

    async fn handle(&mut self, item: Item<'_>) -> Result<(), Gone> {
        match item {
            Item::Data(data) => self.data(data).await,
            Item::Negotiation(verb, option) => self.negotiate(verb, option).await,
            Item::Subnegotiation { option: option::COM_PORT, payload } => match Message::decode(payload) {
                Ok((Sender::Client, message)) => self.answer(message).await,
                Ok((Sender::Server, _)) => Ok(()),
                Err(why) => {
                    self.line.complain(&why.to_string());
                    Ok(())
                }
            },
            Item::TooLong { option } => {
                self.line.complain(&format!("parameters of telnet option {option} that are too long were dropped"));
                Ok(())
            }
            Item::Subnegotiation { .. } | Item::Command(_) => Ok(()),
        }
    }

    async fn data(&mut self, data: &[u8]) -> Result<(), Gone> {
        if !self.is_text {
            return self.to_line.write_all(data).await.map_err(|_| Gone);
        }
        let mut kept = Vec::with_capacity(data.len());
        for &byte in data {
            if byte != 0 || !self.was_cr {
                kept.push(byte);
            }
            self.was_cr = byte == b'\r';
        }
        self.to_line.write_all(&kept).await.map_err(|_| Gone)
    }

    async fn negotiate(&mut self, verb: Verb, option: u8) -> Result<(), Gone> {
        let was_on = self.uses_com_port();
        if option == option::BINARY && matches!(verb, Verb::Will | Verb::Wont) {
            self.is_text = verb == Verb::Wont;
        }
        if let Some((verb, option)) = self.options.receive(verb, option) {
            let mut out = Vec::new();
            put_negotiation(verb, option, &mut out);
            self.send(out).await?;
        }
        if self.uses_com_port() && !was_on {
            self.notify_modem_state().await?;
        }
        Ok(())
    }

    fn uses_com_port(&self) -> bool {
        [Side::Local, Side::Remote].into_iter().any(|side| self.options.is_on(side, option::COM_PORT))
    }

    async fn answer(&mut self, request: Message<'_>) -> Result<(), Gone> {
        let answer = match request {
            Message::Signature(b"") => return self.reply(Message::Signature(SIGNATURE.as_bytes())).await,
            Message::Signature(_) | Message::LineState(_) | Message::ModemState(_) => return Ok(()),
            Message::BaudRate(0) => Message::BaudRate(self.baud().await),
            Message::BaudRate(baud) => {
                self.ask(Ask { baud: Some(baud), ..Ask::default() }).await;
                self.run(Change::Baud(baud)).await;
                Message::BaudRate(self.baud().await)
            }
            Message::DataSize(size) => {
                self.set_mode((5..=8).contains(&size).then_some(()), |mode| mode.data_bits = size).await;
                Message::DataSize(self.mode().await.data_bits)
            }
            Message::Parity(parity) => {
                self.set_mode(parity_of(parity), |mode| mode.parity = parity_of(parity).unwrap_or(mode.parity)).await;
                Message::Parity(self.mode().await.parity as u8 + 1)
            }
            Message::StopSize(size) => {
                self.set_mode(stop_bits_of(size), |m| m.stop_bits = stop_bits_of(size).unwrap_or(m.stop_bits)).await;
                Message::StopSize(stop_size(self.mode().await.stop_bits))
            }
            Message::Control(value) => Message::Control(self.control(value).await),
            Message::FlowSuspend | Message::FlowResume => {
                return self.outgoing(Outgoing::Suspend(request == Message::FlowSuspend)).await;
            }
            // A line of this program has no notification of the UART's line state.
            Message::LineStateMask(_) => Message::LineStateMask(0),
            Message::ModemStateMask(mask) => {
                self.modem_mask = mask;
                self.modem_sent = None;
                self.reply(Message::ModemStateMask(mask)).await?;
                return self.notify_modem_state().await;
            }
            Message::Purge(what) => {
                if what == purge::RECEIVED || what == purge::BOTH {
                    self.outgoing(Outgoing::Purge).await?;
                }
                if what == purge::TO_SEND || what == purge::BOTH {
                    self.to_line.purge();
                }
                Message::Purge(what)
            }
        };
        self.reply(answer).await
    }

    async fn control(&mut self, value: u8) -> u8 {
        match value {
            control::FLOW_NONE | control::FLOW_XON_XOFF | control::FLOW_RTS_CTS => {
                let flow = match value {
                    control::FLOW_XON_XOFF => Flow::XonXoff,
                    control::FLOW_RTS_CTS => Flow::RtsCts,
                    _ => Flow::None,
                };
                self.ask(Ask { flow: Some(flow), ..Ask::default() }).await;
                self.flow().await
            }
            control::FLOW_QUERY => self.flow().await,
            // Flow control is that of both directions.
            control::INBOUND_FLOW_QUERY..=control::INBOUND_FLOW_RTS_CTS => {
                self.flow().await + control::INBOUND_FLOW_QUERY
            }
            control::BREAK_ON | control::BREAK_OFF => {
                let is_on = value == control::BREAK_ON;
                if let Answer::Ok(_) = self.line.serial.set_break(is_on).await {
                    self.is_break = is_on;
                }
                self.break_state()
            }
            control::BREAK_QUERY => self.break_state(),
            control::DTR_ON | control::DTR_OFF => {
                self.run(Change::Dtr(value == control::DTR_ON)).await;
                value
            }
            control::RTS_ON | control::RTS_OFF => {
                self.run(Change::Rts(value == control::RTS_ON)).await;
                value
            }
            control::DTR_QUERY => {
                if self.lines.dtr() {
                    control::DTR_ON
                } else {
                    control::DTR_OFF
                }
            }
            control::RTS_QUERY => {
                if self.lines.rts() {
                    control::RTS_ON
                } else {
                    control::RTS_OFF
                }
            }
            other => other,
        }
    }

    fn break_state(&self) -> u8 {
        if self.is_break { control::BREAK_ON } else { control::BREAK_OFF }
    }

    /// A change of the lines or of the speed: what it completes is run, or it is passed on, as configured.
    async fn run(&mut self, change: Change) {
        let reset = self.lines.next(change);
        match (self.line.config.modem_lines, change) {
            (ModemLinesPolicy::Resets, _) => self.line.run(reset).await,
            (ModemLinesPolicy::Pass, Change::Dtr(is_on)) => self.line.pass(SerialRequest::Dtr(level(is_on))).await,
            (ModemLinesPolicy::Pass, Change::Rts(is_on)) => self.line.pass(SerialRequest::Rts(level(is_on))).await,
            (ModemLinesPolicy::Pass | ModemLinesPolicy::Ignore, _) => {}
        }
    }

    async fn ask(&self, ask: Ask) {
        self.line.serial.client_asks(self.terminal, ask).await;
    }

    async fn set_mode<T>(&self, is_valid: Option<T>, set: impl FnOnce(&mut SerialMode)) {
        if is_valid.is_some() {
            let mut mode = self.mode().await;
            set(&mut mode);
            self.ask(Ask { mode: Some(mode), ..Ask::default() }).await;
        }
    }

    async fn baud(&self) -> u32 {
        self.line.serial.settings_in_force().await.baud.unwrap_or(9600)
    }

    async fn mode(&self) -> SerialMode {
        let usual = SerialMode { data_bits: 8, parity: Parity::None, stop_bits: StopBits::One };
        self.line.serial.settings_in_force().await.mode.unwrap_or(usual)
    }

    async fn flow(&self) -> u8 {
        match self.line.serial.settings_in_force().await.flow {
            Some(Flow::XonXoff) => control::FLOW_XON_XOFF,
            Some(Flow::RtsCts) => control::FLOW_RTS_CTS,
            Some(Flow::None) | None => control::FLOW_NONE,
        }
    }

    /// Sends the state of the modem lines where it is other than the client knows, with the lines that have changed.
    async fn notify_modem_state(&mut self) -> Result<(), Gone> {
        if !self.uses_com_port() {
            return Ok(());
        }
        let now = modem_bits(self.line.serial.modem_lines().await) & (self.modem_mask | 0x0f);
        let changed = self.modem_sent.map_or(0, |before| (before ^ now) >> 4);
        if self.modem_sent == Some(now) {
            return Ok(());
        }
        self.modem_sent = Some(now);
        self.reply(Message::ModemState(now | changed)).await
    }

    async fn reply(&self, message: Message<'_>) -> Result<(), Gone> {
        let mut out = Vec::new();
        message.encode(Sender::Server, &mut out);
        self.send(out).await
    }

    async fn send(&self, out: Vec<u8>) -> Result<(), Gone> {
        self.outgoing(Outgoing::Bytes(out)).await
    }

    async fn outgoing(&self, what: Outgoing) -> Result<(), Gone> {
        self.outgoing.send(what).await.map_err(|_| Gone)
    }
}

impl NetworkLine {
    /// Runs a reset beside the board, by the sequence that fits it.
    async fn run(&self, reset: Option<Reset>) {
        let (Some(reset), ModemLinesPolicy::Resets) = (reset, self.config.modem_lines) else { return };
        let board = self.board();
        let answer = match reset {
            Reset::Touch => self.serial.execute(&SerialRequest::Touch).await,
            Reset::Pulse if matches!(board, Board::Arduino | Board::Other) => {
                self.serial.execute(&SerialRequest::Reset(None)).await
            }
            Reset::EspApplication if board != Board::Arduino => {
                self.serial.execute(&SerialRequest::Reset(Some("esp".to_owned()))).await
            }
            Reset::EspBootloader if board != Board::Arduino => {
                let bridge = if board == Board::EspUsb { EspBridge::UsbSerialJtag } else { EspBridge::Uart };
                self.serial.run_sequence(esp_bootloader(bridge), "bootloader of the ESP").await
            }
            _ => return,
        };
        self.report(answer);
    }

    async fn pass(&self, request: SerialRequest) {
        let answer = self.serial.execute(&request).await;
        self.report(answer);
    }

    fn report(&self, answer: Answer) {
        if let Answer::Error { text, .. } = answer {
            self.complain(&text);
        }
    }
}

/// What the ids or the configuration say of a board's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Board {
    Arduino,
    /// An ESP behind a UART bridge.
    Esp,
    /// An ESP with USB-Serial-JTAG.
    EspUsb,
    /// A UART bridge that either may have.
    Other,
}

impl NetworkLine {
    fn board(&self) -> Board {
        let ids = self.shared.descriptors().map(|d| (d.vendor_id, d.product_id));
        match ids {
            Some(ESP_USB_SERIAL_JTAG) => Board::EspUsb,
            Some((ESPRESSIF, _)) => Board::Esp,
            Some((vendor, _)) if ARDUINO.contains(&vendor) => Board::Arduino,
            _ if self.serial.profile() == "esp" => Board::Esp,
            _ => Board::Other,
        }
    }
}

fn level(is_on: bool) -> Line {
    if is_on { Line::On } else { Line::Off }
}

fn parity_of(value: u8) -> Option<Parity> {
    [Parity::None, Parity::Odd, Parity::Even, Parity::Mark, Parity::Space].into_iter().find(|p| *p as u8 + 1 == value)
}

fn stop_bits_of(size: u8) -> Option<StopBits> {
    [StopBits::One, StopBits::Two, StopBits::OnePointFive].into_iter().find(|bits| stop_size(*bits) == size)
}

fn stop_size(bits: StopBits) -> u8 {
    match bits {
        StopBits::One => 1,
        StopBits::Two => 2,
        StopBits::OnePointFive => 3,
    }
}

/// Without modem lines a port looks like one of CDC ACM: it may always be sent to.
fn modem_bits(lines: Option<ModemLines>) -> u8 {
    let Some(lines) = lines else { return modem_state::CTS };
    let bits = [
        (lines.dcd, modem_state::CD),
        (lines.ring, modem_state::RI),
        (lines.dsr, modem_state::DSR),
        (lines.cts, modem_state::CTS),
    ];
    bits.into_iter().filter(|(is_on, _)| *is_on).fold(0, |all, (_, bit)| all | bit)
}

/// What either end may use.
const OPTIONS: [(Side, u8); 7] = [
    (Side::Local, option::BINARY),
    (Side::Local, option::ECHO),
    (Side::Local, option::SUPPRESS_GO_AHEAD),
    (Side::Local, option::COM_PORT),
    (Side::Remote, option::BINARY),
    (Side::Remote, option::SUPPRESS_GO_AHEAD),
    (Side::Remote, option::COM_PORT),
];
/// What the server asks for by itself.
const OFFERED: [(Side, u8); 4] = [
    (Side::Local, option::BINARY),
    (Side::Local, option::SUPPRESS_GO_AHEAD),
    (Side::Remote, option::BINARY),
    (Side::Remote, option::COM_PORT),
];
const SIGNATURE: &str = concat!("usbpipe ", env!("CARGO_PKG_VERSION"));
const ESPRESSIF: u16 = 0x303a;
const ESP_USB_SERIAL_JTAG: (u16, u16) = (ESPRESSIF, 0x1001);
/// arduino.cc and arduino.org.
const ARDUINO: [u16; 2] = [0x2341, 0x2a03];
/// Bytes read at once.
const CHUNK: usize = 64 * 1024;
/// Answers that may wait for a client that does not read.
const OUTGOING: usize = 32;
/// How often the modem lines of a port are looked at while a client wants to know of them.
const MODEM_STATE: Duration = Duration::from_millis(250);
/// How long the line's bytes still go to a client that has closed its own direction.
const LAST_ANSWER: Duration = Duration::from_secs(1);
