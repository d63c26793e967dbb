//! A tokio reader or writer as an end of an outlet, for programs that are reached by neither a FIFO nor a socket of this
//! machine.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::{Sink, Source};

/// A writer that one program reads at its other end.
#[derive(Debug)]
pub struct IoSink<W> {
    writer: W,
    /// `None` once the program has gone.
    gone: Option<oneshot::Receiver<()>>,
}

impl<W> IoSink<W> {
    /// The program has gone when something was sent to `gone`, or its sender was dropped.
    pub fn new(writer: W, gone: oneshot::Receiver<()>) -> Self {
        Self { writer, gone: Some(gone) }
    }
}

impl<W: AsyncWrite + Unpin + Send> Sink for IoSink<W> {
    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match ready!(Pin::new(&mut self.writer).poll_write_vectored(cx, slices)) {
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            result => Poll::Ready(result),
        }
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(gone) = &mut self.gone {
            let _ = ready!(Pin::new(gone).poll(cx));
            self.gone = None;
        }
        Poll::Ready(())
    }
}

/// A reader that one program writes at its other end.
#[derive(Debug)]
pub struct IoSource<R>(pub R);

impl<R: AsyncRead + Unpin + Send> Source for IoSource<R> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        match ready!(Pin::new(&mut self.0).poll_read(cx, &mut buffer)) {
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => Poll::Ready(Ok(0)),
            result => Poll::Ready(result.map(|()| buffer.filled().len())),
        }
    }
}
