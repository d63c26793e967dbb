//! Hot path. A sink that its maker can take back while the pump has it, as if the program had closed its end.
//!
//! It refuses to lose what the program was promised: it goes once it has taken what was offered to it.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use super::Sink;

/// A sink that can be taken back.
#[derive(Debug)]
pub struct Revocable<S> {
    sink: S,
    order: Arc<Order>,
    /// The last write found no room, so that the reader has not got all that was offered.
    full: bool,
}

/// Takes a sink back.
#[derive(Debug)]
pub struct Revocation(Arc<Order>);

#[derive(Debug, Default)]
struct Order {
    given: AtomicBool,
    waker: AtomicWaker,
}

impl<S> Revocable<S> {
    /// The sink, and what takes it back.
    pub fn new(sink: S) -> (Self, Revocation) {
        let order = Arc::<Order>::default();
        (Self { sink, order: order.clone(), full: false }, Revocation(order))
    }

    fn is_revoked(&self) -> bool {
        self.order.given.load(Ordering::Acquire)
    }
}

impl Revocation {
    /// The sink shall go.
    pub fn revoke(&self) {
        self.0.given.store(true, Ordering::Release);
        self.0.waker.wake();
    }
}

impl<S: Sink> Sink for Revocable<S> {
    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = self.sink.poll_write(cx, slices);
        self.full = written.is_pending();
        if !self.full && self.is_revoked() {
            // That nothing is left is seen when it is asked for again.
            cx.waker().wake_by_ref();
        }
        written
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.order.waker.register(cx.waker());
        if self.is_revoked() && !self.full { Poll::Ready(()) } else { self.sink.poll_closed(cx) }
    }

    fn keeps_messages(&self) -> bool {
        self.sink.keeps_messages()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{IoSlice, Read};
    use std::pin::pin;

    use super::*;
    use crate::outlet::InEnd;
    use crate::outlet::trial::read_by_program;

    async fn write(sink: &mut impl Sink, bytes: &[u8]) -> usize {
        poll_fn(|cx| sink.poll_write(cx, &[IoSlice::new(bytes)])).await.unwrap()
    }

    #[tokio::test]
    async fn a_sink_that_is_taken_back_goes_at_once_where_nothing_waits() {
        let (_read, ours) = read_by_program();
        let (mut sink, revocation) = Revocable::new(InEnd::new(ours, false).unwrap());
        write(&mut sink, b"all of it").await;
        let mut closed = pin!(poll_fn(|cx| sink.poll_closed(cx)));
        assert!(poll_fn(|cx| Poll::Ready(closed.as_mut().poll(cx).is_pending())).await);
        tokio::join!(closed, async { revocation.revoke() });
    }

    #[tokio::test]
    async fn a_full_sink_that_is_taken_back_first_takes_what_was_offered() {
        let (mut read, ours) = read_by_program();
        let (mut sink, revocation) = Revocable::new(InEnd::new(ours, false).unwrap());
        let mut offer =
            |cx: &mut Context<'_>| Poll::Ready(sink.poll_write(cx, &[IoSlice::new(&[7; 4096])]).is_pending());
        let mut taken = 0;
        while !poll_fn(&mut offer).await {
            taken += 4096;
        }
        revocation.revoke();
        let is_closed =
            |sink: &mut Revocable<InEnd>, cx: &mut Context<'_>| Poll::Ready(sink.poll_closed(cx).is_ready());
        assert!(!poll_fn(|cx| is_closed(&mut sink, cx)).await);
        read.read_exact(&mut vec![0; taken]).unwrap();
        assert_eq!(write(&mut sink, &[8; 4096]).await, 4096);
        assert!(poll_fn(|cx| is_closed(&mut sink, cx)).await);
    }
}
