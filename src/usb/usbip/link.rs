//! Hot path. The task that owns a link to a USB/IP server.
//!
//! ```text
//!            commands          ┌── socket closed, I/O error, protocol broken, server silent
//!   open ───────────────► open ┤
//!            replies           └──► ended: every transfer comes back as disconnected, `gone` says why
//! ```
//!
//! It retries nothing: whoever wants the device again opens a new link.

use std::future::poll_fn;
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Sleep, sleep};
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

/// A transfer that has ended, and its place among those of its pipe. Cancelled ones come newest first.
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
            while let Poll::Ready(command) = self.commands.poll_recv(cx) {
                match command {
                    Some(command) => self.accept(command),
                    None => return Poll::Ready("closed by this side".into()),
                }
            }
            if let Poll::Ready(Err(e)) = self.poll_write(cx) {
                return Poll::Ready(describe(&e));
            }
            match self.poll_read(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(reason)) => return Poll::Ready(reason),
                Poll::Pending => return self.poll_unlink_timer(cx),
            }
        }
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
        self.table.insert(seqnum, Entry { transfer, pipe, ordinal, is_in, sent: false, unlinking: false });
        self.outbound.push_submit(header.encode(), seqnum, data, &self.table);
        let can_wait = is_in && packets.is_none();
        match self.pipes.iter_mut().find(|open| open.id == pipe) {
            Some(open) => self.is_due |= open.submitted(can_wait),
            None => self.is_due = true,
        }
    }

    fn cancel(&mut self, pipe: PipeId) {
        for (seqnum, victim) in self.table.unlink_pipe(pipe) {
            let Some(entry) = self.table.get(victim) else { continue };
            let direction = if entry.is_in { Direction::In } else { Direction::Out };
            let unlink = Header::Unlink { seqnum, devid: self.devid, direction, endpoint: 0, victim };
            self.outbound.push_header(unlink.encode());
            self.is_due = true;
        }
        if self.table.has_unlinks() && self.unlink_timer.is_none() {
            self.unlink_timer = Some(Box::pin(sleep(UNLINK_TIMEOUT)));
        }
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
                    if !self.table.has_unlinks() {
                        self.unlink_timer = None;
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(describe(&e))),
            }
        }
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
