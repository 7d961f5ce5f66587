//! Addresses for servers that a test runs in its own process.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Above what a test's processes take, below the ports that Linux gives to outgoing connections: one of those may be
/// taken between the moment it was found free and the moment a server listens on it.
const FIRST: u32 = 10_000;
const COUNT: u32 = 9_990;

/// An address on loopback that nobody listens on, and that no other call in this process gets.
pub fn free_addr() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Processes that begin at different places seldom try for the same port.
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let step = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + step).expect("below 20000");
        let addr = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        if TcpListener::bind(addr).is_ok() {
            return addr.into();
        }
    }
    panic!("every port from {FIRST} to {} is taken", FIRST + COUNT);
}
