//! Hot path. Everybody who writes one OUT pipe: the programs behind its FIFO, and any number of clients.
//!
//! They take turns, a message each. Where there are no messages, only bytes, a turn is what one read gives; a writer
//! whose read filled the buffer may have been cut in the middle of what it wrote at once, so it goes on until everything
//! is read that waited when its turn began. No write of at most PIPE_BUF bytes is split then: pipe(7).
//!
//! It refuses to know where clients come from: they are handed in, from any task, through [`NewWriter`]s.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::mpsc::UnboundedReceiver;

use super::cutter::Cutter;
use super::frame::Framing;
use super::readers::Guest;
use super::{Account, Counters};
use crate::outlet::{OutFifo, Source, StandingSource};

/// A program that becomes a writer of an OUT pipe.
pub struct NewWriter {
    /// Where its bytes come from.
    pub source: Box<dyn Source>,
    /// What it gave.
    pub account: Arc<Account>,
    /// Who it is.
    pub guest: Box<dyn Guest>,
}

/// Everybody who writes one OUT pipe.
pub struct Writers<F = OutFifo> {
    /// The outlet that stands, where there is one.
    pub fifo: Option<F>,
    fifo_account: Arc<Account>,
    fifo_cutter: Cutter,
    /// Whether programs write the FIFO, or have left bytes in it.
    present: bool,
    clients: Vec<Client>,
    arrivals: UnboundedReceiver<NewWriter>,
    /// One at a time: the FIFO waits while a client is there.
    exclusive: bool,
    framing: Framing,
    /// Bytes a message, at most.
    size: usize,
    /// Whose turn it is: 0 is the FIFO, 1 the first client.
    turn: usize,
    turn_is: Turn,
}

struct Client {
    cutter: Cutter,
    new: NewWriter,
}

/// How far a turn is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// It has not begun.
    New,
    /// Its last read filled the buffer, so that it may have been cut in the middle of a write.
    Cut,
    /// So many bytes are to be read before it is the next one's turn.
    Left(usize),
}

impl<F: StandingSource> Writers<F> {
    /// Writers that come through `fifo` and from `arrivals`; with `exclusive` one at a time.
    pub fn new(
        fifo: Option<F>,
        fifo_account: Arc<Account>,
        arrivals: UnboundedReceiver<NewWriter>,
        exclusive: bool,
    ) -> Self {
        Self {
            fifo,
            fifo_account,
            fifo_cutter: Cutter::Whole,
            present: false,
            clients: Vec::new(),
            arrivals,
            exclusive,
            framing: Framing::Stream,
            size: 0,
            turn: 0,
            turn_is: Turn::New,
        }
    }

    /// Whether anybody writes, or has left bytes. This looks at the outlets themselves.
    pub fn is_open(&mut self) -> bool {
        while let Ok(new) = self.arrivals.try_recv() {
            self.welcome(new);
        }
        !self.clients.is_empty() || self.fifo.as_ref().is_some_and(StandingSource::is_open)
    }

    /// Ready when anybody writes.
    pub fn poll_opened(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_arrivals(cx);
        if !self.clients.is_empty() {
            return Poll::Ready(());
        }
        match &mut self.fifo {
            Some(fifo) if fifo.is_open() => Poll::Ready(()),
            Some(fifo) => fifo.poll_came(cx),
            None => Poll::Pending,
        }
    }

    /// While the device is away: clients that leave without having written anything are forgotten.
    pub fn poll_idle(&mut self, cx: &mut Context<'_>) {
        self.poll_arrivals(cx);
        let before = self.clients.len();
        self.clients.retain_mut(|client| client.new.source.poll_left(cx).is_pending());
        if self.clients.len() < before {
            self.pass_turn(0);
        }
    }

    /// The outlet that stands has ended. Ends the connections of all clients, and says how many bytes they had written that nobody will read.
    pub fn dismiss(&mut self) -> usize {
        self.pass_turn(0);
        self.present = false;
        self.fifo_account.end();
        self.clients.drain(..).map(|client| client.new.source.waiting()).sum()
    }

    /// A pump starts: how it wants its messages.
    pub(super) fn start(&mut self, framing: Framing, size: usize) {
        if (self.framing, self.size) != (framing, size) {
            (self.framing, self.size) = (framing, size);
            self.fifo_cutter = Cutter::new(framing, size);
            for client in &mut self.clients {
                client.cutter = cutter(&client.new, framing, size);
            }
        }
        let is_open = self.fifo.as_ref().is_some_and(StandingSource::is_open);
        if is_open && !std::mem::replace(&mut self.present, is_open) {
            self.fifo_account.begin();
        }
    }

    /// Puts the next message into `out` and gives its length; `None` when nobody writes any more.
    ///
    /// # Errors
    /// When the FIFO itself fails.
    pub(super) fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut [u8],
        counters: &Counters,
    ) -> Poll<io::Result<Option<usize>>> {
        self.poll_arrivals(cx);
        self.poll_came(cx);
        let mut waiting = 0;
        while waiting <= self.clients.len() {
            let read = match self.turn {
                0 => self.poll_fifo(cx, out, counters)?,
                _ => self.poll_client(cx, out, counters),
            };
            match read {
                Poll::Ready(Some(n)) => return Poll::Ready(Ok(Some(n))),
                // Somebody has gone, and everybody else is to be asked again.
                Poll::Ready(None) => waiting = 0,
                Poll::Pending => {
                    waiting += 1;
                    self.pass_turn(self.turn + 1);
                }
            }
        }
        if self.clients.is_empty() && !self.present { Poll::Ready(Ok(None)) } else { Poll::Pending }
    }

    fn poll_fifo(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut [u8],
        counters: &Counters,
    ) -> io::Result<Poll<Option<usize>>> {
        let waits = self.exclusive && !self.clients.is_empty();
        let Some(fifo) = self.fifo.as_mut().filter(|_| self.present && !waits) else { return Ok(Poll::Pending) };
        let turn_is = begin(self.turn_is, fifo, &self.fifo_cutter, !self.clients.is_empty());
        let room = room(turn_is, out.len());
        match self.fifo_cutter.poll_message(cx, fifo, &mut out[..room], counters) {
            Poll::Pending => Ok(Poll::Pending),
            Poll::Ready(Err(e)) => Err(e),
            Poll::Ready(Ok(None)) => {
                self.fifo_cutter.end(counters);
                self.present = false;
                self.fifo_account.end();
                // It may have been opened again already.
                self.poll_came(cx);
                Ok(if self.present { Poll::Ready(None) } else { Poll::Pending })
            }
            Poll::Ready(Ok(Some(n))) => {
                self.fifo_account.moved(n);
                let is_cut = matches!(self.fifo_cutter, Cutter::Whole) && n == room;
                self.turn_is = after(turn_is, n, is_cut);
                self.end_turn();
                Ok(Poll::Ready(Some(n)))
            }
        }
    }

    fn poll_client(&mut self, cx: &mut Context<'_>, out: &mut [u8], counters: &Counters) -> Poll<Option<usize>> {
        let others = self.present || self.clients.len() > 1;
        let at = self.turn - 1;
        let Some(Client { cutter, new }) = self.clients.get_mut(at) else {
            self.pass_turn(0);
            return Poll::Pending;
        };
        let turn_is = begin(self.turn_is, &*new.source, cutter, others);
        let room = room(turn_is, out.len());
        match cutter.poll_message(cx, &mut *new.source, &mut out[..room], counters) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(Some(n))) => {
                new.account.moved(n);
                let is_cut = matches!(cutter, Cutter::Whole) && !new.source.keeps_messages() && n == room;
                self.turn_is = after(turn_is, n, is_cut);
                self.end_turn();
                Poll::Ready(Some(n))
            }
            Poll::Ready(gone) => {
                if let Err(e) = gone {
                    new.guest.failed(&e);
                }
                cutter.end(counters);
                self.clients.remove(at);
                self.pass_turn(self.turn);
                Poll::Ready(None)
            }
        }
    }

    fn poll_arrivals(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(new)) = self.arrivals.poll_recv(cx) {
            self.welcome(new);
        }
    }

    fn welcome(&mut self, new: NewWriter) {
        let cutter = cutter(&new, self.framing, self.size);
        self.clients.push(Client { cutter, new });
    }

    fn poll_came(&mut self, cx: &mut Context<'_>) {
        if let (false, Some(fifo)) = (self.present, &mut self.fifo)
            && fifo.poll_came(cx).is_ready()
        {
            self.present = true;
            self.fifo_account.begin();
        }
    }

    fn end_turn(&mut self) {
        if self.turn_is == Turn::New {
            self.pass_turn(self.turn + 1);
        }
    }

    fn pass_turn(&mut self, to: usize) {
        self.turn = if to > self.clients.len() { 0 } else { to };
        self.turn_is = Turn::New;
    }
}

/// A source that keeps messages needs no framing.
fn cutter(new: &NewWriter, framing: Framing, size: usize) -> Cutter {
    if new.source.keeps_messages() { Cutter::Whole } else { Cutter::new(framing, size) }
}

/// How many bytes belong to the turn that begins or goes on, where that matters: among others, and without messages.
fn begin(turn_is: Turn, source: &dyn Source, cutter: &Cutter, others: bool) -> Turn {
    match (turn_is, cutter) {
        (Turn::Left(_), _) | (_, Cutter::Cut(_)) => turn_is,
        (Turn::New | Turn::Cut, Cutter::Whole) if !others => turn_is,
        (Turn::New | Turn::Cut, Cutter::Whole) => match source.waiting() {
            0 => Turn::New,
            n => Turn::Left(n),
        },
    }
}

fn room(turn_is: Turn, size: usize) -> usize {
    if let Turn::Left(left) = turn_is { left.min(size) } else { size }
}

fn after(turn_is: Turn, n: usize, is_cut: bool) -> Turn {
    match turn_is {
        Turn::Left(left) if left > n => Turn::Left(left - n),
        Turn::Left(_) => Turn::New,
        Turn::New | Turn::Cut if is_cut => Turn::Cut,
        Turn::New | Turn::Cut => Turn::New,
    }
}
