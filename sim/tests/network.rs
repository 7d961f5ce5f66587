//! What the simulated network does to streams when links and nodes fail.
#![cfg(test)]

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft_rt::AsyncRuntime;
use quorumq_raft::runtime::{Listener, Runtime};
use quorumq_sim::runtime::SimRuntime;
use quorumq_sim::scenario::address;
use quorumq_sim::world::{ClockFault, Death, NetConfig, Node};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use pair::{MS, SERVER, connect, for_seeds, hangs, pair, passes, sleep_ms};

mod pair;

#[test]
fn a_clogged_link_stops_one_direction_and_heals_promptly() {
    for_seeds(|world| async move {
        let mut p = pair(world).await;
        p.world.clog(p.a.ip(), p.b.ip());
        p.dialed.write_all(b"held").await.unwrap();
        let mut buf = [0; 4];
        assert!(hangs(p.accepted.read_exact(&mut buf)).await, "bytes came through a clogged link");
        passes(&mut p.accepted, &mut p.dialed, b"the other way").await;

        let before = p.world.elapsed();
        p.world.heal(p.a.ip(), p.b.ip());
        p.accepted.read_exact(&mut buf).await.unwrap();
        assert_eq!(&buf, b"held");
        assert!(p.world.elapsed() - before < 10 * MS, "healing took {:?}", p.world.elapsed() - before);
    });
}

#[test]
fn what_arrived_before_a_clog_can_still_be_read() {
    for_seeds(|world| async move {
        let mut p = pair(world).await;
        p.dialed.write_all(b"early").await.unwrap();
        sleep_ms(20).await;
        p.world.partition(&[p.a.ip()], &[p.b.ip()]);
        p.dialed.write_all(b"late").await.unwrap();
        let mut buf = [0; 5];
        p.accepted.read_exact(&mut buf).await.unwrap();
        assert_eq!(&buf, b"early");
        assert!(hangs(p.accepted.read(&mut buf)).await, "bytes came through a partition");
        p.world.heal_all();
        p.accepted.read_exact(&mut buf[..4]).await.unwrap();
        assert_eq!(&buf[..4], b"late");
    });
}

#[test]
fn a_writer_stalls_when_only_the_way_back_is_clogged() {
    for_seeds(|world| async move {
        let mut p = pair(world).await;
        p.world.clog(p.b.ip(), p.a.ip());
        let reader = SimRuntime::spawn(async move {
            let mut total = 0;
            let mut buf = vec![0; 4096];
            while total < 3 * NetConfig::default().window_bytes {
                total += p.accepted.read(&mut buf).await.unwrap();
            }
        });
        let bytes = vec![1; 3 * NetConfig::default().window_bytes];
        {
            let mut writing = std::pin::pin!(p.dialed.write_all(&bytes));
            assert!(hangs(&mut writing).await, "wrote three windows without hearing from the reader");
            p.world.heal(p.b.ip(), p.a.ip());
            writing.await.unwrap();
        }
        reader.await.unwrap();
    });
}

#[test]
fn the_window_is_the_most_that_a_writer_gets_rid_of() {
    for_seeds(|world| async move {
        let mut p = pair(world).await;
        let chunk = [1; 1000];
        let mut written = 0;
        while let Ok(n) = SimRuntime::timeout(50 * MS, p.dialed.write(&chunk)).await {
            written += n.unwrap();
        }
        assert_eq!(written, NetConfig::default().window_bytes);
        let mut buf = vec![0; 10_000];
        p.accepted.read_exact(&mut buf).await.unwrap();
        while let Ok(n) = SimRuntime::timeout(50 * MS, p.dialed.write(&chunk)).await {
            written += n.unwrap();
        }
        assert_eq!(written, NetConfig::default().window_bytes + 10_000);
    });
}

#[test]
fn connects_hang_while_a_link_is_clogged_and_go_through_when_it_heals() {
    for_seeds(|world| async move {
        let p = pair(world).await;
        p.world.clog(p.b.ip(), p.a.ip());
        let mut connecting = std::pin::pin!(connect(&p.a, p.b.ip()));
        assert!(hangs(&mut connecting).await, "connected over a link that answers nothing");
        p.world.heal_all();
        connecting.await.unwrap();
    });
}

#[test]
fn held_connects_hang_while_established_connections_work() {
    for_seeds(|world| async move {
        let mut p = pair(world).await;
        p.world.hold_connects(p.a.ip(), p.b.ip());
        let mut connecting = std::pin::pin!(connect(&p.a, p.b.ip()));
        assert!(hangs(&mut connecting).await, "a held connect went through");
        passes(&mut p.dialed, &mut p.accepted, b"works").await;
        p.world.heal_all();
        connecting.await.unwrap();
    });
}

#[test]
fn a_cut_resets_both_ends_and_lets_new_connections_through() {
    for_seeds(|world| async move {
        let mut p = pair(world).await;
        let reading = SimRuntime::spawn(async move { p.accepted.read(&mut [0; 8]).await });
        sleep_ms(1).await;
        p.dialed.write_all(b"lost").await.unwrap();
        p.world.cut(p.a.ip(), p.b.ip());
        let error = reading.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let error = p.dialed.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(p.dialed.write_all(b"more").await.is_err(), "wrote to a reset connection");
        connect(&p.a, p.b.ip()).await.unwrap();
    });
}

#[test]
fn a_crash_ends_connections_and_refuses_new_ones() {
    for_seeds(|world| async move {
        let mut p = pair(world).await;
        p.accepted.write_all(b"last words").await.unwrap();
        p.b.kill(Death::Crash);
        let mut heard = Vec::new();
        p.dialed.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"last words");
        let refused = connect(&p.a, p.b.ip()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_crash_with_unread_bytes_resets_the_connection() {
    for_seeds(|world| async move {
        let mut p = pair(world).await;
        p.dialed.write_all(b"never read").await.unwrap();
        sleep_ms(20).await;
        p.b.kill(Death::Crash);
        let error = p.dialed.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_crash_behind_a_partition_is_not_noticed_until_it_heals() {
    for_seeds(|world| async move {
        let mut p = pair(world).await;
        p.world.partition(&[p.a.ip()], &[p.b.ip()]);
        p.b.kill(Death::Crash);
        let mut buf = [0; 8];
        let mut reading = std::pin::pin!(p.dialed.read(&mut buf));
        assert!(hangs(&mut reading).await, "a death was noticed through a partition");
        p.world.heal_all();
        assert_eq!(reading.await.unwrap(), 0);
    });
}

#[test]
fn a_power_loss_is_silent_until_the_host_is_back() {
    for_seeds(|world| async move {
        let mut p = pair(world).await;
        p.b.kill(Death::PowerLoss);
        p.dialed.write_all(b"hello?").await.unwrap();
        assert!(hangs(p.dialed.read(&mut [0; 8])).await, "a host without power said something");
        assert!(hangs(connect(&p.a, p.b.ip())).await, "a host without power refused a connection");
        p.b.restart();
        let error = p.dialed.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let refused = connect(&p.a, p.b.ip()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn an_idle_peer_of_a_power_loss_learns_of_it_when_it_writes() {
    for_seeds(|world| async move {
        let mut p = pair(world).await;
        p.b.kill(Death::PowerLoss);
        p.b.restart();
        assert!(hangs(p.dialed.read(&mut [0; 8])).await, "nothing was sent, so nothing can be answered");
        p.dialed.write_all(b"hello?").await.unwrap();
        let error = p.dialed.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_connect_to_a_host_without_power_gives_up_after_two_minutes() {
    for_seeds(|world| async move {
        let p = pair(world).await;
        p.b.kill(Death::PowerLoss);
        let before = p.world.elapsed();
        let error = connect(&p.a, p.b.ip()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let took = p.world.elapsed() - before;
        assert!(Duration::from_secs(120) < took && took < Duration::from_secs(130), "{took:?}");
    });
}

#[test]
fn a_killed_node_does_nothing_more_and_a_restarted_one_gets_its_port_back() {
    for_seeds(|world| async move {
        let p = pair(world).await;
        let ticks = Arc::new(AtomicU64::new(0));
        let count = ticks.clone();
        p.b.spawn(async move {
            loop {
                sleep_ms(1).await;
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        sleep_ms(10).await;
        p.b.kill(Death::Crash);
        let (at_death, elapsed) = (ticks.load(Ordering::Relaxed), p.world.elapsed());
        assert!(at_death > 0);
        p.b.restart();
        // At once: the old listener may not even have been dropped yet.
        let addr = SocketAddr::new(p.b.ip(), SERVER);
        let mut listener = p.b.spawn(SimRuntime::bind(addr)).await.unwrap().unwrap();
        let mut dialed = connect(&p.a, p.b.ip()).await.unwrap();
        let mut accepted = listener.accept().await.unwrap().0;
        passes(&mut dialed, &mut accepted, b"again").await;
        sleep_ms(50).await;
        assert_eq!(ticks.load(Ordering::Relaxed), at_death, "a task outlived its node");
        assert!(p.world.elapsed() > elapsed);
    });
}

#[test]
fn a_paused_node_keeps_its_connections_and_goes_on_later() {
    for_seeds(|world| async move {
        let p = pair(world).await;
        let mut accepted = p.accepted;
        let echo = p.b.spawn(async move {
            let mut buf = [0; 5];
            accepted.read_exact(&mut buf).await.unwrap();
            accepted.write_all(&buf).await.unwrap();
            accepted
        });
        sleep_ms(5).await;
        p.b.pause();
        let mut dialed = p.dialed;
        dialed.write_all(b"hello").await.unwrap();
        let mut buf = [0; 5];
        assert!(hangs(dialed.read_exact(&mut buf)).await, "a stopped process answered");
        connect(&p.a, p.b.ip()).await.unwrap();
        p.b.resume();
        dialed.read_exact(&mut buf).await.unwrap();
        assert_eq!(&buf, b"hello");
        echo.await.unwrap();
    });
}

#[test]
fn wall_clocks_follow_virtual_time_and_their_own_skew() {
    for_seeds(|world| async move {
        let (a, b) = (world.add_node(address(1)), world.add_node(address(2)));
        let read = |node: &Node| node.spawn(async { SimRuntime::wall_clock_ms() });
        let (one, two) = (read(&a).await.unwrap(), read(&b).await.unwrap());
        assert!((one - two).abs() <= 1, "{one} {two}");
        b.strike_clock(ClockFault::Skew(-7_000));
        sleep_ms(1_000).await;
        let (later, skewed) = (read(&a).await.unwrap(), read(&b).await.unwrap());
        assert!((1_000..1_005).contains(&(later - one)), "{one} {later}");
        assert!((-7_001..=-6_999).contains(&(skewed - later)), "{later} {skewed}");
    });
}

#[test]
fn a_bind_to_another_nodes_address_fails() {
    for_seeds(|world| async move {
        let (a, b) = (world.add_node(address(1)), world.add_node(address(2)));
        let elsewhere = SocketAddr::new(b.ip(), SERVER);
        let error = a.spawn(SimRuntime::bind(elsewhere)).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    });
}

#[test]
fn a_loopback_listener_is_reached_only_from_its_own_node() {
    for_seeds(|world| async move {
        let (a, b) = (world.add_node(address(1)), world.add_node(address(2)));
        let local = SocketAddr::from(([127, 0, 0, 1], SERVER));
        let _listener = b.spawn(SimRuntime::bind(local)).await.unwrap().unwrap();
        assert!(b.spawn(SimRuntime::connect(local)).await.unwrap().is_ok());
        let error = connect(&a, b.ip()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let any = a.spawn(SimRuntime::bind(SocketAddr::from(([0, 0, 0, 0], SERVER)))).await.unwrap().unwrap();
        assert!(connect(&b, a.ip()).await.is_ok());
        assert!(a.spawn(SimRuntime::connect(local)).await.unwrap().is_ok());
        drop(any);
    });
}
