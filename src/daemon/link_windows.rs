//! Connections of the admin pipe on Windows. It knows nothing of what is said on them.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::windows::named_pipe::{ClientOptions, NamedPipeClient};
use windows_sys::Win32::Foundation::ERROR_PIPE_BUSY;

use crate::outlet::{self, Connection, Credentials, Departure, Dir, Peer};

/// Where commands connect.
pub(super) type Listener = outlet::Listener;
/// What the other side says.
pub(super) type ReadHalf = tokio::io::ReadHalf<Stream>;

/// What is said to the other side.
pub(super) struct WriteHalf {
    half: tokio::io::WriteHalf<Stream>,
    peer: Peer,
}

/// A connection, of either side.
pub(super) enum Stream {
    Daemon(outlet::Stream),
    Command(NamedPipeClient),
}

/// The next connection.
///
/// # Errors
/// When no further instance of the pipe can be made.
pub(super) async fn accept(listener: &mut Listener) -> io::Result<Stream> {
    listener.accept().await.map(|connection| Stream::Daemon(outlet::Stream::new(connection)))
}

/// Connects to a daemon.
///
/// # Errors
/// Those of CreateFile; `InvalidInput` where there can be no pipe.
pub(super) async fn connect(path: &Path) -> io::Result<Stream> {
    if let Some(Err(e)) = path.parent().map(Dir::name) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, e));
    }
    loop {
        match ClientOptions::new().open(path) {
            Ok(client) => return Ok(Stream::Command(client)),
            // Others came at the same moment; the daemon is about to make more room.
            Err(e) if e.raw_os_error() == Some(ERROR_PIPE_BUSY.cast_signed()) => tokio::time::sleep(BUSY).await,
            Err(e) => return Err(e),
        }
    }
}

/// Both directions, each for itself.
pub(super) fn split(stream: Stream) -> (ReadHalf, WriteHalf) {
    let peer = match &stream {
        Stream::Daemon(stream) => Peer::of(stream.connection()),
        Stream::Command(_) => Peer::default(),
    };
    let (source, half) = tokio::io::split(stream);
    (source, WriteHalf { half, peer })
}

/// The end of whoever is at the other end, which is not noticed here.
///
/// # Errors
/// None; elsewhere the reactor may have no place for it.
pub(super) fn departure_of(_out: &WriteHalf) -> io::Result<Departure> {
    Ok(Departure::never())
}

/// Says this to a client that is then turned away.
pub(super) fn refuse(stream: &Stream, line: &str) {
    if let Stream::Daemon(stream) = stream {
        stream.try_write(line.as_bytes());
    }
}

/// A connection that becomes an outlet's.
pub(super) struct Given {
    stream: outlet::Stream,
}

impl Given {
    /// Both directions together again; `None` for those of two connections.
    pub(super) fn of(source: ReadHalf, out: WriteHalf) -> Option<Self> {
        if !source.is_pair_of(&out.half) {
            return None;
        }
        match source.unsplit(out.half) {
            Stream::Daemon(stream) => Some(Self { stream }),
            Stream::Command(_) => None,
        }
    }

    /// What the outlet gets.
    ///
    /// # Errors
    /// None; elsewhere there may be no more descriptors.
    pub(super) fn connection(&self) -> io::Result<Connection> {
        self.stream.connection().try_clone()
    }

    /// Says this before anything of the outlet's is said.
    pub(super) fn say(self, line: &str) {
        self.stream.try_write(line.as_bytes());
    }
}

/// Who it is, for deciding what it may do.
pub(super) fn credentials_of(out: &WriteHalf) -> Option<Credentials> {
    Credentials::of(out).ok()
}

/// Who is at the other end.
pub(super) fn peer_of(out: &WriteHalf) -> Peer {
    out.peer.clone()
}

impl AsyncWrite for WriteHalf {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.half).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.half).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.half).poll_shutdown(cx)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Daemon(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Command(client) => Pin::new(client).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Daemon(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Command(client) => Pin::new(client).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Daemon(stream) => Pin::new(stream).poll_flush(cx),
            Self::Command(client) => Pin::new(client).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Daemon(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Command(client) => {
                // A pipe has no end of one direction: an empty line says that nothing follows.
                std::task::ready!(Pin::new(&mut *client).poll_write(cx, b"\n"))?;
                Pin::new(client).poll_flush(cx)
            }
        }
    }
}

/// Until another try.
const BUSY: Duration = Duration::from_millis(10);
