//! Faults of networks, clocks and processes: what they do, how they overlap, and that each is counted where it is felt.
#![cfg(test)]

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft_rt::AsyncRuntime;
use quorumq_raft::runtime::{Listener, Runtime};
use quorumq_sim::runtime::{SimRuntime, SimStream};
use quorumq_sim::scenario::address;
use quorumq_sim::tally::{Fault, Struck};
use quorumq_sim::world::{ClockFault, Config, Death, NetConfig, World, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use pair::{MS, SERVER, connect, for_seeds, hangs, pair, passes, sleep_ms};

mod pair;

fn struck(world: &World, fault: Fault) -> (u64, u64) {
    let Struck { begun, felt } = world.tally().counts().fault(fault);
    (begun, felt)
}

/// No write is short: one write is one run of bytes.
fn whole_writes(world: &World) {
    world.set_weather(NetConfig { short_write_one_in: 0, ..NetConfig::default() });
}

#[test]
fn faults_of_one_link_heal_each_on_their_own_and_each_counts_what_it_held() {
    for_seeds(|world| async move {
        whole_writes(&world);
        let mut p = pair(world).await;
        let one_way = p.world.one_way(p.a.ip(), p.b.ip());
        p.dialed.write_all(b"one").await.unwrap();
        sleep_ms(20).await;
        let isolation = p.world.isolate(p.a.ip());
        p.dialed.write_all(b"two").await.unwrap();
        sleep_ms(20).await;
        one_way.heal();
        let mut buf = [0; 6];
        assert!(hangs(p.accepted.read_exact(&mut buf)).await, "bytes came through while a fault was left");
        assert!(hangs(connect(&p.b, p.a.ip())).await, "connected to an isolated host");
        isolation.heal();
        p.accepted.read_exact(&mut buf).await.unwrap();
        assert_eq!(&buf, b"onetwo");
        assert_eq!(struck(&p.world, Fault::OneWay), (1, 2));
        // Both runs and the connect.
        assert_eq!(struck(&p.world, Fault::Isolation), (1, 3));
        passes(&mut p.accepted, &mut p.dialed, b"the other way").await;
    });
}

#[test]
fn a_third_host_reaches_both_ends_of_a_bridge() {
    for_seeds(|world| async move {
        let p = pair(world).await;
        let third = p.world.add_node(address(3));
        let bridge = p.world.bridge(&[p.a.ip()], &[p.b.ip()]);
        assert!(hangs(connect(&p.a, p.b.ip())).await, "connected across a bridge");
        connect(&third, p.b.ip()).await.unwrap();
        let refused = connect(&third, p.a.ip()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        bridge.heal();
        connect(&p.a, p.b.ip()).await.unwrap();
        assert_eq!(struck(&p.world, Fault::Bridge), (1, 1));
    });
}

#[test]
fn a_flapping_link_delays_bytes_and_loses_none() {
    for_seeds(|world| async move {
        let mut p = pair(world).await;
        let (a, b) = (p.a.ip(), p.b.ip());
        let flapping = p.world.flap(&[a], &[b], 20 * MS..60 * MS, 5 * MS..20 * MS);
        let (mut longest, mut read) = (Duration::ZERO, [0; 9]);
        for _ in 0..50 {
            let before = p.world.elapsed();
            p.dialed.write_all(b"here I am").await.unwrap();
            p.accepted.read_exact(&mut read).await.unwrap();
            assert_eq!(&read, b"here I am");
            longest = longest.max(p.world.elapsed() - before);
            sleep_ms(5).await;
        }
        assert!(5 * MS < longest && longest < 100 * MS, "{longest:?}");
        flapping.heal();
        let (begun, felt) = struck(&p.world, Fault::Flapping);
        assert!(begun == 1 && felt >= 5, "{begun} {felt}");
        sleep_ms(100).await;
        passes(&mut p.dialed, &mut p.accepted, b"at once").await;
        assert_eq!(struck(&p.world, Fault::Flapping), (1, felt), "it flaps though it was healed");
    });
}

#[test]
fn what_is_lost_is_sent_again_after_200_ms_and_what_follows_waits() {
    for_seeds(|world| async move {
        whole_writes(&world);
        let mut p = pair(world).await;
        let loss = p.world.lose(&[p.a.ip()], &[p.b.ip()], 2);
        let mut late = 0;
        for n in 0..30_u8 {
            let before = p.world.elapsed();
            p.dialed.write_all(&[n]).await.unwrap();
            assert_eq!(p.accepted.read_u8().await.unwrap(), n);
            let took = p.world.elapsed() - before;
            assert!(took < 20 * MS || took >= 200 * MS, "{took:?}");
            late += u64::from(took >= 200 * MS);
        }
        assert_eq!(struck(&p.world, Fault::Loss), (1, late));
        assert!(late > 0);
        loss.heal();
        let before = p.world.elapsed();
        passes(&mut p.dialed, &mut p.accepted, b"nothing is lost any more").await;
        assert!(p.world.elapsed() - before < 20 * MS);
    });
}

#[test]
fn long_delays_have_a_heavy_tail() {
    let (short, long) = (AtomicU64::new(0), AtomicU64::new(0));
    let counts: &'static (AtomicU64, AtomicU64) = Box::leak(Box::new((short, long)));
    for_seeds(move |world| async move {
        whole_writes(&world);
        let mut p = pair(world).await;
        let _block = p.world.delay(&[p.a.ip()], &[p.b.ip()], 1);
        for n in 0..40_u8 {
            let before = p.world.elapsed();
            p.dialed.write_all(&[n]).await.unwrap();
            assert_eq!(p.accepted.read_u8().await.unwrap(), n);
            let took = p.world.elapsed() - before;
            assert!(took >= 10 * MS && took < Duration::from_secs(17), "{took:?}");
            counts.0.fetch_add(u64::from(took < 20 * MS), Ordering::Relaxed);
            counts.1.fetch_add(u64::from(took > 300 * MS), Ordering::Relaxed);
        }
        assert_eq!(struck(&p.world, Fault::LongDelay), (1, 40));
    });
    let (short, long) = (counts.0.load(Ordering::Relaxed), counts.1.load(Ordering::Relaxed));
    assert!(short > 150 && (5..60).contains(&long), "of 400: {short} below 20 ms, {long} above 300 ms");
}

#[test]
fn bytes_of_two_connections_overtake_each_other() {
    let order: &'static [AtomicU64; 2] = Box::leak(Box::default());
    for_seeds(move |world| async move {
        let p = pair(world).await;
        let addr = SocketAddr::new(p.a.ip(), SERVER);
        let mut listener = p.a.spawn(SimRuntime::bind(addr)).await.unwrap().unwrap();
        let mut one = connect(&p.b, p.a.ip()).await.unwrap();
        let one_read = listener.accept().await.unwrap().0;
        let mut two = connect(&p.b, p.a.ip()).await.unwrap();
        let two_read = listener.accept().await.unwrap().0;
        let arrival = |mut stream: SimStream, world: World| {
            SimRuntime::spawn(async move {
                stream.read_u8().await.unwrap();
                world.elapsed()
            })
        };
        let (first, second) = (arrival(one_read, p.world.clone()), arrival(two_read, p.world.clone()));
        one.write_u8(1).await.unwrap();
        two.write_u8(2).await.unwrap();
        let overtaken = first.await.unwrap() > second.await.unwrap();
        order[usize::from(overtaken)].fetch_add(1, Ordering::Relaxed);
    });
    assert!(order.iter().all(|times| times.load(Ordering::Relaxed) > 0), "{order:?}");
}

#[test]
fn a_connection_cut_in_use_loses_what_it_carries() {
    for_seeds(|world| async move {
        whole_writes(&world);
        let mut p = pair(world).await;
        p.world.cut_in_use(p.a.ip(), p.b.ip());
        assert!(hangs(p.accepted.read(&mut [0; 8])).await, "it was cut while nobody used it");
        p.dialed.write_all(b"lost").await.unwrap();
        let error = p.accepted.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let error = p.dialed.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(struck(&p.world, Fault::Reset), (1, 1));
        connect(&p.a, p.b.ip()).await.unwrap();
    });
}

#[test]
fn a_truncated_stream_ends_in_the_middle_of_what_was_written() {
    let ends: &'static [AtomicU64; 2] = Box::leak(Box::default());
    for_seeds(move |world| async move {
        whole_writes(&world);
        let mut p = pair(world).await;
        passes(&mut p.dialed, &mut p.accepted, b"before").await;
        p.world.truncate(p.a.ip(), p.b.ip());
        p.dialed.write_all(b"in the middle of it").await.unwrap();
        let mut read = Vec::new();
        let end = p.accepted.read_to_end(&mut read).await;
        assert!(!read.is_empty() && read.len() < 19 && b"in the middle of it".starts_with(&read), "{read:?}");
        if let Err(e) = &end {
            assert_eq!(e.kind(), io::ErrorKind::ConnectionReset);
        }
        ends[usize::from(end.is_ok())].fetch_add(1, Ordering::Relaxed);
        sleep_ms(20).await;
        let error = p.dialed.write_all(b"more").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(struck(&p.world, Fault::Truncation), (1, 1));
        connect(&p.a, p.b.ip()).await.unwrap();
    });
    assert!(ends.iter().all(|times| times.load(Ordering::Relaxed) > 0), "{ends:?}");
}

#[test]
fn a_death_counts_the_connections_it_ends_and_those_it_refuses() {
    for_seeds(|world| async move {
        let p = pair(world).await;
        let _second = connect(&p.a, p.b.ip()).await.unwrap();
        p.b.kill(Death::Crash);
        assert_eq!(struck(&p.world, Fault::Kill), (1, 2));
        p.b.restart();
        connect(&p.a, p.b.ip()).await.unwrap_err();
        assert_eq!(struck(&p.world, Fault::Kill), (1, 2), "refused for another reason");
        p.b.kill_for(Fault::NameServerLoss, Death::PowerLoss);
        assert!(hangs(connect(&p.a, p.b.ip())).await);
        assert_eq!(struck(&p.world, Fault::NameServerLoss), (0, 1));
        assert_eq!(struck(&p.world, Fault::PowerLoss), (0, 0));
    });
}

#[test]
fn a_pause_counts_what_waits_for_the_process() {
    for_seeds(|world| async move {
        whole_writes(&world);
        let mut p = pair(world).await;
        p.dialed.write_all(b"before").await.unwrap();
        sleep_ms(20).await;
        p.b.pause();
        p.dialed.write_all(b"one").await.unwrap();
        p.dialed.write_all(b"two").await.unwrap();
        sleep_ms(20).await;
        p.b.resume();
        assert_eq!(struck(&p.world, Fault::Pause), (1, 2));
    });
}

#[test]
fn a_clock_jumps_stands_still_and_is_mended() {
    for_seeds(|world| async move {
        let node = world.add_node(address(1));
        let read = async || node.spawn(async { SimRuntime::wall_clock_ms() }).await.unwrap();
        let start = read().await;
        node.strike_clock(ClockFault::Jump(-60_000));
        let back = read().await;
        assert!((-60_000..=-59_999).contains(&(back - start)), "{start} {back}");
        node.strike_clock(ClockFault::Freeze);
        sleep_ms(5_000).await;
        assert!((back..=back + 1).contains(&read().await));
        node.mend_clock();
        assert!((5_000..5_010).contains(&(read().await - start)));
        assert_eq!(struck(&world, Fault::ClockJump), (1, 2));
        assert_eq!(struck(&world, Fault::ClockFreeze), (1, 1));
    });
}

#[test]
fn short_writes_are_counted() {
    for_seeds(|world| async move {
        world.set_weather(NetConfig { short_write_one_in: 1, ..NetConfig::default() });
        let mut p = pair(world).await;
        let before = struck(&p.world, Fault::ShortWrite).1;
        assert!(p.dialed.write(b"all of it").await.unwrap() < 9);
        assert_eq!(struck(&p.world, Fault::ShortWrite).1, before + 1);
    });
}

/// The hash of a run in which a few runs of bytes travel, some of which nobody reads; and their number.
fn hash_with_flip(flip_bit_of: Option<u64>) -> u64 {
    let config = Config { flip_bit_of, ..Config::default() };
    let outcome = run(7, config, |world| async move {
        whole_writes(&world);
        let mut p = pair(world).await;
        for n in 0..5 {
            p.dialed.write_all(&[n; 100]).await.unwrap();
            p.accepted.write_all(&[n; 3]).await.unwrap();
        }
        p.accepted.read_exact(&mut [0; 450]).await.unwrap();
    });
    outcome.unwrap().hash
}

#[test]
fn one_bit_of_any_run_of_bytes_changes_the_trace_hash() {
    let clean = hash_with_flip(None);
    assert_eq!(clean, hash_with_flip(None));
    assert_eq!(clean, hash_with_flip(Some(11)), "there were more runs of bytes than written here");
    let flipped: BTreeSet<u64> = (1..=10).map(|n| hash_with_flip(Some(n))).collect();
    assert!(flipped.len() == 10 && !flipped.contains(&clean), "{clean:x} {flipped:x?}");
}
