//! Hot path. A terminal in use: what programs read, what they write, and what else they do to it.
//!
//! The three parts share one state, which only one of them uses at a time. What a program wrote after it had opened or
//! set something is not read until that was dealt with. It refuses to judge what programs set.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use nix::libc::EIO;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Sleep, sleep};

use super::all_linux::Settling;
use super::pty_linux::{News, Pty, Received};
use super::unheard_linux::GRACE;
use super::{Change, Tty};
use crate::outlet::{Sink, Source};
use crate::processes::{Question, look};
use crate::reactor::Room;

/// What programs read from the terminal.
pub struct TtySink {
    shared: Arc<Shared>,
    room: Room,
    /// Runs while a program is left the time to read back what it set.
    grace: Option<Pin<Box<Sleep>>>,
}

/// What programs write to the terminal.
pub struct TtySource(Arc<Shared>);

/// What programs do to the terminal.
pub struct TtyNews(Arc<Shared>);

struct Shared {
    /// Leaves the reactor before `back` gives the terminal to another [`Tty`]: fields are dropped in this order.
    io: AsyncFd<Arc<Pty>>,
    back: Back,
    all: Settling,
    state: Mutex<State>,
    /// Tells [`TtyNews`] that another part saw something.
    seen: Notify,
}

/// Gives a terminal back that programs have left.
struct Back {
    pty: Arc<Pty>,
    is_left: bool,
    to: UnboundedSender<Arc<Pty>>,
}

#[derive(Default)]
struct State {
    /// What was seen and not told.
    news: News,
    /// Whether what was done before the next byte has yet to be dealt with.
    is_held: bool,
    /// Whether the last program has closed it.
    is_closed: bool,
    /// Whether all that programs wrote before that was read.
    is_left: bool,
    /// Whether a half was dropped.
    is_abandoned: bool,
    reading: Reading,
    /// Whether what waits for programs did not fit.
    is_full: bool,
    /// Whether anything was written for programs.
    has_begun: bool,
    skip: Skip,
    /// Who waits for the end of any of these.
    source: Option<Waker>,
    sink: Option<Waker>,
}

/// Whether programs can read what they are given: one that opened the terminal for writing alone cannot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Reading {
    /// It was not asked, because they took all so far.
    #[default]
    Unknown,
    /// It is to be asked.
    Doubted,
    Possible,
    Never,
}

/// Programs want nothing of what was there before (tcflush(3), TCIFLUSH). What did not fit the terminal, and what was kept
/// for a program that has just come, waits elsewhere, so that the sink takes and drops what it is offered, for one look
/// around of whoever offers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Skip {
    #[default]
    No,
    Due,
    Now,
}

impl Tty {
    /// A terminal that a program has opened, with what is known of it. What it writes waits until [`TtyNews::next`] is
    /// asked. When the last program has left it, the terminal goes `to` whoever has use for it.
    pub(super) fn new(pty: Arc<Pty>, all: &Settling, news: News, to: UnboundedSender<Arc<Pty>>) -> io::Result<Self> {
        let interest = Interest::READABLE | Interest::PRIORITY;
        // SAFETY: an `Arc<Pty>` is moved in and its descriptor never replaced, so that it stays open and the same.
        let io = unsafe { AsyncFd::register_with_interest(pty.clone(), interest) }?;
        let back = Back { pty, is_left: false, to };
        let state = Mutex::new(State { is_held: true, ..State::default() });
        all.add(io.get_ref());
        let shared = Arc::new(Shared { io, back, all: all.clone(), state, seen: Notify::new() });
        shared.hand_over(news);
        Ok(Self {
            sink: TtySink { shared: shared.clone(), room: Room::default(), grace: None },
            source: TtySource(shared.clone()),
            news: TtyNews(shared),
        })
    }
}

impl Sink for TtySink {
    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let Self { shared, room, grace } = self;
        let offered = slices.iter().map(|slice| slice.len()).sum();
        shared.look();
        if !shared.state().has_begun {
            // What was done before this is not to be missed, though the reactor may not know of it.
            shared.hand_over(shared.io.get_ref().news());
        }
        let mut state = shared.state();
        if state.skip != Skip::No {
            state.skip = Skip::Now;
            return Poll::Ready(Ok(offered));
        }
        state.has_begun = true;
        // Nothing but a hang-up makes it ready: for room there is [`Room`].
        if state.reading == Reading::Never || shared.io.poll_write_ready(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let pty = shared.io.get_ref();
        while let Some(time) = pty.cooked_for() {
            state.is_full = true;
            let wait = grace.get_or_insert_with(|| Box::pin(sleep(GRACE.saturating_sub(time))));
            ready!(wait.as_mut().poll(cx));
            *grace = None;
            if pty.cooked_for().is_none_or(|time| time >= GRACE) {
                drop(state);
                shared.listen_again();
                state = shared.state();
            }
        }
        let written = room.poll_write(cx, pty.as_fd(), offered, || pty.write(slices));
        state.is_full = written.is_pending();
        // A program that has not read this much may be one that cannot.
        if state.is_full && state.reading == Reading::Unknown {
            state.reading = Reading::Doubted;
            shared.seen.notify_one();
        }
        written
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.shared.state();
        if state.is_closed || state.reading == Reading::Never {
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
            let Some(most) = shared.most(buffer.len()) else { continue };
            match shared.io.get_ref().read(&mut buffer[..most]) {
                // They came after the last look at what was set.
                Ok(Received::Bytes(0)) => {}
                Ok(Received::Bytes(n)) => {
                    // The kernel gives all that it has, and tells anew of what comes later.
                    if n < most.min(MOST_AT_ONCE) {
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
                    shared.state().is_left = true;
                    return Poll::Ready(Ok(0));
                }
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
        Poll::Pending
    }

    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (mut state, pty) = (self.0.state(), self.0.io.get_ref());
        remember(&mut state.source, cx);
        // Another program that has opened it meanwhile gets a terminal of its own of it, with what was left.
        state.is_left = state.is_closed && (pty.is_open() || pty.readable() == 0);
        if state.is_left { Poll::Ready(()) } else { Poll::Pending }
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
            if self.0.state().reading == Reading::Doubted {
                self.0.look_who_reads().await;
            } else {
                self.0.wait().await;
            }
        }
    }

    /// Whether no program has another terminal behind the same link open.
    pub fn is_alone(&self) -> bool {
        self.0.all.is_alone(self.0.io.as_raw_fd())
    }

    /// Hangs up on programs once they have read what was written for them, but does not wait for that forever: there is no
    /// event for it. Where the kernel allows it, they find the end of file.
    pub async fn hang_up(&self) {
        let pty = self.0.io.get_ref();
        for _ in 0..LEAVE_ROUNDS {
            if !pty.is_open() || pty.unread().map_or(true, |bytes| bytes == 0) {
                break;
            }
            sleep(LEAVE_PAUSE).await;
        }
        if let Err(e) = pty.hang_up() {
            tracing::debug!("{}: a read that waits ends with EIO: {e}", self.0.node());
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
        let is_unheard = self.io.get_ref().unheard.is_any();
        tokio::select! {
            biased;
            () = self.seen.notified() => {}
            ready = self.io.ready(Interest::PRIORITY) => match ready {
                Ok(ready) if ready.ready().is_read_closed() => self.state().close(),
                Ok(_) => self.look(),
                // The reactor ends, and everything with it.
                Err(_) => self.state().close(),
            },
            () = sleep(UNHEARD_PAUSE), if is_unheard => self.look_at_unheard(),
        }
    }

    /// What the kernel does not report now is compared, so that a program that only listens has its speed.
    fn look_at_unheard(&self) {
        let pty = self.io.get_ref();
        if pty.has_unheard() {
            return self.hand_over(News::SET);
        }
        if pty.is_settled_down() {
            self.listen_again();
        }
    }

    /// Lets the sink end where no program reads: it would only hold up the other readers.
    async fn look_who_reads(&self) {
        let node = self.io.get_ref().node().to_owned();
        let is_read = look(Question::File(node)).await.is_read();
        let mut state = self.state();
        state.reading = if is_read { Reading::Possible } else { Reading::Never };
        wake(&mut state.sink);
    }

    fn listen_again(&self) {
        match self.io.get_ref().listen_again() {
            Ok(news) => {
                self.all.set_unheard(&self.back.pty, false);
                self.hand_over(news);
            }
            Err(e) => tracing::error!("{}: programs are no longer heard of: {e}", self.node()),
        }
    }

    /// How many bytes of this many may be read now; none after a program has set something that the kernel does not
    /// report, until that was dealt with.
    fn most(&self, room: usize) -> Option<usize> {
        let pty = self.io.get_ref();
        if !pty.unheard.is_any() {
            return Some(room);
        }
        // What comes later may have been written after something was set.
        let most = room.min(pty.readable());
        if pty.has_unheard() {
            self.hand_over(News::SET);
            return None;
        }
        Some(most)
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
            let pty = self.io.get_ref();
            if let Err(e) = pty.note_modes() {
                tracing::error!("{}: what was set cannot be seen: {e}", self.node());
            }
            self.all.set_unheard(&self.back.pty, pty.unheard.is_any());
        }
        if news.is_input_flushed() && (std::mem::take(&mut state.is_full) || !state.has_begun) {
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
        wake(&mut self.source);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let (is_held, is_left) = {
            let state = self.state();
            (state.is_held, state.is_left)
        };
        self.all.remove(self.io.as_raw_fd(), is_held);
        self.back.is_left = is_left;
    }
}

impl Drop for Back {
    fn drop(&mut self) {
        if self.is_left {
            // Where nobody has use for it, it is closed.
            let _ = self.to.send(self.pty.clone());
        }
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
        if self.shared.state().reading != Reading::Never {
            self.shared.abandon();
        }
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
/// How often what the kernel does not report is compared.
const UNHEARD_PAUSE: Duration = Duration::from_millis(20);
const LEAVE_PAUSE: Duration = Duration::from_millis(10);
/// Programs that do not read for longer than this many pauses lose what they have not read.
const LEAVE_ROUNDS: u32 = 100;
