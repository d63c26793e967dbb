//! The entrance to a socket or named pipe: takes connections, and reports those for which there is no place. What becomes of
//! the others is not its business.

use std::sync::Arc;
use std::time::Duration;

use super::shared::Shared;
use crate::outlet::{Connection, Listener, Peer, is_exhausted};

/// Where programs come in.
pub(super) struct Entrance {
    listener: Listener,
    outlet: String,
    shared: Arc<Shared>,
}

impl Entrance {
    /// To an outlet, by the name that users know it by.
    pub(super) fn new(listener: Listener, outlet: &str, shared: &Arc<Shared>) -> Self {
        Self { listener, outlet: outlet.to_owned(), shared: shared.clone() }
    }

    /// The next connection. Where descriptors have run out, those that wait are closed and told of. Cancel safe.
    pub(super) async fn next(&mut self) -> Connection {
        loop {
            match self.listener.accept().await {
                Ok(connection) => return connection,
                // accept(2) says this also where nobody waits, and then there is nobody to be told of.
                Err(e) if is_exhausted(&e) && self.listener.turn_away() => {
                    let why =
                        format!("{e}; close some programs, or raise the limit (`ulimit -n`, LimitNOFILE= of systemd)");
                    self.refused(&Peer::default(), &why);
                    tokio::time::sleep(TURNED_AWAY).await;
                }
                Err(_) => tokio::time::sleep(EXHAUSTED).await,
            }
        }
    }

    /// There was no place for this program.
    pub(super) fn refused(&self, peer: &Peer, why: &str) {
        let text = format!("{peer} was refused: {why}");
        self.shared.events.tell("refuse", &self.shared.name, Some(&self.outlet), text);
    }
}

/// What to tell a program that is one too many.
pub(super) fn too_many() -> String {
    format!("{MOST_CLIENTS} programs are connected to it, and there can be no more")
}

/// Programs at one outlet, besides those at its FIFO. Memory is bounded, and so are descriptors.
pub(super) const MOST_CLIENTS: usize = 128;
const TURNED_AWAY: Duration = Duration::from_millis(1);
const EXHAUSTED: Duration = Duration::from_millis(200);
