//! Host and port of a peer or NameServer, and the address this machine is reached at.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

/// A host (name or IP address) and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// A name, an IPv4 address, or an IPv6 address in square brackets.
    pub host: String,
    /// At least 1.
    pub port: u16,
}

impl HostPort {
    /// Reads `host:port`. The port is at least 1; an IPv6 host stands in square brackets.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port > 0)?;
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let good = match bare {
            Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')),
        };
        good.then(|| Self { host: host.to_owned(), port })
    }

    /// The socket address, IPv4 before IPv6. Asks the host's resolver for a name, which blocks: call it at start.
    ///
    /// # Errors
    /// The name is not known to the resolver.
    pub fn resolve(&self) -> io::Result<SocketAddr> {
        let mut found: Vec<SocketAddr> = self.to_string().to_socket_addrs()?.collect();
        found.sort_by_key(|addr| addr.is_ipv6());
        let none = || io::Error::new(io::ErrorKind::NotFound, format!("{self} has no address"));
        found.first().copied().ok_or_else(none)
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The first IPv4 address of this machine that is not loopback, by interface order; link-local ones only if there is
/// no other. `None` on a machine without network.
pub fn first_ipv4() -> Option<Ipv4Addr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let mut found: Vec<Ipv4Addr> = interfaces
        .iter()
        .filter_map(|interface| match interface.ip() {
            IpAddr::V4(ip) if !ip.is_loopback() => Some(ip),
            _ => None,
        })
        .collect();
    // A stable sort keeps interface order.
    found.sort_by_key(Ipv4Addr::is_link_local);
    found.first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_read_and_written_alike() {
        for text in ["127.0.0.1:9876", "broker-0.brokers.default.svc:40911", "[::1]:9876"] {
            assert_eq!(HostPort::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_host_and_port_is_refused() {
        for text in ["", "9876", ":9876", "host:", "host:0", "host:65536", "ho st:1", "a:b:1", "[::1:9876", "host:1x"] {
            assert_eq!(HostPort::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_literal_address_resolves_to_itself() {
        let addr = HostPort::parse("127.0.0.1:9876").unwrap().resolve().unwrap();
        assert_eq!(addr, SocketAddr::from(([127, 0, 0, 1], 9876)));
    }
}
