//! Where a serial line is reached over the network, and by whom. Opens no socket.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::Deserialize;

/// The network keys of `[device.serial]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkConfig {
    /// Address of the RFC 2217 server; port 0 takes a free one.
    pub rfc2217: Option<SocketAddr>,
    /// Address of the server of raw bytes; port 0 takes a free one.
    pub tcp: Option<SocketAddr>,
    /// Networks whose clients are accepted beside those of this machine.
    pub allow: Vec<IpNet>,
    /// What DTR and RTS of RFC 2217 clients do.
    pub modem_lines: ModemLinesPolicy,
}

impl NetworkConfig {
    /// Whether a client with this address is accepted.
    pub fn allows(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        client.is_loopback() || self.allow.iter().any(|network| network.contains(&client))
    }
}

/// What DTR and RTS of an RFC 2217 client do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModemLinesPolicy {
    /// Known reset sequences are recognised and run beside the board; everything else is acknowledged and has no effect.
    #[default]
    Resets,
    /// Each change is passed on to the board.
    Pass,
    /// Changes are acknowledged and have no effect.
    Ignore,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_always_allowed_and_others_by_their_network() {
        let config = NetworkConfig { allow: vec!["192.168.7.0/24".parse().unwrap()], ..NetworkConfig::default() };
        for (client, is_allowed) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("192.168.7.9", true),
            ("::ffff:192.168.7.9", true),
            ("192.168.8.9", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(config.allows(client.parse().unwrap()), is_allowed, "{client}");
        }
    }
}
