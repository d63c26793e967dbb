//! Windows: the control socket is a named pipe, and Ctrl-C ends the mock.
//!
//! One job: make, accept and wait. It refuses to share a name with somebody else's pipe.

use std::io;
use std::path::{Path, PathBuf};

use tokio::net::windows::named_pipe::{NamedPipeServer, ServerOptions};
use tokio::sync::Mutex;

/// Where control clients come in.
#[derive(Debug)]
pub struct ControlListener {
    path: PathBuf,
    /// The instance that the next client gets.
    next: Mutex<NamedPipeServer>,
}

/// A control client.
pub type ControlStream = NamedPipeServer;

/// Waits for the next control client.
pub(crate) async fn accept(listener: &ControlListener) -> io::Result<ControlStream> {
    let mut next = listener.next.lock().await;
    let connected = next.connect().await;
    let taken = std::mem::replace(&mut *next, ServerOptions::new().create(&listener.path)?);
    connected.map(|()| taken)
}

/// A pipe vanishes with its last handle, so that there is nothing to remove.
#[derive(Debug)]
pub struct ControlPath(());

/// Makes the control pipe, such as `\\.\pipe\mock`.
///
/// # Errors
/// Those of CreateNamedPipe; `PermissionDenied` when another process has a pipe of this name.
pub fn bind_control(path: &Path) -> io::Result<(ControlListener, ControlPath)> {
    let first = ServerOptions::new().first_pipe_instance(true).create(path)?;
    Ok((ControlListener { path: path.to_owned(), next: Mutex::new(first) }, ControlPath(())))
}

/// Resolves at Ctrl-C, Ctrl-Break or when the console is closed.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn terminated() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close};
    let (mut interrupt, mut quit, mut close) = (ctrl_c()?, ctrl_break()?, ctrl_close()?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = quit.recv() => {}
            _ = close.recv() => {}
        }
    })
}
