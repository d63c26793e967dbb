//! Hot path. The two directions of a connection, delayed as by a network with that latency.
//!
//! One job: hand on every byte in order, `delay link` later. It limits no throughput: bytes are in transit together, as
//! many as a long line holds. Without a delay nothing is copied and nothing is kept.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// How much later each direction of every connection delivers its bytes.
#[derive(Clone, Default)]
pub(crate) struct Latency(Arc<AtomicU32>);

impl Latency {
    /// Bytes that arrive from now on take this long.
    pub(crate) fn set(&self, delay: Duration) {
        self.0.store(u32::try_from(delay.as_millis()).unwrap_or(u32::MAX), Relaxed);
    }

    /// One direction's delay.
    pub(super) fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Relaxed).into())
    }
}

/// What a client sends.
pub(super) struct DelayedReader<R> {
    inner: R,
    latency: Latency,
    transit: Transit,
    /// What follows the bytes in transit: the end of the connection, or its failure.
    end: Option<io::Result<()>>,
}

/// What a client gets.
pub(super) struct DelayedWriter<W> {
    inner: W,
    latency: Latency,
    transit: Transit,
}

/// Bytes on their way, oldest first.
#[derive(Default)]
struct Transit {
    chunks: VecDeque<(Instant, Vec<u8>)>,
    /// How much of the oldest chunk has been delivered.
    delivered: usize,
    bytes: usize,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl<R: AsyncRead + Unpin> DelayedReader<R> {
    pub(super) fn new(inner: R, latency: Latency) -> Self {
        Self { inner, latency, transit: Transit::default(), end: None }
    }

    /// Reads what has arrived; 0 at the end of the connection.
    pub(super) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx, buffer)).await
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let delay = self.latency.get();
        if delay.is_zero() && self.transit.chunks.is_empty() && self.end.is_none() {
            return self.poll_arrived(cx, buffer);
        }
        self.take_arrived(cx, delay);
        match ready!(self.transit.poll_due(cx)) {
            Some(chunk) => {
                let n = chunk.len().min(buffer.len());
                buffer[..n].copy_from_slice(&chunk[..n]);
                self.transit.advance(n);
                Poll::Ready(Ok(n))
            }
            None => match self.end.take() {
                Some(end) => Poll::Ready(end.map(|()| 0)),
                None => Poll::Pending,
            },
        }
    }

    fn poll_arrived(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Notes the time of everything that has arrived.
    fn take_arrived(&mut self, cx: &mut Context<'_>, delay: Duration) {
        while self.end.is_none() && self.transit.bytes < MOST_IN_TRANSIT {
            let mut chunk = vec![0; CHUNK];
            match self.poll_arrived(cx, &mut chunk) {
                Poll::Ready(Ok(n @ 1..)) => {
                    chunk.truncate(n);
                    self.transit.push(chunk, delay);
                }
                Poll::Ready(end) => {
                    self.end = Some(end.map(|_| ()));
                    self.transit.push(Vec::new(), delay);
                }
                Poll::Pending => return,
            }
        }
    }
}

impl<W: AsyncWrite + Unpin> DelayedWriter<W> {
    pub(super) fn new(inner: W, latency: Latency) -> Self {
        Self { inner, latency, transit: Transit::default() }
    }

    /// Whether bytes are on their way.
    pub(super) fn is_busy(&self) -> bool {
        !self.transit.chunks.is_empty()
    }

    /// Sends some of `slices` and says how many bytes. Without any it delivers what is on its way, and ends only by a failure.
    pub(super) async fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_write(cx, slices)).await
    }

    /// Delivers what is on its way.
    pub(super) async fn finish(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_deliver(cx)).await
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let delay = self.latency.get();
        if slices.is_empty() && !self.is_busy() {
            return Poll::Pending;
        }
        if delay.is_zero() && !self.is_busy() {
            return match ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, slices)) {
                Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                result => Poll::Ready(result),
            };
        }
        if !slices.is_empty() && self.transit.bytes < MOST_IN_TRANSIT {
            let chunk: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            let n = chunk.len();
            self.transit.push(chunk, delay);
            return Poll::Ready(Ok(n));
        }
        match ready!(self.poll_deliver(cx)) {
            Err(error) => Poll::Ready(Err(error)),
            Ok(()) => Poll::Pending,
        }
    }

    /// Ready when nothing is on its way any more.
    fn poll_deliver(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(chunk) = ready!(self.transit.poll_due(cx)) {
            let n = ready!(Pin::new(&mut self.inner).poll_write(cx, chunk))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.transit.advance(n);
        }
        Poll::Ready(Ok(()))
    }
}

impl Transit {
    /// Never before what was sent earlier, whatever the delay was then.
    fn push(&mut self, chunk: Vec<u8>, delay: Duration) {
        let last = self.chunks.back().map(|(due, _)| *due);
        let due = last.into_iter().fold(Instant::now() + delay, Instant::max);
        self.bytes += chunk.len();
        self.chunks.push_back((due, chunk));
    }

    /// The bytes whose time has come; `None` when nothing is on its way.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Option<&[u8]>> {
        // An empty chunk is the end of the connection, which has a time, too.
        while let Some((due, chunk)) = self.chunks.front() {
            if *due > Instant::now() {
                let due = *due;
                let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(due)));
                if alarm.deadline() != due {
                    alarm.as_mut().reset(due);
                }
                ready!(alarm.as_mut().poll(cx));
                continue;
            }
            if !chunk.is_empty() {
                break;
            }
            self.chunks.pop_front();
        }
        let delivered = self.delivered;
        Poll::Ready(self.chunks.front().map(|(_, chunk)| &chunk[delivered..]))
    }

    fn advance(&mut self, n: usize) {
        self.bytes -= n;
        self.delivered += n;
        if self.chunks.front().is_some_and(|(_, chunk)| chunk.len() == self.delivered) {
            self.chunks.pop_front();
            self.delivered = 0;
        }
    }
}

/// Bytes of one direction that may be on their way: 0.3 s at 400 Mbit/s. More wait with who sends them.
const MOST_IN_TRANSIT: usize = 16 << 20;
const CHUNK: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn bytes_sent_together_arrive_together_and_later_and_the_end_after_them() {
        let (latency, start) = (Latency::default(), Instant::now());
        latency.set(Duration::from_millis(150));
        let (mut client, server) = duplex(1 << 20);
        client.write_all(&[7; 300_000]).await.unwrap();
        drop(client);
        let mut reader = DelayedReader::new(server, latency);
        let (mut buffer, mut got) = (vec![0; 4096], 0);
        while let n @ 1.. = reader.read(&mut buffer).await.unwrap() {
            got += n;
        }
        assert!(got == 300_000 && start.elapsed() >= Duration::from_millis(150));
    }

    #[tokio::test]
    async fn replies_are_delayed_in_order_also_when_the_delay_becomes_shorter() {
        let (latency, start) = (Latency::default(), Instant::now());
        let (mut client, server) = duplex(1 << 20);
        let mut writer = DelayedWriter::new(server, latency.clone());
        for (byte, delay) in [(1, 100), (2, 10), (3, 0)] {
            latency.set(Duration::from_millis(delay));
            assert_eq!(writer.write(&[IoSlice::new(&[byte; 5])]).await.unwrap(), 5);
        }
        writer.finish().await.unwrap();
        let mut got = [0; 15];
        client.read_exact(&mut got).await.unwrap();
        assert_eq!((got[0], got[5], got[14]), (1, 2, 3));
        assert!(!writer.is_busy() && start.elapsed() >= Duration::from_millis(100));
    }
}
