//! Unix: the control socket is a Unix stream socket.
//!
//! One job: bind, accept and remove it, and wait for signals. It refuses to take a socket that someone serves.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::signal::unix::{SignalKind, signal};

/// Where control clients come in.
pub type ControlListener = tokio::net::UnixListener;

/// A control client.
pub type ControlStream = tokio::net::UnixStream;

/// Waits for the next control client.
pub(crate) async fn accept(listener: &ControlListener) -> io::Result<ControlStream> {
    listener.accept().await.map(|(stream, _)| stream)
}

/// A control socket's file; removed when this is dropped.
#[derive(Debug)]
pub struct ControlPath(PathBuf);

/// Binds the control socket. What a killed mock left behind is taken over.
///
/// # Errors
/// Those of `bind`; `AddrInUse` when another process answers there.
pub fn bind_control(path: &Path) -> io::Result<(ControlListener, ControlPath)> {
    let stale = || UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    let listener = match ControlListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && stale() => {
            std::fs::remove_file(path)?;
            ControlListener::bind(path)?
        }
        result => result?,
    };
    Ok((listener, ControlPath(path.to_owned())))
}

impl Drop for ControlPath {
    fn drop(&mut self) {
        // Gone already is as good as removed.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Resolves at SIGINT or SIGTERM.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn terminated() -> io::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
