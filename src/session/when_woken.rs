//! Hot path. A future that is polled only when it was woken, beside others of the same task that are woken often.
//!
//! A task polls all that it waits for whenever any of it is ready. What is ready once in a session, such as its end,
//! would be asked at every transfer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// The future, polled with a waker of its own.
pub(super) struct WhenWoken<F> {
    future: Pin<Box<F>>,
    state: Arc<State>,
    own: Waker,
    /// The task's waker that `state` was given.
    task: Waker,
}

struct State {
    is_woken: AtomicBool,
    task: AtomicWaker,
}

impl<F> WhenWoken<F> {
    pub(super) fn new(future: F) -> Self {
        let state = Arc::new(State { is_woken: AtomicBool::new(true), task: AtomicWaker::new() });
        Self { future: Box::pin(future), own: state.clone().into(), state, task: Waker::noop().clone() }
    }
}

impl<F: Future> Future for WhenWoken<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Self { future, state, own, task } = &mut *self;
        if !task.will_wake(cx.waker()) {
            task.clone_from(cx.waker());
            state.task.register(task);
        }
        if !state.is_woken.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        // To wake the task takes its waker out.
        state.task.register(task);
        state.is_woken.swap(false, Ordering::SeqCst);
        future.as_mut().poll(&mut Context::from_waker(own))
    }
}

impl Wake for State {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::SeqCst);
        self.task.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicU32;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn it_is_polled_at_first_and_when_it_was_woken_and_not_in_between() {
        let (sender, mut receiver) = oneshot::channel();
        let polls = Arc::new(AtomicU32::new(0));
        let counted = polls.clone();
        let mut future = Box::pin(WhenWoken::new(poll_fn(move |cx| {
            counted.fetch_add(1, Ordering::Relaxed);
            Pin::new(&mut receiver).poll(cx)
        })));
        for _ in 0..10 {
            assert!(poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await);
        }
        assert_eq!(polls.load(Ordering::Relaxed), 1);
        let sent = async { sender.send(7).unwrap() };
        assert_eq!(tokio::join!(future, sent).0, Ok(7));
        assert_eq!(polls.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_task_that_goes_on_elsewhere_is_woken_there() {
        let (sender, receiver) = oneshot::channel();
        let mut future = Box::pin(WhenWoken::new(receiver));
        assert!(poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await);
        let elsewhere = tokio::spawn(future);
        tokio::task::yield_now().await;
        sender.send(7).unwrap();
        assert_eq!(elsewhere.await.unwrap(), Ok(7));
    }
}
