//! The sockets of lines: takes connections and hands them to the hubs. What goes through them is not its business.

use std::sync::Arc;
use std::time::Duration;

use super::hub::Via;
use super::refusals::Refusals;
use super::shared::Shared;
use crate::outlet::{Listener, Peer, is_exhausted};

/// Takes connections to the socket of this line, or of `serial`, until it is dropped. One that cannot be served is closed
/// at once and told of; those that are there go on.
pub(super) async fn serve(mut listener: Listener, line: String, shared: Arc<Shared>) {
    let mut refusals = Refusals::new(&shared, Listener::name_for(&line));
    loop {
        match listener.accept().await {
            Ok(connection) => {
                let peer = Peer::of(&connection);
                if let Err(why) = shared.adopt(&line, connection, Via::Socket, peer.clone()) {
                    refusals.tell(&peer, &why);
                }
            }
            Err(e) if is_exhausted(&e) => {
                // accept(2) says this also where nobody waits, and then there is nobody to be told of.
                if listener.turn_away() {
                    let why =
                        format!("{e}; close some programs, or raise the limit (`ulimit -n`, LimitNOFILE= of systemd)");
                    refusals.tell(&Peer::default(), &why);
                    tokio::time::sleep(TURNED_AWAY).await;
                } else {
                    tokio::time::sleep(EXHAUSTED).await;
                }
            }
            Err(_) => tokio::time::sleep(EXHAUSTED).await,
        }
    }
}

const TURNED_AWAY: Duration = Duration::from_millis(1);
const EXHAUSTED: Duration = Duration::from_millis(200);
