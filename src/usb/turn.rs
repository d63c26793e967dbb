//! Hot path. Lets a backend's own thread carry on a task of the daemon while the daemon's thread sleeps.
//!
//! nusb reaps transfers on a thread of its own. To wake the daemon's thread for each of them costs a switch between
//! processors, so the task that waits for a transfer is polled where the transfer was reaped. The daemon stays
//! single-threaded in all that matters: there is one turn, and nothing of it runs without.
//!
//! ```text
//!   daemon's thread    runs ─ gives the turn ─ sleeps ······················· takes the turn ─ runs
//!   nusb's thread                                  reaps ─ takes it ─ polls ─ gives it
//! ```
//!
//! Where the turn is taken the daemon's thread is awake, and is told as by any other waker.

use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Wake, Waker};

use tokio::runtime::{Builder, Handle};

use super::BoxFuture;

/// Has the runtime that is built take the turn for as long as it does not sleep. For one runtime in a process, of one
/// thread.
pub fn take_turns(builder: &mut Builder) -> &mut Builder {
    TURN.is_of(builder)
}

/// The waker to give to a backend that wakes on a thread of its own: the task that is being polled goes on there. It is
/// the context's own outside of a [`Prompt`].
pub(super) fn waker(cx: &Context<'_>) -> Waker {
    POLLED.with_borrow(|polled| match polled {
        // By what they wake alone: on Windows a waker and its clone may have tables of their own.
        Some(task) if lock(&task.waker).data() == cx.waker().data() => Waker::from(task.clone()),
        _ => cx.waker().clone(),
    })
}

/// A future that the thread of a backend may carry on, if it wakes by `waker` of this module. Dropping it drops what it
/// was made of.
pub struct Prompt(Arc<Task>);

impl Prompt {
    /// Wraps a future that a runtime will poll.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn new(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self::of(&TURN, future)
    }

    fn of(turn: &'static Turn, future: impl Future<Output = ()> + Send + 'static) -> Self {
        let state = State { future: Some(Box::pin(future)), panic: None };
        let (runtime, waker) = (Handle::current(), Mutex::new(Waker::noop().clone()));
        Self(Arc::new(Task { turn, runtime, waker, state: Mutex::new(state) }))
    }
}

impl Future for Prompt {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        lock(&self.0.waker).clone_from(cx.waker());
        let mut state = lock(&self.0.state);
        if let Some(panic) = state.panic.take() {
            drop(state);
            resume_unwind(panic);
        }
        self.0.poll(&mut state, cx)
    }
}

impl Drop for Prompt {
    /// The future may hold what holds the task.
    fn drop(&mut self) {
        let future = lock(&self.0.state).future.take();
        drop(future);
    }
}

struct Task {
    turn: &'static Turn,
    runtime: Handle,
    /// The runtime's for this task.
    waker: Mutex<Waker>,
    state: Mutex<State>,
}

struct State {
    /// `None` when it has ended.
    future: Option<BoxFuture<'static, ()>>,
    /// What it died of on another thread.
    panic: Option<Box<dyn Any + Send>>,
}

impl Task {
    fn poll(self: &Arc<Self>, state: &mut State, cx: &mut Context<'_>) -> Poll<()> {
        let Some(future) = &mut state.future else { return Poll::Ready(()) };
        let before = POLLED.replace(Some(self.clone()));
        let polled = Polled(before);
        let result = future.as_mut().poll(cx);
        drop(polled);
        if result.is_ready() {
            state.future = None;
        }
        result
    }

    /// Goes on here; what is left when it has ended, and what it died of, is for the runtime to find.
    fn carry_on(self: &Arc<Self>) {
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // It is being polled: by this thread, or by a runtime that takes no turns.
            Err(TryLockError::WouldBlock) => return self.tell(),
        };
        let waker = lock(&self.waker).clone();
        let _runtime = self.runtime.enter();
        let polled = catch_unwind(AssertUnwindSafe(|| self.poll(&mut state, &mut Context::from_waker(&waker))));
        match polled {
            Ok(Poll::Pending) => return,
            Ok(Poll::Ready(())) => {}
            Err(panic) => state.panic = Some(panic),
        }
        drop(state);
        waker.wake();
    }

    fn tell(&self) {
        lock(&self.waker).wake_by_ref();
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.turn.try_take() {
            self.carry_on();
            self.turn.give();
        } else {
            self.tell();
        }
    }
}

thread_local! {
    /// What this thread polls.
    static POLLED: RefCell<Option<Arc<Task>>> = const { RefCell::new(None) };
}

/// Puts back what the thread polled before.
struct Polled(Option<Arc<Task>>);

impl Drop for Polled {
    fn drop(&mut self) {
        POLLED.set(self.0.take());
    }
}

/// Who has it may run what is the daemon's. A lock that different calls take and give, and that goes to who waits for it
/// before anybody else: the daemon's thread is never kept away from its work.
struct Turn {
    state: AtomicU8,
    waiting: Mutex<()>,
    given: Condvar,
}

static TURN: Turn = Turn::new();

impl Turn {
    const fn new() -> Self {
        Self { state: AtomicU8::new(FREE), waiting: Mutex::new(()), given: Condvar::new() }
    }

    fn is_of<'a>(&'static self, builder: &'a mut Builder) -> &'a mut Builder {
        self.take();
        builder.on_thread_park(move || self.give()).on_thread_unpark(move || self.take())
    }

    /// For the one thread that may wait. It is mostly kept for some microseconds, which are shorter than a sleep.
    fn take(&self) {
        for _ in 0..SPINS {
            if self.state.load(Relaxed) == FREE && self.try_take() {
                return;
            }
        }
        let mut waiting = lock(&self.waiting);
        while !self.try_take() && self.state.compare_exchange(HANDED_OVER, TAKEN, Acquire, Relaxed).is_err() {
            if self.state.compare_exchange(TAKEN, AWAITED, Relaxed, Relaxed) != Err(FREE) {
                waiting = self.given.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn try_take(&self) -> bool {
        self.state.compare_exchange(FREE, TAKEN, Acquire, Relaxed).is_ok()
    }

    fn give(&self) {
        if self.state.compare_exchange(TAKEN, FREE, Release, Relaxed).is_err() {
            let _waiting = lock(&self.waiting);
            self.state.store(HANDED_OVER, Release);
            self.given.notify_one();
        }
    }
}

const FREE: u8 = 0;
const TAKEN: u8 = 1;
/// Taken, and somebody sleeps until it is handed over.
const AWAITED: u8 = 2;
/// Given to who slept.
const HANDED_OVER: u8 = 3;

/// How often to look before sleeping: a few microseconds. No hint to the processor that this is a spin: a simulated one
/// takes it for a reason to do something else for a while.
const SPINS: usize = 2000;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread::{self, ThreadId};

    use tokio::runtime::Runtime;

    use super::*;

    fn runtime() -> (&'static Turn, Runtime) {
        let turn: &'static Turn = Box::leak(Box::new(Turn::new()));
        let mut builder = Builder::new_current_thread();
        (turn, turn.is_of(&mut builder).build().unwrap())
    }

    /// A thread that wakes what it is given, as nusb's does, and says who it is.
    fn backend() -> (Sender<Waker>, ThreadId) {
        let (wakers, to_wake) = channel::<Waker>();
        let thread = thread::spawn(move || to_wake.into_iter().for_each(Waker::wake));
        (wakers, thread.thread().id())
    }

    /// Has itself woken by a backend `times` times, and then does `at_last`. Says which thread polls it.
    fn waiting(
        wakers: Sender<Waker>,
        times: usize,
        at_last: fn(),
    ) -> (impl Future<Output = ()> + Send + 'static, Receiver<ThreadId>) {
        let (polled, seen) = channel();
        let mut left = times;
        let future = poll_fn(move |cx| {
            polled.send(thread::current().id()).unwrap();
            if left == 0 {
                at_last();
                return Poll::Ready(());
            }
            left -= 1;
            wakers.send(waker(cx)).unwrap();
            Poll::Pending
        });
        (future, seen)
    }

    #[test]
    fn while_the_runtime_sleeps_the_backend_goes_on_by_itself() {
        let (turn, runtime) = runtime();
        let (wakers, backend) = backend();
        let (future, seen) = waiting(wakers, 1000, || {});
        runtime.block_on(async { Prompt::of(turn, future).await });
        let on_backend = seen.iter().filter(|id| *id == backend).count();
        assert!(on_backend > 0, "the runtime was never seen asleep");
    }

    #[test]
    fn while_the_runtime_is_awake_nobody_else_polls() {
        let (turn, runtime) = runtime();
        let (wakers, backend) = backend();
        let (future, seen) = waiting(wakers.clone(), 1, || {});
        runtime.block_on(async {
            let (told, is_told) = channel();
            let mut prompt = Box::pin(Prompt::of(turn, future));
            assert!(once(prompt.as_mut()).await.is_pending());
            // The backend wakes in order: when this has come, the other has been woken.
            wakers.send(Arc::new(Told(told)).into()).unwrap();
            is_told.recv().unwrap();
            assert_eq!(seen.try_iter().filter(|id| *id == backend).count(), 0);
            prompt.await;
        });
        assert!(seen.iter().all(|id| id == thread::current().id()));
    }

    #[test]
    fn what_ends_or_dies_elsewhere_ends_or_dies_for_the_runtime() {
        for (at_last, dies) in [((|| {}) as fn(), false), (|| panic!("as it should"), true)] {
            let (turn, runtime) = runtime();
            let (future, _seen) = waiting(backend().0, 5, at_last);
            let ended = runtime.block_on(async { tokio::spawn(Prompt::of(turn, future)).await });
            assert_eq!(ended.is_err(), dies);
        }
    }

    #[test]
    fn one_has_the_turn_and_who_waits_for_it_gets_it() {
        let turn: &'static Turn = Box::leak(Box::new(Turn::new()));
        let (inside, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let alone = move |inside: &AtomicBool| {
            assert!(!inside.swap(true, Acquire), "two have it");
            (0..100).for_each(|_| std::hint::spin_loop());
            inside.store(false, Release);
            turn.give();
        };
        let (inside_there, over_there) = (inside.clone(), over.clone());
        let greedy = thread::spawn(move || {
            while !over_there.load(Relaxed) {
                if turn.try_take() {
                    alone(&inside_there);
                }
            }
        });
        for _ in 0..10_000 {
            turn.take();
            alone(&inside);
        }
        over.store(true, Relaxed);
        greedy.join().unwrap();
    }

    #[test]
    fn a_prompt_that_is_dropped_drops_its_future_although_a_backend_has_the_waker() {
        let (turn, runtime) = runtime();
        let (kept, is_kept) = channel();
        let held = Arc::new(());
        let inside = held.clone();
        runtime.block_on(async {
            let mut prompt = Box::pin(Prompt::of(turn, async move {
                let _inside = inside;
                poll_fn(|cx| {
                    kept.send(waker(cx)).unwrap();
                    Poll::<()>::Pending
                })
                .await;
            }));
            assert!(once(prompt.as_mut()).await.is_pending());
        });
        let waker = is_kept.recv().unwrap();
        assert_eq!(Arc::strong_count(&held), 1);
        waker.wake();
    }

    async fn once(mut prompt: Pin<&mut Prompt>) -> Poll<()> {
        poll_fn(|cx| Poll::Ready(prompt.as_mut().poll(cx))).await
    }

    struct Told(Sender<()>);

    impl Wake for Told {
        fn wake(self: Arc<Self>) {
            self.0.send(()).unwrap();
        }
    }
}
