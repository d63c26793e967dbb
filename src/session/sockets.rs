//! The sockets of lines: hands connections to the hubs. What goes through them is not its business.

use std::sync::Arc;

use super::entrance::Entrance;
use super::hub::Via;
use super::shared::Shared;
use crate::outlet::Peer;

/// Serves who comes to this line, or to `serial`, until it is dropped. Who cannot be served finds the connection closed
/// and is told of; those that are there go on.
pub(super) async fn serve(mut entrance: Entrance, line: String, shared: Arc<Shared>) {
    loop {
        let connection = entrance.next().await;
        let peer = Peer::of(&connection);
        if let Err(why) = shared.adopt(&line, connection, Via::Socket, peer.clone()) {
            entrance.refused(&peer, &why);
        }
    }
}
