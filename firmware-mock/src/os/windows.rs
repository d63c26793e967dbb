//! Windows: there is no control socket; faults can be given at the start.
//!
//! One job: the same names as on Unix. It refuses to bind a control socket, with an error that says so.

use std::convert::Infallible;
use std::io;
use std::path::Path;

/// Where control clients would come in; none can be made.
#[derive(Debug)]
pub struct ControlListener(Infallible);

/// A control client; none can come.
pub type ControlStream = tokio::io::DuplexStream;

pub(crate) async fn accept(listener: &ControlListener) -> io::Result<ControlStream> {
    match listener.0 {}
}

/// A control socket's file.
#[derive(Debug)]
pub struct ControlPath(Infallible);

/// Always fails.
///
/// # Errors
/// `Unsupported`.
pub fn bind_control(_path: &Path) -> io::Result<(ControlListener, ControlPath)> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "a control socket needs Unix sockets; use --fault instead"))
}

/// Resolves at Ctrl-C.
///
/// # Errors
/// When the handler cannot be installed.
pub fn terminated() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move {
        interrupt.recv().await;
    })
}
