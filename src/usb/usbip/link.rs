//! Hot path. The task that owns a link to a USB/IP server.
//!
//! ```text
//!            commands           socket closed, I/O error, protocol broken, server silent
//!   open ───────────────► open ─────────────────────────────────────────────────────────► ended
//!            replies        │                                                               ▲
//!                           │ nobody commands it any more                                   │
//!                           └───────────────► closing ──► lingering ────────────────────────┘
//!                            what is in flight is unlinked   the server's own end
//! ```
//!
//! Once ended, every transfer comes back as disconnected, and `gone` says why. A server that loses its client while it
//! cancels something may not survive that, as the kernel's does not; so the socket is closed when nothing is in flight any more.
//!
//! It retries nothing: whoever wants the device again opens a new link.

use std::future::poll_fn;
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use usbip_wire::{Direction, Header, Submit, flags};

use super::inbound::Inbound;
use super::outbound::{MAX_SLICES, Outbound};
use super::table::{Entry, PipeId, Table};
use crate::usb::{Transfer, TransferError};

/// What pipes ask of their link.
pub(super) enum Command {
    /// Completions of `pipe` go to `completions` from now on.
    Open { pipe: PipeId, completions: mpsc::UnboundedSender<Completion> },
    /// Start a transfer.
    Submit(Submission),
    /// Cancel what is in flight on `pipe`.
    Cancel { pipe: PipeId },
    /// Cancel it, and forget what comes back.
    Close { pipe: PipeId },
    /// Cancel everything and close the link in order.
    End,
}

/// A transfer to start.
pub(super) struct Submission {
    pub(super) pipe: PipeId,
    /// Its place among the transfers of its pipe; comes back with it.
    pub(super) ordinal: u64,
    pub(super) endpoint: u8,
    pub(super) interval: u32,
    pub(super) setup: [u8; 8],
    pub(super) transfer: Transfer,
}

/// A transfer that has ended, and its place among those of its pipe. Cancelled ones come newest first, and what a peer
/// sends for one of them afterwards comes with its place once more.
pub(super) type Completion = (u64, Transfer);

/// The state of one link.
pub(super) struct Link {
    stream: TcpStream,
    devid: u32,
    commands: mpsc::UnboundedReceiver<Command>,
    pipes: Vec<OpenPipe>,
    table: Table,
    inbound: Inbound,
    outbound: Outbound,
    /// Whether what is in `outbound` goes out now.
    is_due: bool,
    /// Runs while an unlink awaits its answer.
    unlink_timer: Option<Pin<Box<Sleep>>>,
    /// When all that is being cancelled must be. Each transfer adds a little.
    unlink_deadline: Instant,
    /// Runs while a reply is expected although its transfer was unlinked.
    reply_timer: Option<Pin<Box<Sleep>>>,
    /// What of such a reply was there when the timer ended the last time.
    arrived: Option<(u32, usize)>,
    state: State,
}

enum State {
    Open,
    /// Nobody commands it any more; it is closed when nothing is in flight, or when this time is up.
    Closing(Pin<Box<Sleep>>),
    /// The server was told the end, and is given this time to say so, too.
    Lingering(Pin<Box<Sleep>>),
}

/// A pipe as its link sees it.
struct OpenPipe {
    id: PipeId,
    completions: mpsc::UnboundedSender<Completion>,
    in_flight: usize,
    /// Submits in `outbound` that can wait for company, see [`OpenPipe::is_due`].
    held: usize,
}

impl Link {
    pub(super) fn new(stream: TcpStream, devid: u32, commands: mpsc::UnboundedReceiver<Command>) -> Self {
        Self {
            stream,
            devid,
            commands,
            pipes: Vec::new(),
            table: Table::default(),
            inbound: Inbound::new(),
            outbound: Outbound::default(),
            is_due: false,
            unlink_timer: None,
            unlink_deadline: Instant::now(),
            reply_timer: None,
            arrived: None,
            state: State::Open,
        }
    }

    /// Runs until the link ends or nobody can command it any more; says why through `gone`.
    pub(super) async fn run(mut self, gone: watch::Sender<Option<String>>) {
        let reason = poll_fn(|cx| self.poll(cx)).await;
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            self.accept(command);
        }
        for entry in self.table.take_all() {
            finish(&mut self.pipes, Entry { transfer: entry.transfer.fail(TransferError::Disconnected), ..entry });
        }
        gone.send_replace(Some(reason));
    }

    /// Ready with the reason when the link has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<String> {
        loop {
            while let State::Open = self.state
                && let Poll::Ready(command) = self.commands.poll_recv(cx)
            {
                self.accept(command.unwrap_or(Command::End));
            }
            if let Poll::Ready(Err(e)) = self.poll_write(cx) {
                return Poll::Ready(describe(&e));
            }
            if let State::Closing(_) = self.state
                && self.table.is_empty()
                && self.outbound.is_empty()
            {
                // One that is gone already has nothing to be told.
                let _ = SockRef::from(&self.stream).shutdown(Shutdown::Write);
                self.state = State::Lingering(Box::pin(sleep(LINGER)));
            }
            match self.poll_read(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) if matches!(self.state, State::Lingering(_)) => return Poll::Ready(OWN_END.into()),
                Poll::Ready(Err(reason)) => return Poll::Ready(reason),
                Poll::Pending => match self.poll_reply_timer(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(reason)) => return Poll::Ready(reason),
                    Poll::Pending => return self.poll_end(cx),
                },
            }
        }
    }

    /// Ready when the time of the server or of the link is up.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<String> {
        if let State::Closing(limit) | State::Lingering(limit) = &mut self.state
            && limit.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(OWN_END.into());
        }
        self.poll_unlink_timer(cx)
    }

    fn accept(&mut self, command: Command) {
        match command {
            Command::Open { pipe, completions } => {
                self.pipes.push(OpenPipe { id: pipe, completions, in_flight: 0, held: 0 });
            }
            Command::Submit(submission) => self.submit(submission),
            Command::Cancel { pipe } => self.cancel(pipe),
            Command::Close { pipe } => {
                self.cancel(pipe);
                self.pipes.retain(|open| open.id != pipe);
            }
            Command::End => {
                self.commands.close();
                let cancelled = self.table.cancel(|_| true);
                self.begin_unlinks(cancelled);
                let limit = self.unlink_deadline.max(Instant::now() + UNLINK_TIMEOUT);
                self.state = State::Closing(Box::pin(sleep_until(limit)));
            }
        }
    }

    fn submit(&mut self, submission: Submission) {
        let Submission { pipe, ordinal, endpoint, interval, setup, transfer } = submission;
        let is_in = endpoint & 0x80 != 0;
        let seqnum = self.table.next_seqnum();
        let packets = u32::try_from(transfer.packets.len()).ok().filter(|&n| n > 0);
        let header = Header::Submit(Submit {
            seqnum,
            devid: self.devid,
            direction: if is_in { Direction::In } else { Direction::Out },
            endpoint: endpoint & 0x0f,
            flags: if packets.is_some() { flags::ISO_ASAP } else { 0 },
            length: transfer.length as u32,
            start_frame: 0,
            packets,
            interval,
            setup,
        });
        let data = if is_in { 0 } else { transfer.length };
        self.table.insert(seqnum, Entry { transfer, pipe, ordinal, is_in, sent: false, unlinking: false, late: false });
        self.outbound.push_submit(header.encode(), seqnum, data, &self.table);
        let can_wait = is_in && packets.is_none();
        match self.pipes.iter_mut().find(|open| open.id == pipe) {
            Some(open) => self.is_due |= open.submitted(can_wait),
            None => self.is_due = true,
        }
    }

    fn cancel(&mut self, pipe: PipeId) {
        let cancelled = self.table.cancel(|entry| entry.pipe == pipe);
        self.begin_unlinks(cancelled);
    }

    /// So many transfers more are to be unlinked.
    fn begin_unlinks(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        if self.unlink_timer.is_none() {
            self.unlink_deadline = Instant::now() + UNLINK_TIMEOUT;
        }
        self.unlink_deadline += ONE_MORE * count as u32;
        self.next_unlink();
    }

    /// Sends the next unlink, unless one awaits its answer.
    fn next_unlink(&mut self) {
        if self.table.has_unlink() {
            return;
        }
        self.unlink_timer = None;
        let Some((seqnum, victim)) = self.table.next_unlink() else { return };
        let Some(entry) = self.table.get(victim) else { return };
        let direction = if entry.is_in { Direction::In } else { Direction::Out };
        let unlink = Header::Unlink { seqnum, devid: self.devid, direction, endpoint: 0, victim };
        self.outbound.push_header(unlink.encode());
        self.is_due = true;
        let limit = self.unlink_deadline.min(Instant::now() + UNLINK_TIMEOUT);
        self.unlink_timer = Some(Box::pin(sleep_until(limit)));
    }

    /// Writes until nothing is left that is due, or the socket is full.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_due {
            return Poll::Ready(Ok(()));
        }
        while !self.outbound.is_empty() {
            ready!(self.stream.poll_write_ready(cx))?;
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let n = self.outbound.slices(&self.table, &mut slices);
            match self.stream.try_write_vectored(&slices[..n]) {
                Ok(n) => self.outbound.advance(n, &mut self.table),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
        self.is_due = false;
        self.pipes.iter_mut().for_each(|open| open.held = 0);
        Poll::Ready(Ok(()))
    }

    /// One read, and what follows from it.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        loop {
            ready!(self.stream.poll_read_ready(cx)).map_err(|e| describe(&e))?;
            let stream = &self.stream;
            match self.inbound.fill(&mut self.table, |slices| read(stream, slices)) {
                Ok(0) => return Poll::Ready(Err("the server closed the connection".into())),
                Ok(_) => {
                    let (pipes, is_due) = (&mut self.pipes, &mut self.is_due);
                    let done = |entry| *is_due |= finish(pipes, entry);
                    self.inbound.process(&mut self.table, done).map_err(|e| format!("the server broke USB/IP: {e}"))?;
                    if self.unlink_timer.is_some() {
                        self.unlink_answered();
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(describe(&e))),
            }
        }
    }

    /// Goes on with what is to be unlinked, if the last unlink has been answered.
    fn unlink_answered(&mut self) {
        self.next_unlink();
        if self.reply_timer.is_none() && self.table.expects_reply() {
            self.reply_timer = Some(Box::pin(sleep(REPLY_PATIENCE)));
        }
    }

    /// Gives up replies that are expected in vain. Ready when the timer has ended, with a reason when the server has
    /// stopped in the middle of one.
    fn poll_reply_timer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        let Some(timer) = &mut self.reply_timer else { return Poll::Pending };
        ready!(timer.as_mut().poll(cx));
        self.reply_timer = None;
        let arriving = self.inbound.arriving();
        for entry in self.table.give_up_expected(|seqnum| arriving.is_some_and(|(current, _)| current == seqnum)) {
            self.is_due |= finish(&mut self.pipes, entry);
        }
        let before = std::mem::replace(&mut self.arrived, arriving);
        if self.table.expects_reply() {
            if before == arriving {
                return Poll::Ready(Err(format!("the server stopped in a reply for {} s", UNLINK_TIMEOUT.as_secs())));
            }
            self.reply_timer = Some(Box::pin(sleep(UNLINK_TIMEOUT)));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_unlink_timer(&mut self, cx: &mut Context<'_>) -> Poll<String> {
        let Some(timer) = &mut self.unlink_timer else { return Poll::Pending };
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(format!("the server did not answer a cancellation for {} s", UNLINK_TIMEOUT.as_secs()))
    }
}

/// A read that leaves room has emptied the socket, so the next one waits for the reactor's word: no system call is
/// spent on being told that there is nothing.
fn read(stream: &TcpStream, slices: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    let room: usize = slices.iter().map(|slice| slice.len()).sum();
    let mut last = None;
    let result = stream.try_io(Interest::READABLE, || match (&*SockRef::from(stream)).read_vectored(slices)? {
        n if 0 < n && n < room => {
            last = Some(n);
            Err(io::ErrorKind::WouldBlock.into())
        }
        n => Ok(n),
    });
    last.map_or(result, Ok)
}

/// Gives an ended transfer back to its pipe; a pipe that has been closed wants it no more. True when submits of this
/// pipe that waited are due now.
fn finish(pipes: &mut [OpenPipe], entry: Entry) -> bool {
    let Some(open) = pipes.iter_mut().find(|open| open.id == entry.pipe) else { return false };
    if entry.late {
        // The pipe has had this transfer back; only the data is news, however the transfer ended.
        let status = entry.transfer.status.map_err(|_| TransferError::Cancelled);
        if entry.transfer.actual > 0 {
            let _ = open.completions.send((entry.ordinal, Transfer { status, ..entry.transfer }));
        }
        return false;
    }
    open.in_flight -= 1;
    let _ = open.completions.send((entry.ordinal, entry.transfer));
    open.is_due()
}

impl OpenPipe {
    /// Takes note of a submit; true when it must go out now.
    fn submitted(&mut self, can_wait: bool) -> bool {
        self.in_flight += 1;
        self.held += usize::from(can_wait);
        !can_wait || self.is_due()
    }

    /// IN transfers that go back into flight one by one would each cost a write here and a wakeup there. While at
    /// least half of the pipe's are on the wire, the others wait for something that goes out anyway.
    fn is_due(&self) -> bool {
        self.held > 0 && self.held * 2 >= self.in_flight
    }
}

fn describe(error: &io::Error) -> String {
    format!("the connection failed: {error}")
}

/// How long a server may take to answer an unlink before it is taken for dead.
const UNLINK_TIMEOUT: Duration = Duration::from_secs(3);
/// How much longer a server may take in all for each transfer that is cancelled: a slow round trip.
const ONE_MORE: Duration = Duration::from_millis(100);
/// How long after an unlink that came too late its reply may come. It was sent before, or is about to be.
const REPLY_PATIENCE: Duration = Duration::from_millis(500);
/// How long a server may take to close its side.
const LINGER: Duration = Duration::from_millis(500);
const OWN_END: &str = "closed by this side";
