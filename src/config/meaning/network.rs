//! The meaning of the network keys of a `[device.serial]` table.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::checks::{Checks, choice};
use crate::config::NetworkConfig;
use crate::config::typed::{Typed, TypedSerial};

pub(super) fn network(checks: &mut Checks<'_>, table: &TypedSerial) -> NetworkConfig {
    let allow = networks(checks, table);
    let has_allow = table.allow.is_some();
    let rfc2217 = address(checks, "rfc2217", &table.rfc2217, has_allow);
    let tcp = address(checks, "tcp", &table.tcp, has_allow);
    if let (Some(a), Some(b), Some(typed)) = (rfc2217, tcp, &table.tcp)
        && a == b
        && a.port() != 0
    {
        checks.refuse(typed.span(), "`tcp` and `rfc2217` are the same address; give one of them another port");
    }
    NetworkConfig { rfc2217, tcp, allow, modem_lines: choice(&table.modem_lines).unwrap_or_default() }
}

fn address(checks: &mut Checks<'_>, key: &str, typed: &Typed<String>, has_allow: bool) -> Option<SocketAddr> {
    let typed = typed.as_ref()?;
    let text = typed.get_ref();
    let Ok(address) = text.parse::<SocketAddr>() else {
        let example = "must be an address of this machine with a port, as \"127.0.0.1:4000\" or \"[::1]:4000\"";
        checks.refuse(typed.span(), format!("`{key}` is {text:?}, but {example}"));
        return None;
    };
    if !address.ip().to_canonical().is_loopback() && !has_allow {
        let advice = "name the networks whose clients are accepted, as allow = [\"192.168.7.0/24\"]";
        checks.refuse(typed.span(), format!("`{key}` is reached from other machines, without a password; {advice}"));
    }
    Some(address)
}

fn networks(checks: &mut Checks<'_>, table: &TypedSerial) -> Vec<IpNet> {
    let Some(typed) = &table.allow else { return Vec::new() };
    let mut networks = Vec::new();
    for network in typed.get_ref() {
        let text = network.get_ref();
        let parsed = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        match parsed {
            Some(parsed) => networks.push(parsed),
            None => checks.refuse(
                network.span(),
                format!("`allow` has {text:?}, but takes networks and addresses, as \"192.168.7.0/24\" or \"fd00::7\""),
            ),
        }
    }
    networks
}
