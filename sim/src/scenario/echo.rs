//! The seam's skeleton: three nodes that echo through their disk thread, one client, one node killed and
//! restarted on the way. The code of nodes and client is generic over the runtime, as the product's is.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use quorumq_raft::runtime::{Listener, Runtime, Serial};
use rand::RngExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use super::{Verdict, address};
use crate::runtime::SimRuntime;
use crate::world::{Death, World};

const PORT: u16 = 7000;
const MESSAGES: u32 = 100;
/// Bytes of the longest message.
const LONGEST: usize = 20_000;
const PATIENCE: Duration = Duration::from_millis(200);

/// Runs the scenario.
///
/// # Errors
/// A message came back changed, or not at all.
pub async fn run(world: World) -> Verdict {
    let servers: Vec<_> = (1..=3).map(|n| world.add_node(address(n))).collect();
    for server in &servers {
        server.spawn(serve::<SimRuntime>(server.ip()));
    }
    let client = world.add_node(address(4));
    let addresses: Vec<_> = servers.iter().map(|server| SocketAddr::new(server.ip(), PORT)).collect();
    let asking = client.spawn(ask_all::<SimRuntime>(addresses));
    madsim::time::sleep(Duration::from_millis(20)).await;
    servers[1].kill(Death::Crash);
    madsim::time::sleep(Duration::from_millis(20)).await;
    servers[1].restart();
    servers[1].spawn(serve::<SimRuntime>(servers[1].ip()));
    let echoed = asking.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
    world.record("echoed", u64::from(echoed), &[]);
    if echoed == MESSAGES { Ok(()) } else { Err(format!("{echoed} of {MESSAGES} messages came back")) }
}

/// Sends back what comes in, each message once it has been through the disk thread.
async fn serve<R: Runtime>(ip: IpAddr) -> io::Result<()> {
    let mut listener = R::bind(SocketAddr::new(ip, PORT)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        drop(R::spawn(echo::<R>(stream)));
    }
}

async fn echo<R: Runtime>(mut stream: R::Stream) -> io::Result<()> {
    let disk = R::serial("echo");
    loop {
        let message = read_message(&mut stream).await?;
        let (done, written) = oneshot::channel();
        disk.submit(Box::new(move || {
            let _ = done.send(message);
        }));
        let message = written.await.map_err(io::Error::other)?;
        write_message(&mut stream, &message).await?;
    }
}

/// Sends messages in turn to all `servers`, again where the answer does not come. Returns how many came back.
async fn ask_all<R: Runtime>(servers: Vec<SocketAddr>) -> io::Result<u32> {
    let mut streams: Vec<Option<R::Stream>> = servers.iter().map(|_| None).collect();
    let mut echoed = 0;
    for (n, server) in (0..MESSAGES).zip((0..servers.len()).cycle()) {
        let mut message = vec![0; R::thread_rng().random_range(1..LONGEST)];
        R::thread_rng().fill(&mut message[..]);
        message[0] = n as u8;
        for _attempt in 0..20 {
            let asked = R::timeout(PATIENCE, ask::<R>(&mut streams[server], servers[server], &message)).await;
            if let Ok(Ok(answer)) = asked {
                if answer != message {
                    return Err(io::Error::other(format!("message {n} came back changed")));
                }
                echoed += 1;
                break;
            }
            streams[server] = None;
            R::sleep(Duration::from_millis(5)).await;
        }
    }
    Ok(echoed)
}

/// Sends one message over `stream`, opened if there is none, and reads the answer.
async fn ask<R: Runtime>(stream: &mut Option<R::Stream>, server: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let stream = match stream {
        Some(stream) => stream,
        None => stream.insert(R::connect(server).await?),
    };
    write_message(stream, message).await?;
    read_message(stream).await
}

async fn write_message(stream: &mut (impl AsyncWriteExt + Unpin), message: &[u8]) -> io::Result<()> {
    stream.write_u32(message.len() as u32).await?;
    stream.write_all(message).await?;
    stream.flush().await
}

async fn read_message(stream: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Vec<u8>> {
    let len = stream.read_u32().await? as usize;
    if len > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {len} bytes")));
    }
    let mut message = vec![0; len];
    stream.read_exact(&mut message).await?;
    Ok(message)
}
