//! Disk threads, offload, time, clock, randomness, channels.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::tokio::sync::oneshot;
use openraft_rt::watch::{Watch, WatchReceiver, WatchSender};
use openraft_rt::{Instant, Mpsc, MpscReceiver, MpscSender};

use super::{BLOCKED, STEP, joined, step};
use crate::runtime::{Runtime, Serial};

/// One disk thread is a FIFO.
pub async fn a_serial_runs_jobs_in_order<R: Runtime>() -> io::Result<()> {
    let serial = R::serial("suite");
    let ran = Arc::new(Mutex::new(Vec::new()));
    for i in 0..500 {
        let ran = ran.clone();
        serial.submit(Box::new(move || ran.lock().unwrap_or_else(PoisonError::into_inner).push(i)));
    }
    let (done, last) = oneshot::channel();
    serial.submit(Box::new(move || {
        let _ = done.send(());
    }));
    step::<R, _>("last job", async { last.await.map_err(io::Error::other) }).await?;
    let ran = ran.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(ran.iter().copied().eq(0..500), "jobs ran in the order {ran:?}");
    Ok(())
}

/// Dropping the handle is not dropping the work.
pub async fn a_dropped_serial_finishes_its_queue<R: Runtime>() -> io::Result<()> {
    let serial = R::serial("suite");
    let (done, last) = oneshot::channel();
    for _ in 0..20 {
        serial.submit(Box::new(|| ()));
    }
    serial.submit(Box::new(move || {
        let _ = done.send(7);
    }));
    drop(serial);
    let value = step::<R, _>("last job", async { last.await.map_err(io::Error::other) }).await?;
    assert_eq!(value, 7);
    Ok(())
}

/// Cold reads come back with their result, several at once.
pub async fn offload_returns_the_result<R: Runtime>() -> io::Result<()> {
    let jobs: Vec<_> = (0..8_u64).map(|i| R::spawn(R::offload(move || i * i))).collect();
    for (i, job) in jobs.into_iter().enumerate() {
        let value = step::<R, _>("offload", joined::<R, _>(job)).await??;
        assert_eq!(value, (i * i) as u64);
    }
    Ok(())
}

/// Sleeps end at or after their time, also when polled along with others.
pub async fn a_sleep_never_ends_early<R: Runtime>() -> io::Result<()> {
    let start = R::Instant::now();
    let sleeps: Vec<_> = [40, 5, 25, 1, 60]
        .into_iter()
        .map(|ms| {
            let wanted = Duration::from_millis(ms);
            R::spawn(async move {
                R::sleep(wanted).await;
                (wanted, R::Instant::now())
            })
        })
        .collect();
    for sleep in sleeps {
        let (wanted, ended) = step::<R, _>("sleep", joined::<R, _>(sleep)).await?;
        assert!(ended - start >= wanted, "a sleep of {wanted:?} took {:?}", ended - start);
    }
    let deadline = R::Instant::now() + Duration::from_millis(20);
    R::sleep_until(deadline).await;
    assert!(R::Instant::now() >= deadline);
    Ok(())
}

/// A deadline that is over does not hang.
pub async fn a_past_deadline_is_over_at_once<R: Runtime>() -> io::Result<()> {
    let past = R::Instant::now();
    R::sleep(Duration::from_millis(5)).await;
    step::<R, _>("sleep", async {
        R::sleep_until(past).await;
        R::sleep(Duration::ZERO).await;
        Ok(())
    })
    .await
}

/// Timeouts fire on what never ends, and only then.
pub async fn a_timeout_fires_and_a_ready_value_passes_it<R: Runtime>() -> io::Result<()> {
    let start = R::Instant::now();
    let limit = Duration::from_millis(10);
    assert!(R::timeout(limit, std::future::pending::<()>()).await.is_err(), "pending() ended");
    assert!(start.elapsed() >= limit, "a timeout fired early");
    assert!(matches!(R::timeout(Duration::ZERO, async { 1 }).await, Ok(1)), "a ready value timed out");
    let slow = async {
        R::sleep(limit).await;
        2
    };
    assert!(matches!(R::timeout(STEP, slow).await, Ok(2)), "a timeout fired early");
    let at = R::timeout_at(R::Instant::now() + limit, std::future::pending::<()>());
    assert!(at.await.is_err(), "pending() ended");
    Ok(())
}

/// A sleep given up half-way disturbs nobody.
pub async fn a_cancelled_sleep_leaves_others_alone<R: Runtime>() -> io::Result<()> {
    for _ in 0..50 {
        drop(R::timeout(Duration::from_millis(1), R::sleep(STEP)).await);
    }
    let start = R::Instant::now();
    R::sleep(Duration::from_millis(10)).await;
    assert!(start.elapsed() >= Duration::from_millis(10));
    assert!(start.elapsed() < STEP, "an abandoned sleep held up a later one");
    Ok(())
}

/// Milliseconds, not seconds or nanoseconds.
pub async fn the_wall_clock_is_past_2020<R: Runtime>() -> io::Result<()> {
    let (year_2020, year_2200) = (1_577_836_800_000, 7_258_118_400_000);
    let now = R::wall_clock_ms();
    assert!((year_2020..year_2200).contains(&now), "the wall clock says {now} ms");
    Ok(())
}

/// Two draws are not one.
pub async fn random_numbers_differ<R: Runtime>() -> io::Result<()> {
    use rand::RngExt;
    let (one, two): (u128, u128) = (R::thread_rng().random(), R::thread_rng().random());
    assert_ne!(one, two);
    Ok(())
}

/// Every receiver wakes, and sees the newest value.
pub async fn a_watch_wakes_every_receiver<R: Runtime>() -> io::Result<()> {
    let (sender, receiver) = <R::Watch as Watch>::channel(0);
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let mut receiver = receiver.clone();
            R::spawn(async move {
                while *receiver.borrow_watched() < 3 {
                    receiver.changed().await.map_err(io::Error::other)?;
                }
                Ok::<_, io::Error>(())
            })
        })
        .collect();
    for value in 1..=3 {
        R::sleep(Duration::from_millis(2)).await;
        sender.send(value).map_err(io::Error::other)?;
    }
    for task in waiting {
        step::<R, _>("receiver", joined::<R, _>(task)).await??;
    }
    let mut last = receiver.clone();
    drop(sender);
    last.borrow_and_update();
    assert!(last.changed().await.is_err(), "a watch without a sender still waits");
    Ok(())
}

/// A bounded channel is a FIFO that makes its senders wait.
pub async fn an_mpsc_keeps_order_and_pushes_back<R: Runtime>() -> io::Result<()> {
    let (sender, mut receiver) = <R::Mpsc as Mpsc>::channel::<u32>(4);
    for i in 0..4 {
        sender.send(i).await.map_err(|_| io::Error::other("closed"))?;
    }
    assert!(R::timeout(BLOCKED, sender.send(99)).await.is_err(), "a fifth value fits into four places");
    let producer = R::spawn(async move {
        for i in 4..100 {
            sender.send(i).await.map_err(|_| io::Error::other("closed"))?;
        }
        Ok::<_, io::Error>(())
    });
    for i in 0..100 {
        let got = step::<R, _>("receive", async { receiver.recv().await.ok_or(io::ErrorKind::UnexpectedEof.into()) });
        assert_eq!(got.await?, i);
    }
    step::<R, _>("producer", joined::<R, _>(producer)).await??;
    assert_eq!(receiver.recv().await, None, "a channel without a sender still waits");
    Ok(())
}
