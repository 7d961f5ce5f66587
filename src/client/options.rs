//! Settings every client shares.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use crate::protocol::Encoding;

use super::error::ClientError;
use super::remoting::CallLimits;

/// The port a NameServer listens on unless told otherwise.
pub const NAMESRV_PORT: u16 = 9876;

/// Settings of a client. The numbers are those of RocketMQ's ClientConfig.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// NameServers; each knows every route.
    pub namesrv: Vec<SocketAddr>,
    /// How request headers are written.
    pub encoding: Encoding,
    /// First part of the client id, for people: `ip@instance#random`.
    pub client_ip: IpAddr,
    /// Second part of the client id.
    pub instance: String,
    /// How often routes are fetched again (`pollNameServerInterval`: 30,000 ms).
    pub route_interval: Duration,
    /// How often brokers hear from us (`heartbeatBrokerInterval`: 30,000 ms; they forget a client after 120 s).
    pub heartbeat_interval: Duration,
    /// How long an administrative request or a query may take (`mqClientApiTimeout`: 3000 ms).
    pub api_timeout: Duration,
    /// Limits of each connection.
    pub limits: CallLimits,
}

impl ClientOptions {
    /// The defaults, for these NameServers.
    pub fn new(namesrv: Vec<SocketAddr>) -> Self {
        Self {
            namesrv,
            encoding: Encoding::Binary,
            client_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            instance: "DEFAULT".to_owned(),
            route_interval: Duration::from_secs(30),
            heartbeat_interval: Duration::from_secs(30),
            api_timeout: Duration::from_secs(3),
            limits: CallLimits::default(),
        }
    }

    /// The defaults, for a NameServer list as RocketMQ writes it; see [`parse_namesrv`].
    ///
    /// # Errors
    /// As [`parse_namesrv`].
    pub fn parse(namesrv: &str) -> Result<Self, ClientError> {
        parse_namesrv(namesrv).map(Self::new)
    }
}

/// Reads a NameServer list: `host:port;host:port`, the port 9876 if it is missing. Host names are looked up here and
/// now (which may block), IPv4 addresses preferred.
///
/// # Errors
/// [`ClientError::Invalid`]: the list is empty, or a host cannot be found.
pub fn parse_namesrv(list: &str) -> Result<Vec<SocketAddr>, ClientError> {
    let hosts = list.split(';').map(str::trim).filter(|host| !host.is_empty());
    let mut found = Vec::new();
    for host in hosts {
        let with_port = if host.contains(':') { host.to_owned() } else { format!("{host}:{NAMESRV_PORT}") };
        let addrs = with_port.to_socket_addrs();
        let addrs: Vec<SocketAddr> =
            addrs.map_err(|error| ClientError::invalid("NameServer address", format!("{host}: {error}")))?.collect();
        let addr = addrs.iter().find(|addr| addr.is_ipv4()).or_else(|| addrs.first());
        let addr = addr.ok_or_else(|| ClientError::invalid("NameServer address", format!("{host} has no address")))?;
        if !found.contains(addr) {
            found.push(*addr);
        }
    }
    if found.is_empty() {
        return Err(ClientError::invalid("NameServer address", "the list is empty; write host:9876;host:9876"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namesrv_lists_are_read_as_rocketmq_writes_them() {
        let read = |list| parse_namesrv(list).expect(list).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(read("127.0.0.1:9876;127.0.0.2:9877"), ["127.0.0.1:9876", "127.0.0.2:9877"]);
        assert_eq!(read(" 127.0.0.1 ; ;127.0.0.1:9876;"), ["127.0.0.1:9876"]);
        for bad in ["", " ; ", "127.0.0.1:99999", "127.0.0.1:x"] {
            assert!(matches!(parse_namesrv(bad), Err(ClientError::Invalid { .. })), "{bad}");
        }
    }
}
