//! The terminals of a serial line: each program that opens one becomes a reader and a writer of the line, and what it
//! sets there is asked of the device before its next byte goes out.
//!
//! ```text
//!   accept ──► seated at both hubs ──► set … set ──► closed by the program
//!                                                └─► let go by the line: the program reads what it was given, hang-up
//! ```
//!
//! It moves no byte: that is the pumps'.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::hub::Via;
use super::line::{Stop, stopped};
use super::openings::{UNRESET, Unreset};
use super::serial::SerialPort;
use super::shared::Shared;
use crate::outlet::tty::{Change, Settling, Tty, TtyListener, TtySink};
use crate::outlet::{Peer, Source};
use crate::serial::{Gate, Hold};

/// Serves the programs that open terminals of this line, until the daemon stops and those that are there have read what
/// they were given.
pub(super) async fn serve(listener: TtyListener, shared: Arc<Shared>, serial: Arc<SerialPort>, stop: Stop) {
    let (holds, held) = mpsc::channel(1);
    serial.gate.ask_before_sending(sentinel(&serial.gate, listener.settling(), holds));
    let settling = listener.settling();
    tokio::select! {
        () = accept(listener, shared, serial, stop) => {}
        () = let_go_when_settled(held, settling) => {}
    }
}

async fn accept(mut listener: TtyListener, shared: Arc<Shared>, serial: Arc<SerialPort>, mut stop: Stop) {
    let mut programs = JoinSet::new();
    let mut shown = serial.shown.subscribe();
    while !*stop.borrow() {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => {}
            // Programs over the limit share the last terminal.
            accepted = listener.accept(), if programs.len() < MOST_TERMINALS => match accepted {
                Ok(tty) => {
                    // Nobody else is there any more, but that may not have been dealt with.
                    let gone = if tty.news.is_alone() { std::mem::take(&mut programs) } else { JoinSet::new() };
                    programs.spawn(attend(tty, gone, shared.clone(), serial.clone()));
                }
                Err(e) => {
                    shared.tell("error", format!("{e}; programs that open it now share a terminal"));
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Ok(()) = shown.changed() => listener.set_up(*shown.borrow_and_update()),
            Some(_) = programs.join_next() => {}
        }
    }
    drop(listener);
    while programs.join_next().await.is_some() {}
}

/// One terminal, from its opening to its end, after those that are `gone`.
async fn attend(tty: Tty, mut gone: JoinSet<()>, shared: Arc<Shared>, serial: Arc<SerialPort>) {
    let Tty { sink, source, mut news } = tty;
    while gone.join_next().await.is_some() {}
    let _unreset = warn_if_not_reset(&shared, &serial, news.is_alone());
    let terminal = serial.terminal_opened().await;
    let (source, written) = Observed::new(Box::new(source));
    if let Err(why) = seat(&shared, &serial, sink, source) {
        let text = format!("a program was refused: {why}");
        shared.events.tell("refuse", &shared.name, Some(&serial.outlet(TTY)), text);
    }
    loop {
        match news.next().await {
            Change::Set(settings) => serial.terminal_set(terminal, settings).await,
            Change::Closed => break,
            Change::Abandoned => {
                news.hang_up().await;
                break;
            }
        }
    }
    serial.terminal_closed(terminal, async { drop(written.await) }).await;
}

/// A source that tells when all that its program wrote was read, or nobody wants it any more.
struct Observed {
    source: Box<dyn Source>,
    _written: oneshot::Sender<()>,
}

impl Observed {
    fn new(source: Box<dyn Source>) -> (Self, oneshot::Receiver<()>) {
        let (_written, written) = oneshot::channel();
        (Self { source, _written }, written)
    }
}

impl Source for Observed {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.source.poll_read(cx, buffer)
    }

    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.source.poll_left(cx)
    }

    fn waiting(&self) -> usize {
        self.source.waiting()
    }
}

/// Tells of a program that finds others at the line: whoever opens it to upload is in vain, because only the first program
/// resets the board.
fn warn_if_not_reset(shared: &Shared, serial: &SerialPort, is_only_terminal: bool) -> Option<Unreset> {
    let hubs = || ["rx", "tx"].iter().filter_map(|kind| shared.hub(&serial.outlet(kind)));
    let others = || hubs().flat_map(|hub| hub.clients());
    let has_others = !is_only_terminal || others().any(|client| client.kind != Via::Tty.kind());
    let (unreset, is_news) = serial.openings.beside_others(has_others)?;
    if is_news {
        let outlet = serial.outlet(TTY);
        let text = format!("a program opened {outlet} beside others: {UNRESET}");
        shared.events.tell("warning", &shared.name, Some(&outlet), text);
    }
    Some(unreset)
}

/// A place at both lines, or at none.
fn seat(shared: &Shared, serial: &SerialPort, sink: TtySink, source: Observed) -> Result<(), String> {
    let (Some(readers), Some(writers)) = (shared.hub(&serial.outlet("rx")), shared.hub(&serial.outlet("tx"))) else {
        return Err("the line is not there".to_owned());
    };
    let reader = readers.offer_reader(Box::new(sink), Via::Tty, Peer::default())?;
    let writer = writers.offer_writer(Box::new(source), Via::Tty, Peer::default())?;
    reader.take();
    writer.take();
    Ok(())
}

/// What any program set before another one wrote goes first, though nobody may have seen it yet: shuts the gate.
fn sentinel(gate: &Arc<Gate>, settling: Settling, holds: mpsc::Sender<Hold>) -> Box<dyn Fn() + Send + Sync> {
    let gate = Arc::downgrade(gate);
    Box::new(move || {
        if !settling.is_settled()
            && let Some(gate) = gate.upgrade()
        {
            // One that is there already serves as well.
            let _ = holds.try_send(gate.hold());
        }
    })
}

/// Ends only by being dropped.
async fn let_go_when_settled(mut held: mpsc::Receiver<Hold>, settling: Settling) {
    while let Some(_hold) = held.recv().await {
        // A program whose settings cannot be dealt with is not to hold up the line.
        let _ = timeout(PAUSE, settling.settled()).await;
    }
}

/// What the link's name ends in, as in `serial.tty`.
pub(super) const TTY: &str = "tty";
/// Of one line. The kernel has some thousands for everybody.
const MOST_TERMINALS: usize = 64;
const PAUSE: Duration = Duration::from_secs(1);
