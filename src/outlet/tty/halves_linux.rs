//! Hot path. A terminal in use: what programs read, what they write, and what else they do to it.
//!
//! The three parts share one state, which only one of them uses at a time. What a program wrote after it had opened or
//! set something is not read until that was dealt with. It refuses to judge what programs set.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use nix::libc::EIO;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use super::all_linux::Settling;
use super::pty_linux::{News, Pty, Received};
use super::{Change, Tty};
use crate::outlet::{Sink, Source};
use crate::reactor::Room;

/// What programs read from the terminal.
pub struct TtySink(Arc<Shared>, Room);

/// What programs write to the terminal.
pub struct TtySource(Arc<Shared>);

/// What programs do to the terminal.
pub struct TtyNews(Arc<Shared>);

struct Shared {
    io: AsyncFd<Pty>,
    all: Settling,
    state: Mutex<State>,
    /// Tells [`TtyNews`] that another part saw something.
    seen: Notify,
}

#[derive(Default)]
struct State {
    /// What was seen and not told.
    news: News,
    /// Whether what was done before the next byte has yet to be dealt with.
    is_held: bool,
    /// Whether the last program has closed it.
    is_closed: bool,
    /// Whether a half was dropped.
    is_abandoned: bool,
    /// Whether what waits for programs did not fit.
    is_full: bool,
    skip: Skip,
    /// Who waits for the end of any of these.
    source: Option<Waker>,
    sink: Option<Waker>,
}

/// Programs want nothing of what was there before (tcflush(3), TCIFLUSH). What did not fit the terminal waits
/// elsewhere, so that the sink takes and drops what it is offered, for one look around of whoever offers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Skip {
    #[default]
    No,
    Due,
    Now,
}

impl Tty {
    /// A terminal that a program has opened. What it writes waits until [`TtyNews::next`] is asked.
    pub(super) fn new(pty: Pty, all: &Settling) -> io::Result<Self> {
        let interest = Interest::READABLE | Interest::PRIORITY;
        // SAFETY: a `Pty` is moved in and its descriptor never replaced, so that it stays open and the same.
        let io = unsafe { AsyncFd::register_with_interest(pty, interest) }?;
        let state = Mutex::new(State { is_held: true, ..State::default() });
        all.add(io.get_ref());
        let shared = Arc::new(Shared { io, all: all.clone(), state, seen: Notify::new() });
        Ok(Self {
            sink: TtySink(shared.clone(), Room::default()),
            source: TtySource(shared.clone()),
            news: TtyNews(shared),
        })
    }
}

impl Sink for TtySink {
    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let Self(shared, room) = self;
        let offered = slices.iter().map(|slice| slice.len()).sum();
        shared.look();
        let mut state = shared.state();
        if state.skip == Skip::Now {
            return Poll::Ready(Ok(offered));
        }
        // Nothing but a hang-up makes it ready: for room there is [`Room`].
        if shared.io.poll_write_ready(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let pty = shared.io.get_ref();
        let written = room.poll_write(cx, pty.as_fd(), offered, || pty.write(slices));
        state.is_full = written.is_pending();
        written
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.state();
        if state.is_closed {
            return Poll::Ready(());
        }
        state.skip = if state.skip == Skip::Due { Skip::Now } else { Skip::No };
        remember(&mut state.sink, cx);
        Poll::Pending
    }
}

impl Source for TtySource {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let shared = &self.0;
        while !shared.is_held(cx) {
            let mut ready = ready!(shared.io.poll_read_ready(cx))?;
            match shared.io.get_ref().read(buffer) {
                Ok(Received::Bytes(n)) => {
                    // The kernel gives all that it has, and tells anew of what comes later.
                    if n < buffer.len().min(MOST_AT_ONCE) {
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(n));
                }
                Ok(Received::News(news)) => shared.hand_over(news),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && !ready.ready().is_read_closed() => {
                    ready.clear_ready();
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock || e.raw_os_error() == Some(EIO) => {
                    return Poll::Ready(Ok(0));
                }
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
        Poll::Pending
    }
}

impl TtyNews {
    /// What a program does next. That this is asked means that all before has been dealt with. After
    /// [`Change::Closed`] there is nothing more.
    pub async fn next(&mut self) -> Change {
        loop {
            if let Some(change) = self.told() {
                return change;
            }
            self.0.let_go_on();
            if let Some(end) = self.0.end() {
                return end;
            }
            self.0.wait().await;
        }
    }

    /// Whether no program has another terminal behind the same link open.
    pub fn is_alone(&self) -> bool {
        self.0.all.is_alone(self.0.io.as_raw_fd())
    }

    /// Waits until programs have read what was written for them, but not forever: there is no event for it.
    pub async fn let_programs_read(&self) {
        for _ in 0..LEAVE_ROUNDS {
            let pty = self.0.io.get_ref();
            if !pty.is_open() || pty.unread().map_or(true, |bytes| bytes == 0) {
                return;
            }
            tokio::time::sleep(LEAVE_PAUSE).await;
        }
    }

    fn told(&self) -> Option<Change> {
        let news = std::mem::take(&mut self.0.state().news);
        if !news.is_set() {
            return None;
        }
        match self.0.io.get_ref().settings() {
            Ok(settings) => Some(Change::Set(settings)),
            Err(e) => {
                tracing::error!("{}: what was set cannot be seen: {e}", self.0.node());
                None
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn node(&self) -> std::path::Display<'_> {
        self.io.get_ref().node().display()
    }

    /// Waits for anything but bytes.
    async fn wait(&self) {
        tokio::select! {
            biased;
            () = self.seen.notified() => {}
            ready = self.io.ready(Interest::PRIORITY) => match ready {
                Ok(ready) if ready.ready().is_read_closed() => self.state().close(),
                Ok(_) => self.look(),
                // The reactor ends, and everything with it.
                Err(_) => self.state().close(),
            },
        }
    }

    /// Takes note of what a program set before the next byte goes to it, which might be echoed otherwise. Costs no
    /// system call while nothing was set.
    fn look(&self) {
        let news = self.io.try_io(Interest::PRIORITY, |pty| match pty.news() {
            news if news.is_none() => Err(io::ErrorKind::WouldBlock.into()),
            news => Ok(news),
        });
        if let Ok(news) = news {
            self.hand_over(news);
        }
    }

    fn hand_over(&self, news: News) {
        if news.is_none() {
            return;
        }
        let mut state = self.state();
        state.news.add(news);
        if news.is_set() {
            match self.io.get_ref().keep_listening() {
                Ok(more) => state.news.add(more),
                Err(e) => tracing::error!("{}: programs are no longer heard of: {e}", self.node()),
            }
        }
        if news.is_input_flushed() && std::mem::take(&mut state.is_full) {
            state.skip = Skip::Due;
            wake(&mut state.sink);
        }
        if !std::mem::replace(&mut state.is_held, true) {
            self.all.hold();
        }
        self.seen.notify_one();
    }

    /// What comes after everything else, if it has come to that.
    fn end(&self) -> Option<Change> {
        let state = self.state();
        let end = match (state.is_closed, state.is_abandoned) {
            (false, false) => return None,
            (false, true) if self.io.get_ref().is_open() => Change::Abandoned,
            _ => Change::Closed,
        };
        drop(state);
        // What was set before the end counts.
        let news = self.io.get_ref().news();
        self.hand_over(news);
        news.is_none().then_some(end)
    }

    fn abandon(&self) {
        self.state().is_abandoned = true;
        self.seen.notify_one();
    }

    /// Whether bytes have to wait; the task is woken when they no longer have to.
    fn is_held(&self, cx: &Context<'_>) -> bool {
        let mut state = self.state();
        if state.is_held {
            remember(&mut state.source, cx);
        }
        state.is_held
    }

    fn let_go_on(&self) {
        let mut state = self.state();
        if std::mem::take(&mut state.is_held) {
            self.all.let_go();
        }
        wake(&mut state.source);
    }
}

impl State {
    fn close(&mut self) {
        self.is_closed = true;
        wake(&mut self.sink);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.all.remove(self.io.as_raw_fd(), self.state().is_held);
    }
}

/// Nobody tells the sink of the end any more.
impl Drop for TtyNews {
    fn drop(&mut self) {
        self.0.state().close();
    }
}

impl Drop for TtySink {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Drop for TtySource {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

fn remember(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *place = Some(cx.waker().clone()),
    }
}

/// Bytes of one read, at most: the kernel's buffer of a terminal, less one for packet mode.
const MOST_AT_ONCE: usize = 4095;
const LEAVE_PAUSE: Duration = Duration::from_millis(10);
/// Programs that do not read for longer than this many pauses lose what they have not read.
const LEAVE_ROUNDS: u32 = 100;
