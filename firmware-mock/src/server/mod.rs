//! The server: sockets in front of the ports.
//!
//! One job: accept connections and end them all when told to. It refuses to know what is said on them.

mod connection;
mod control;
pub(crate) mod hub;
mod inbox;
mod latency;
mod session;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tracing::warn;

use self::hub::Hub;
use crate::os::ControlListener;

/// Serves until `shutdown` resolves.
///
/// # Errors
/// None at present: a connection that cannot be accepted is reported and the next one is awaited.
pub(crate) async fn run(
    hub: Hub,
    listener: TcpListener,
    control: Option<ControlListener>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let hub = Arc::new(hub);
    let mut clients = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(clients.spawn(connection::run(stream, hub.clone()))),
                Err(error) => pause(&error).await,
            },
            accepted = accept(control.as_ref()) => match accepted {
                Ok(stream) => drop(clients.spawn(control::run(stream, hub.clone()))),
                Err(error) => pause(&error).await,
            },
            Some(_) = clients.join_next() => {}
        }
    }
    clients.shutdown().await;
    Ok(())
}

async fn accept(control: Option<&ControlListener>) -> io::Result<crate::os::ControlStream> {
    match control {
        Some(listener) => crate::os::accept(listener).await,
        None => std::future::pending().await,
    }
}

/// Out of descriptors, most likely: trying again at once would spin.
async fn pause(error: &io::Error) {
    warn!("cannot accept a connection: {error}");
    tokio::time::sleep(Duration::from_millis(50)).await;
}
