//! The network around the node: free ports, nodes to meet, addresses that others can dial, and what is doubtful in the config.

use super::Check;
use crate::config::{Config, Profile, tcp_address};
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::Duration;

/// A node that takes longer is as good as down.
const CONNECT_WAIT: Duration = Duration::from_secs(3);

/// Legal, and yet probably not meant.
pub(super) fn doubtful(config: &Config) -> Vec<Check> {
    let mut checks = Vec::new();
    let url = &config.public_url;
    if url.starts_with("http://") && !host_is_loopback(url.trim_start_matches("http://")) {
        let hint = "put a TLS proxy in front and name it: public_url = \"https://…\"";
        checks.push(Check::warning("config", format_args!("public_url {url} is plain HTTP beyond this machine"), hint));
    }
    if let Ok(Some(metrics)) = config.metrics()
        && !metrics.ip().is_loopback()
    {
        let hint = "nothing guards them: let only the scraper's network reach this address";
        checks.push(Check::warning(
            "config",
            format_args!("metrics are shown at {metrics}, beyond this machine"),
            hint,
        ));
    }
    if config.profile == Profile::Production && config.public_url.is_empty() {
        let hint = "set public_url to the address of the TLS proxy, or users elsewhere cannot find the bridge";
        checks.push(Check::warning("config", "public_url is empty: the bridge is announced as loopback", hint));
    }
    checks
}

fn host_is_loopback(authority: &str) -> bool {
    let host = authority.split('/').next().unwrap_or_default();
    if host == "localhost" || host.starts_with("localhost:") {
        return true;
    }
    let ip = host.parse::<SocketAddr>().map(|address| address.ip()).or_else(|_| host.parse::<IpAddr>());
    ip.is_ok_and(|ip| ip.is_loopback())
}

/// Whether what the node will listen on is free; only while it does not serve.
pub(super) fn ports(config: &Config) -> Vec<Check> {
    let web = config.web().ok().map(|at| ("web", at));
    let metrics = config.metrics().ok().flatten().map(|at| ("metrics", at));
    let listen = config.listen().unwrap_or_default();
    let listen = listen.iter().filter_map(tcp_address).map(|at| ("listen", at));
    let wanted: Vec<_> = web.into_iter().chain(metrics).chain(listen).collect();
    let mut checks: Vec<Check> = wanted
        .iter()
        .filter_map(|(key, at)| {
            let error = TcpListener::bind(at).err()?;
            let hint = format!("end what uses it (ss -ltnp), or change {key} in config.toml");
            Some(Check::failed("ports", format_args!("{key}: {at}: {error}"), hint))
        })
        .collect();
    if checks.is_empty() {
        let all: Vec<String> = wanted.iter().map(|(_, at)| at.to_string()).collect();
        checks.push(Check::ok("ports", format_args!("free: {}", all.join(", "))));
    }
    checks
}

/// Whether the nodes to meet first take a connection.
pub(super) async fn bootstrap(config: &Config) -> Vec<Check> {
    let addresses = config.bootstrap().unwrap_or_default();
    if addresses.is_empty() {
        return vec![Check::skipped("bootstrap", "none: other nodes must know this one", "")];
    }
    let total = addresses.len();
    let mut tries = tokio::task::JoinSet::new();
    for address in addresses {
        tries.spawn(async move {
            let reached = tokio::time::timeout(CONNECT_WAIT, connect(&address)).await;
            (address, reached.unwrap_or_else(|_| Err("no answer within 3 s".into())))
        });
    }
    let mut checks = Vec::new();
    while let Some(tried) = tries.join_next().await {
        if let Ok((address, Err(why))) = tried {
            let hint = "is that node up, and is its address still this one?";
            checks.push(Check::warning("bootstrap", format_args!("{address}: {why}"), hint));
        }
    }
    if checks.is_empty() {
        checks.push(Check::ok("bootstrap", format_args!("{total} reachable")));
    }
    checks
}

async fn connect(address: &Multiaddr) -> Result<(), String> {
    let port = address.iter().find_map(|part| if let Protocol::Tcp(port) = part { Some(port) } else { None });
    let host = address.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(ip.to_string()),
        Protocol::Ip6(ip) => Some(ip.to_string()),
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => Some(name.into_owned()),
        _ => None,
    });
    let (Some(host), Some(port)) = (host, port) else { return Err("no host and TCP port".into()) };
    tokio::net::TcpStream::connect((host.as_str(), port)).await.map(drop).map_err(|error| error.to_string())
}

/// Whether another machine could dial this node.
pub(super) fn addresses(config: &Config) -> Check {
    let name = "addresses";
    let listen = config.listen().unwrap_or_default();
    if config.profile == Profile::Testnet {
        return Check::skipped(name, "a testnet stays on this machine", "");
    }
    let loopback = |at: &Multiaddr| tcp_address(at).is_some_and(|at| at.ip().is_loopback());
    if listen.iter().all(loopback) {
        let hint = "listen = [\"/ip4/0.0.0.0/tcp/4001\"]";
        return Check::warning(name, "libp2p listens on loopback only: no other machine can reach this node", hint);
    }
    let free_port = listen.iter().filter_map(tcp_address).any(|at| at.port() == 0);
    if free_port {
        let hint = "name a port: others keep the address for weeks";
        return Check::warning(name, "libp2p takes another port at each start", hint);
    }
    let all: Vec<String> = listen.iter().map(ToString::to_string).collect();
    Check::ok(name, format_args!("{}; whether a firewall lets others in shows only from outside", all.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_fine_on_this_machine_only() {
        for host in ["localhost", "localhost:8080/x", "127.0.0.1:8080", "[::1]:8080", "127.0.0.1"] {
            assert!(host_is_loopback(host), "{host} is this machine");
        }
        for host in ["chat.acme.example", "localhost.evil.example", "10.0.0.1:80", ""] {
            assert!(!host_is_loopback(host), "{host} is not");
        }
    }
}
