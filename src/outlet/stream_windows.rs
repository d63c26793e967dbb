//! A named pipe as a stream of bytes in both directions, for lines of text. It keeps no messages.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::overlapped::{Operation, Outcome};
use super::pipe::Connection;

/// The daemon's end of a pipe.
pub struct Stream {
    connection: Connection,
    reading: Operation,
    writing: Operation,
    /// What was read and not asked for: somebody asked for more, and then for less.
    rest: Vec<u8>,
}

impl Stream {
    /// Of a connected pipe.
    pub fn new(connection: Connection) -> Self {
        let operation = || Operation::new(&connection.handle);
        Self { reading: operation(), writing: operation(), rest: Vec::new(), connection }
    }

    /// The pipe.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Writes this if nothing else is being written.
    pub fn try_write(&self, bytes: &[u8]) {
        if self.writing.is_idle() {
            self.writing.write(std::iter::once(bytes));
        }
    }

    /// The next message of a pipe that keeps them; `None` when the program has gone. One of more than `limit` bytes is cut
    /// after one more than that.
    pub async fn message(&self, limit: usize) -> Option<Vec<u8>> {
        let mut message = self.part(limit + 1).await?;
        while let (Outcome::More(_), _) = message {
            message.0 = self.part(limit + 1).await?.0;
        }
        Some(message.1)
    }

    /// At most `size` bytes of a message, and whether it has more.
    async fn part(&self, size: usize) -> Option<(Outcome, Vec<u8>)> {
        if self.reading.is_idle() {
            self.reading.read(size);
        }
        let part = std::future::poll_fn(|cx| self.reading.poll(cx, |outcome, bytes| (outcome, bytes.to_vec())));
        part.await.ok()
    }

    /// Writes a message.
    ///
    /// # Errors
    /// When the program has gone.
    pub async fn send(&self, message: &[u8]) -> io::Result<()> {
        self.written().await?;
        self.writing.write(std::iter::once(message));
        self.written().await
    }

    async fn written(&self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_written(cx)).await
    }

    fn poll_written(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.writing.is_idle() {
            return Poll::Ready(Ok(()));
        }
        self.writing.poll(cx, |_, _| ())
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { reading, rest, .. } = &mut *self;
        while rest.is_empty() {
            if reading.is_idle() {
                reading.read(buffer.remaining().min(MOST_AT_ONCE));
            }
            let read = reading.poll(cx, |_, bytes| rest.extend_from_slice(bytes));
            if ready!(read).is_err() {
                // The program has gone.
                return Poll::Ready(Ok(()));
            }
        }
        let n = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..n]);
        rest.drain(..n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_written(cx))?;
        let now = &bytes[..bytes.len().min(MOST_AT_ONCE)];
        self.writing.write(std::iter::once(now));
        Poll::Ready(Ok(now.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_written(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_written(cx)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.reading.cancel();
    }
}

/// Bytes.
const MOST_AT_ONCE: usize = 64 * 1024;
