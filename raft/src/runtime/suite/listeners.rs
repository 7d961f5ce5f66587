//! Binding, connecting, accepting.

use std::io;
use std::time::Duration;

use super::{any_port, pair, pattern, read_exact, read_until_lost, step, write_all};
use crate::runtime::{Listener, Runtime};

/// Port 0 becomes a real port.
pub async fn port_zero_picks_a_free_port<R: Runtime>() -> io::Result<()> {
    let one = R::bind(any_port()).await?;
    let two = R::bind(any_port()).await?;
    let (one, two) = (one.local_addr()?, two.local_addr()?);
    assert_ne!(one.port(), 0);
    assert_ne!(one, two, "two listeners got one port");
    assert_eq!(one.ip(), any_port().ip());
    Ok(())
}

/// A second listener on a port is an error of its own kind.
pub async fn a_taken_port_is_addr_in_use<R: Runtime>() -> io::Result<()> {
    let listener = R::bind(any_port()).await?;
    match R::bind(listener.local_addr()?).await {
        Err(e) => assert_eq!(e.kind(), io::ErrorKind::AddrInUse, "{e}"),
        Ok(_) => panic!("one port was bound twice"),
    }
    Ok(())
}

/// A restarted listener gets its port back, connections of the old one or not.
pub async fn a_dropped_listener_frees_its_port<R: Runtime>() -> io::Result<()> {
    let mut listener = R::bind(any_port()).await?;
    let addr = listener.local_addr()?;
    let dialed = step::<R, _>("connect", R::connect(addr)).await?;
    let accepted = step::<R, _>("accept", listener.accept()).await?;
    drop((listener, accepted, dialed));
    let mut again = R::bind(addr).await?;
    let _dialed = step::<R, _>("connect", R::connect(addr)).await?;
    step::<R, _>("accept", again.accept()).await?;
    Ok(())
}

/// Nobody listens: refused, which tells a dead process from a dead host.
pub async fn a_closed_port_refuses_connections<R: Runtime>() -> io::Result<()> {
    // On a real host somebody else may take the port in between; not three times in a row.
    for _ in 0..3 {
        let listener = R::bind(any_port()).await?;
        let addr = listener.local_addr()?;
        drop(listener);
        if let Err(e) = step::<R, _>("connect", R::connect(addr)).await {
            assert_eq!(e.kind(), io::ErrorKind::ConnectionRefused, "{e}");
            return Ok(());
        }
    }
    panic!("connected to a closed port");
}

/// The listener learns who connected.
pub async fn accept_tells_the_peers_address<R: Runtime>() -> io::Result<()> {
    let mut listener = R::bind(any_port()).await?;
    let addr = listener.local_addr()?;
    let _one = step::<R, _>("connect", R::connect(addr)).await?;
    let _two = step::<R, _>("connect", R::connect(addr)).await?;
    let (_a, one) = step::<R, _>("accept", listener.accept()).await?;
    let (_b, two) = step::<R, _>("accept", listener.accept()).await?;
    assert_eq!(one.ip(), addr.ip());
    assert_ne!(one, two, "two connections came from one address");
    assert_ne!(one.port(), addr.port());
    Ok(())
}

/// An accept that was given up loses no connection.
pub async fn accept_is_cancel_safe<R: Runtime>() -> io::Result<()> {
    let mut listener = R::bind(any_port()).await?;
    for salt in 0..5 {
        let early = R::timeout(Duration::from_millis(2), listener.accept()).await;
        assert!(early.is_err(), "accepted a connection nobody made");
        let mut dialed = step::<R, _>("connect", R::connect(listener.local_addr()?)).await?;
        write_all::<R>(&mut dialed, &pattern(10, salt)).await?;
        let (mut accepted, _) = step::<R, _>("accept", listener.accept()).await?;
        assert_eq!(read_exact::<R>(&mut accepted, 10).await?, pattern(10, salt));
    }
    Ok(())
}

/// Connect and write need no accept; the bytes are there later.
pub async fn a_connection_waits_until_it_is_accepted<R: Runtime>() -> io::Result<()> {
    let mut listener = R::bind(any_port()).await?;
    let mut dialed = step::<R, _>("connect", R::connect(listener.local_addr()?)).await?;
    write_all::<R>(&mut dialed, b"early").await?;
    R::sleep(Duration::from_millis(5)).await;
    let (mut accepted, _) = step::<R, _>("accept", listener.accept()).await?;
    assert_eq!(read_exact::<R>(&mut accepted, 5).await?, b"early");
    Ok(())
}

/// A listener's end is not its connections' end.
pub async fn dropping_a_listener_keeps_accepted_streams<R: Runtime>() -> io::Result<()> {
    let (mut dialed, mut accepted) = pair::<R>().await?;
    write_all::<R>(&mut dialed, b"still here").await?;
    assert_eq!(read_exact::<R>(&mut accepted, 10).await?, b"still here");
    Ok(())
}

/// Connections that nobody will ever accept are lost, not left hanging.
pub async fn dropping_a_listener_ends_unaccepted_connections<R: Runtime>() -> io::Result<()> {
    let listener = R::bind(any_port()).await?;
    let mut dialed = step::<R, _>("connect", R::connect(listener.local_addr()?)).await?;
    drop(listener);
    assert_eq!(read_until_lost::<R>(&mut dialed).await?, b"");
    Ok(())
}
