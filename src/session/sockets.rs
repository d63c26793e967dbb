//! The sockets of lines: takes connections and hands them to the hubs. What goes through them is not its business.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::hub::Via;
use super::shared::Shared;
use crate::outlet::{Listener, Peer, is_exhausted};

/// Takes connections to the socket of this line, or of `serial`, until it is dropped. One that cannot be served is closed
/// at once and told of; those that are there go on.
pub(super) async fn serve(mut listener: Listener, line: String, shared: Arc<Shared>) {
    let mut refusals = Refusals::new(Listener::name_for(&line));
    loop {
        match listener.accept().await {
            Ok(connection) => {
                let peer = Peer::of(&connection);
                if let Err(why) = shared.adopt(&line, connection, Via::Socket, peer.clone()) {
                    refusals.tell(&shared, &peer, &why);
                }
            }
            Err(e) if is_exhausted(&e) => {
                // accept(2) says this also where nobody waits, and then there is nobody to be told of.
                if listener.turn_away() {
                    let why =
                        format!("{e}; close some programs, or raise the limit (`ulimit -n`, LimitNOFILE= of systemd)");
                    refusals.tell(&shared, &Peer::default(), &why);
                    tokio::time::sleep(TURNED_AWAY).await;
                } else {
                    tokio::time::sleep(EXHAUSTED).await;
                }
            }
            Err(_) => tokio::time::sleep(EXHAUSTED).await,
        }
    }
}

/// Programs that were refused: of many in a short time it is told once in a while.
struct Refusals {
    outlet: String,
    untold: u64,
    told: Option<Instant>,
}

impl Refusals {
    fn new(outlet: String) -> Self {
        Self { outlet, untold: 0, told: None }
    }

    fn tell(&mut self, shared: &Shared, peer: &Peer, why: &str) {
        if self.told.is_some_and(|then| then.elapsed() < QUIET) {
            self.untold += 1;
            return;
        }
        self.told = Some(Instant::now());
        let others = match std::mem::take(&mut self.untold) {
            0 => String::new(),
            n => format!("; and {n} others before it"),
        };
        let text = format!("{peer} was refused: {why}{others}");
        shared.events.tell("refuse", &shared.name, Some(&self.outlet), text);
    }
}

const TURNED_AWAY: Duration = Duration::from_millis(1);
const EXHAUSTED: Duration = Duration::from_millis(200);
/// Refusals are told of once in this time.
const QUIET: Duration = Duration::from_secs(1);
