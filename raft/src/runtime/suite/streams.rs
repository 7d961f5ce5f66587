//! What a connected byte stream promises.

use std::io;
use std::time::Duration;

use ::tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{BLOCKED, any_port, joined, pair, pattern, read_exact, read_until_lost, step, write_all};
use crate::runtime::{Listener, Runtime};

/// More than any stream may buffer between a writer and a reader that does not read.
const BUFFER_LIMIT: usize = 64 << 20;

/// Writes of many sizes come out as the same bytes.
pub async fn a_stream_delivers_bytes_in_order<R: Runtime>() -> io::Result<()> {
    let (mut dialed, mut accepted) = pair::<R>().await?;
    let sent = pattern(300_000, 1);
    let expected = sent.clone();
    let reader =
        R::spawn(async move { read_exact::<R>(&mut accepted, expected.len()).await.map(|got| got == expected) });
    let mut rest = &sent[..];
    for len in [1, 2, 3, 100, 4096, 5000, 65_536, 70_000].into_iter().cycle() {
        let (now, later) = rest.split_at(len.min(rest.len()));
        write_all::<R>(&mut dialed, now).await?;
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    assert!(step::<R, _>("reader", joined::<R, _>(reader)).await??, "the bytes changed on the way");
    Ok(())
}

/// A transfer far beyond any buffer, in both directions of one connection at once.
pub async fn both_directions_carry_big_transfers_at_once<R: Runtime>() -> io::Result<()> {
    const LEN: usize = 3 << 20;
    let (dialed, accepted) = pair::<R>().await?;
    let exchange = |stream: R::Stream, salt: u64, expected: u64| async move {
        let (mut read, mut write) = ::tokio::io::split(stream);
        let writer = R::spawn(async move {
            write.write_all(&pattern(LEN, salt)).await?;
            write.flush().await
        });
        let mut got = vec![0; LEN];
        read.read_exact(&mut got).await?;
        joined::<R, _>(writer).await??;
        assert!(got == pattern(LEN, expected), "the bytes changed on the way");
        Ok::<_, io::Error>(())
    };
    let one = R::spawn(exchange(dialed, 7, 8));
    let two = R::spawn(exchange(accepted, 8, 7));
    step::<R, _>("dialing side", joined::<R, _>(one)).await??;
    step::<R, _>("accepting side", joined::<R, _>(two)).await??;
    Ok(())
}

/// Back-pressure: a writer stops when nobody reads, and goes on when somebody does.
pub async fn a_writer_waits_for_its_reader<R: Runtime>() -> io::Result<()> {
    let (mut dialed, mut accepted) = pair::<R>().await?;
    let chunk = pattern(64 << 10, 3);
    let mut written = 0;
    while let Ok(n) = R::timeout(BLOCKED, dialed.write(&chunk)).await {
        written += n?;
        assert!(written <= BUFFER_LIMIT, "{written} bytes are under way to a reader that does not read");
    }
    assert!(written > 0, "not one byte fits into the connection");
    let reader = R::spawn(async move {
        let mut buf = vec![0; 64 << 10];
        let mut left = written;
        while left > 0 {
            let most = left.min(buf.len());
            left -= step::<R, _>("read", accepted.read(&mut buf[..most])).await?.max(1);
        }
        Ok::<_, io::Error>(accepted)
    });
    let mut accepted = step::<R, _>("reader", joined::<R, _>(reader)).await??;
    write_all::<R>(&mut dialed, b"goes on").await?;
    assert_eq!(read_exact::<R>(&mut accepted, 7).await?, b"goes on");
    Ok(())
}

/// Many connections to one listener each carry their own bytes.
pub async fn connections_do_not_mix<R: Runtime>() -> io::Result<()> {
    const COUNT: u64 = 40;
    let mut listener = R::bind(any_port()).await?;
    let addr = listener.local_addr()?;
    let clients: Vec<_> = (0..COUNT)
        .map(|salt| {
            R::spawn(async move {
                let mut stream = step::<R, _>("connect", R::connect(addr)).await?;
                write_all::<R>(&mut stream, &pattern(5000, salt)).await?;
                let echoed = read_exact::<R>(&mut stream, 5000).await?;
                Ok::<_, io::Error>(echoed == pattern(5000, salt))
            })
        })
        .collect();
    for _ in 0..COUNT {
        let (mut stream, _) = step::<R, _>("accept", listener.accept()).await?;
        drop(R::spawn(async move {
            let bytes = read_exact::<R>(&mut stream, 5000).await?;
            write_all::<R>(&mut stream, &bytes).await
        }));
    }
    for client in clients {
        assert!(step::<R, _>("client", joined::<R, _>(client)).await??, "a connection got another one's bytes");
    }
    Ok(())
}

/// Half-close: the other direction still works.
pub async fn shutdown_closes_one_direction_only<R: Runtime>() -> io::Result<()> {
    let (mut dialed, mut accepted) = pair::<R>().await?;
    write_all::<R>(&mut dialed, b"last words").await?;
    step::<R, _>("shutdown", dialed.shutdown()).await?;
    assert_eq!(read_until_lost::<R>(&mut accepted).await?, b"last words");

    let answer = pattern(200_000, 9);
    let expected = answer.clone();
    let writer = R::spawn(async move {
        write_all::<R>(&mut accepted, &answer).await?;
        step::<R, _>("shutdown", accepted.shutdown()).await?;
        Ok::<_, io::Error>(accepted)
    });
    assert!(read_until_lost::<R>(&mut dialed).await? == expected, "the half-open direction lost bytes");
    step::<R, _>("writer", joined::<R, _>(writer)).await??;
    Ok(())
}

/// What was promised to be the end is the end.
pub async fn writing_after_shutdown_fails<R: Runtime>() -> io::Result<()> {
    let (mut dialed, _accepted) = pair::<R>().await?;
    step::<R, _>("shutdown", dialed.shutdown()).await?;
    assert!(dialed.write_all(b"more").await.is_err(), "wrote after shutdown");
    Ok(())
}

/// The peer reads what was sent before, then the end.
pub async fn dropping_a_stream_ends_the_peers_reads<R: Runtime>() -> io::Result<()> {
    let (mut dialed, mut accepted) = pair::<R>().await?;
    write_all::<R>(&mut dialed, b"bye").await?;
    drop(dialed);
    assert_eq!(read_until_lost::<R>(&mut accepted).await?, b"bye");
    Ok(())
}

/// The peer's writes fail soon, they do not go on for ever.
pub async fn dropping_a_stream_ends_the_peers_writes<R: Runtime>() -> io::Result<()> {
    let (dialed, mut accepted) = pair::<R>().await?;
    drop(dialed);
    let failed = step::<R, _>("write", async {
        loop {
            if accepted.write_all(b"anybody there").await.is_err() {
                return Ok(());
            }
            R::sleep(Duration::from_millis(1)).await;
        }
    });
    failed.await
}

/// A writer that waits for room learns that its reader is gone.
pub async fn dropping_a_stream_with_unread_bytes_ends_the_peer<R: Runtime>() -> io::Result<()> {
    let (mut dialed, accepted) = pair::<R>().await?;
    let chunk = pattern(64 << 10, 3);
    while let Ok(n) = R::timeout(BLOCKED, dialed.write(&chunk)).await {
        n?;
    }
    drop(accepted);
    let failed = step::<R, _>("write", async {
        loop {
            if dialed.write(&chunk).await.is_err() {
                return Ok(());
            }
        }
    });
    failed.await
}
