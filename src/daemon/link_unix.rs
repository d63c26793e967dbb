//! Connections of `admin.sock` on Unix: stream sockets. It knows nothing of what is said on them, but for what it tells
//! those for whom no descriptor is left.

use std::fs::File;
use std::future::poll_fn;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::task::{Context, Poll};

use tokio::net::{UnixListener, UnixStream};

use crate::outlet::{Connection, Credentials, Departure, Peer, is_exhausted};

/// Where commands connect.
#[derive(Debug)]
pub(super) struct Listener {
    socket: UnixListener,
    /// Given up where descriptors have run out, so that a client can be told.
    reserve: Option<File>,
}
/// A connection, of either side.
pub(super) type Stream = UnixStream;
/// What the other side says.
pub(super) type ReadHalf = tokio::net::unix::OwnedReadHalf;
/// What is said to the other side.
pub(super) type WriteHalf = tokio::net::unix::OwnedWriteHalf;

impl Listener {
    /// Takes connections of this socket.
    pub(super) fn of(socket: UnixListener) -> Self {
        Self { socket, reserve: reserve() }
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        loop {
            match self.socket.poll_accept(cx) {
                Poll::Ready(Ok((stream, _))) if self.has_reserve() => return Poll::Ready(Ok(stream)),
                Poll::Ready(Ok((stream, _))) => refuse(&stream, EXHAUSTED),
                // accept(2) says this also where nobody waits.
                Poll::Ready(Err(e)) if is_exhausted(&e) && self.reserve.take().is_some() => {}
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending => {
                    self.has_reserve();
                    return Poll::Pending;
                }
            }
        }
    }

    fn has_reserve(&mut self) -> bool {
        self.reserve = self.reserve.take().or_else(reserve);
        self.reserve.is_some()
    }
}

fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

/// The next connection. Where it takes the last descriptor, its client is told so instead.
///
/// # Errors
/// Those of accept(2).
pub(super) async fn accept(listener: &mut Listener) -> io::Result<Stream> {
    poll_fn(|cx| listener.poll_accept(cx)).await
}

/// Connects to a daemon.
///
/// # Errors
/// Those of connect(2).
pub(super) async fn connect(path: &Path) -> io::Result<Stream> {
    UnixStream::connect(path).await
}

/// Both directions, each for itself.
pub(super) fn split(stream: Stream) -> (ReadHalf, WriteHalf) {
    stream.into_split()
}

/// Who is at the other end.
pub(super) fn peer_of(out: &WriteHalf) -> Peer {
    Peer::of(out.as_ref())
}

/// The end of whoever is at the other end.
///
/// # Errors
/// Those of dup(2) and epoll_ctl(2).
pub(super) fn departure_of(out: &WriteHalf) -> io::Result<Departure> {
    Departure::of(out.as_ref().as_fd())
}

/// Who it is, for deciding what it may do.
pub(super) fn credentials_of(out: &WriteHalf) -> Option<Credentials> {
    Credentials::of(out.as_ref()).ok()
}

/// Says this to a client that is then turned away. There is room for a line in a new connection, and nothing to be done
/// where there is none.
pub(super) fn refuse(stream: &Stream, line: &str) {
    let _ = stream.try_write(line.as_bytes());
}

/// A connection that becomes an outlet's.
pub(super) struct Given(StdStream);

impl Given {
    /// Both directions together again; `None` for those of two connections.
    pub(super) fn of(source: ReadHalf, out: WriteHalf) -> Option<Self> {
        source.reunite(out).ok()?.into_std().ok().map(Self)
    }

    /// What the outlet gets.
    ///
    /// # Errors
    /// Those of dup(2).
    pub(super) fn connection(&self) -> io::Result<Connection> {
        self.0.try_clone().map(Connection::from)
    }

    /// Says this before anything of the outlet's is said. A client that has gone needs no reply.
    pub(super) fn say(mut self, line: &str) {
        let _ = self.0.write_all(line.as_bytes());
    }
}

const EXHAUSTED: &str = "{\"error\":\"the daemon has no descriptors left; close some programs that have its outlets open, \
                         or raise its limit (`ulimit -n`, LimitNOFILE= of systemd)\"}\n";
