//! Connections of `admin.sock` on Unix: stream sockets. It knows nothing of what is said on them.

use std::io::{self, Write};
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;

use tokio::net::{UnixListener, UnixStream};

use crate::outlet::{Connection, Peer};

/// Where commands connect.
pub(super) type Listener = UnixListener;
/// A connection, of either side.
pub(super) type Stream = UnixStream;
/// What the other side says.
pub(super) type ReadHalf = tokio::net::unix::OwnedReadHalf;
/// What is said to the other side.
pub(super) type WriteHalf = tokio::net::unix::OwnedWriteHalf;

/// The next connection.
///
/// # Errors
/// Those of accept(2).
pub(super) async fn accept(listener: &mut Listener) -> io::Result<Stream> {
    listener.accept().await.map(|(stream, _)| stream)
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
