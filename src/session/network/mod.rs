//! The servers of a serial line on TCP: raw bytes, and RFC 2217. Their clients are clients of the line like any other.
//!
//! ```text
//!   TcpListener ──► is the address allowed? ──► Connection: decodes and encodes ──► the line's readers and writers
//!                                                    └──► settings, breaks, resets of the line
//! ```

mod connection;
mod resets;
mod rfc2217;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::entrance::{MOST_CLIENTS, too_many};
use super::hub::Via;
use super::serial::SerialPort;
use super::shared::Shared;
use crate::config::NetworkConfig;
use crate::outlet::Peer;

/// A serial line as its network clients reach it.
#[derive(Clone)]
pub(super) struct NetworkLine {
    pub(super) shared: Arc<Shared>,
    pub(super) serial: Arc<SerialPort>,
    pub(super) config: Arc<NetworkConfig>,
}

impl NetworkLine {
    pub(super) fn new(shared: &Arc<Shared>, serial: &Arc<SerialPort>, config: &NetworkConfig) -> Self {
        let (shared, serial, config) = (shared.clone(), serial.clone(), Arc::new(config.clone()));
        Self { shared, serial, config }
    }

    /// Something that a client asked for could not be done.
    fn complain(&self, why: &str) {
        let outlet = self.serial.outlet(Via::Rfc2217.kind());
        self.shared.events.emit_repeatedly("warning", &self.shared.name, &outlet, why.to_owned());
    }

    fn refused(&self, via: Via, peer: &Peer, why: &str) {
        let outlet = self.serial.outlet(via.kind());
        self.shared.events.tell("refuse", &self.shared.name, Some(&outlet), format!("{peer} was refused: {why}"));
    }
}

/// One server of a line.
pub(super) struct Server {
    listener: TcpListener,
    via: Via,
    line: NetworkLine,
}

impl Server {
    /// Listens at this address.
    ///
    /// # Errors
    /// Those of bind(2), with the address.
    pub(super) fn bind(address: SocketAddr, via: Via, line: NetworkLine) -> std::io::Result<Self> {
        let with_address = |e: std::io::Error| std::io::Error::new(e.kind(), format!("{address}: {e}"));
        let socket = std::net::TcpListener::bind(address).map_err(with_address)?;
        socket.set_nonblocking(true)?;
        Ok(Self { listener: TcpListener::from_std(socket)?, via, line })
    }

    /// Where it listens, with the port that was free.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Serves clients. Ends only by being dropped, and disconnects them then.
    pub(super) async fn run(self) {
        let mut clients = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(_) = clients.join_next() => continue,
            };
            let Ok((stream, address)) = accepted else {
                // Descriptors have run out, or the client has gone again.
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let peer = Peer { address: Some(address), ..Peer::default() };
            if !self.line.config.allows(address.ip()) {
                self.line.refused(self.via, &peer, "its address is not one of `allow`");
            } else if clients.len() >= MOST_CLIENTS {
                self.line.refused(self.via, &peer, &too_many());
            } else if set_up(&stream).is_ok() {
                match connection::connect(&self.line, self.via, peer.clone()) {
                    Ok(ends) => drop(clients.spawn(rfc2217::serve(stream, ends, self.via, self.line.clone()))),
                    Err(why) => self.line.refused(self.via, &peer, &why),
                }
            }
        }
    }
}

/// Small messages go at once, and a peer that has vanished is noticed without data.
fn set_up(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(IDLE).with_interval(PROBE))
}

/// Of a connection before it is probed, and between probes.
const IDLE: Duration = Duration::from_secs(20);
const PROBE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(200);
