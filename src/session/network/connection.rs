//! The ends by which a network client is a reader and a writer of its line.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::sync::oneshot;

use super::NetworkLine;
use crate::outlet::{IoSink, IoSource, Peer};
use crate::session::hub::Via;

/// What the connection of a client has of its line.
pub(super) struct LineEnds {
    /// What the line received. Ends when the line lets the client go.
    pub(super) from_line: DuplexStream,
    pub(super) to_line: ToLine,
    /// Resolves when the line has read all that was written to it, or lets the client go.
    pub(super) written: oneshot::Receiver<()>,
    /// Dropped when the client goes.
    pub(super) gone: oneshot::Sender<()>,
}

/// Bytes for the line.
pub(super) struct ToLine {
    writer: DuplexStream,
    /// How many were written, and up to which of them they are to be dropped.
    written: u64,
    purge: Arc<AtomicU64>,
}

impl ToLine {
    /// Drops what was written and the line has not read.
    pub(super) fn purge(&self) {
        self.purge.store(self.written, Relaxed);
    }
}

impl AsyncWrite for ToLine {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.writer).poll_write(cx, bytes))?;
        self.written += n as u64;
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(cx)
    }
}

/// The line's end of [`ToLine`].
struct FromClient {
    reader: DuplexStream,
    read: u64,
    purge: Arc<AtomicU64>,
    _written: oneshot::Sender<()>,
}

impl AsyncRead for FromClient {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut self.reader).poll_read(cx, buffer))?;
            let n = (buffer.filled().len() - before) as u64;
            let purged = self.purge.load(Relaxed).saturating_sub(self.read).min(n);
            self.read += n;
            if purged == 0 {
                return Poll::Ready(Ok(()));
            }
            buffer.filled_mut()[before..].rotate_left(purged as usize);
            buffer.set_filled(before + (n - purged) as usize);
            if purged < n {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// Makes a client a reader and a writer of its line.
///
/// # Errors
/// Why it cannot be one, in words for its user.
pub(super) fn connect(line: &NetworkLine, via: Via, peer: Peer) -> Result<LineEnds, String> {
    let hub = |kind| line.shared.hub(&line.serial.outlet(kind)).ok_or("the line is not there");
    let (readers, writers) = (hub("rx")?, hub("tx")?);
    let ((sink, from_line), (writer, reader)) = (duplex(BUFFER), duplex(BUFFER));
    let ((gone, is_gone), (_written, written)) = (oneshot::channel(), oneshot::channel());
    let purge = Arc::<AtomicU64>::default();
    let source = FromClient { reader, read: 0, purge: purge.clone(), _written };
    let as_reader = readers.offer_reader(Box::new(IoSink::new(sink, is_gone)), via, peer.clone())?;
    let as_writer = writers.offer_writer(Box::new(IoSource(source)), via, peer)?;
    as_reader.take();
    as_writer.take();
    Ok(LineEnds { from_line, to_line: ToLine { writer, written: 0, purge }, written, gone })
}

/// Bytes in each direction between a line and a client's connection.
const BUFFER: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_purge_drops_what_was_not_read_and_nothing_that_comes_later() {
        let ((writer, reader), purge) = (duplex(BUFFER), Arc::<AtomicU64>::default());
        let (_written, _) = oneshot::channel();
        let mut from_client = FromClient { reader, read: 0, purge: purge.clone(), _written };
        let mut to_line = ToLine { writer, written: 0, purge };
        to_line.write_all(b"read, dropped").await.unwrap();
        let mut first = [0; 6];
        from_client.read_exact(&mut first).await.unwrap();
        to_line.purge();
        to_line.write_all(b"kept").await.unwrap();
        drop(to_line);
        let mut rest = Vec::new();
        from_client.read_to_end(&mut rest).await.unwrap();
        assert_eq!((&first, &rest[..]), (b"read, ", &b"kept"[..]));
    }
}
