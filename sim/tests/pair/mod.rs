//! Two nodes and a connection between them, for tests of the network.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use openraft_rt::AsyncRuntime;
use quorumq_raft::runtime::{Listener, Runtime};
use quorumq_sim::runtime::{SimRuntime, SimStream};
use quorumq_sim::scenario::address;
use quorumq_sim::world::{Config, Node, World, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub const MS: Duration = Duration::from_millis(1);

/// Runs `scenario` with several seeds.
pub fn for_seeds<S, F>(scenario: S)
where
    S: Fn(World) -> F + Copy + Send + 'static,
    F: Future<Output = ()>,
{
    for seed in 1..=10 {
        run(seed, Config::default(), scenario).unwrap();
    }
}

pub async fn sleep_ms(ms: u64) {
    SimRuntime::sleep(Duration::from_millis(ms)).await;
}

/// Whether `future` is not done after 100 ms.
pub async fn hangs<T: Send>(future: impl Future<Output = T> + Send) -> bool {
    SimRuntime::timeout(100 * MS, future).await.is_err()
}

/// Two nodes and a connection between them, each end in the hands of a task of its node that does what it is told.
pub struct Pair {
    pub world: World,
    pub a: Node,
    pub b: Node,
    pub dialed: SimStream,
    pub accepted: SimStream,
}

pub const SERVER: u16 = 80;

/// Streams belong to the node on which they were opened, and may be used from the scenario.
pub async fn pair(world: World) -> Pair {
    let (a, b) = (world.add_node(address(1)), world.add_node(address(2)));
    let addr = SocketAddr::new(b.ip(), SERVER);
    let accepting = b.spawn(async move {
        let mut listener = SimRuntime::bind(addr).await.unwrap();
        let accepted = listener.accept().await.unwrap().0;
        // Keeps listening until the node dies.
        drop(SimRuntime::spawn(async move {
            let _listener = listener;
            std::future::pending::<()>().await;
        }));
        accepted
    });
    sleep_ms(1).await;
    let dialed = a.spawn(SimRuntime::connect(addr)).await.unwrap().unwrap();
    let accepted = accepting.await.unwrap();
    Pair { world, a, b, dialed, accepted }
}

pub async fn connect(from: &Node, to: IpAddr) -> io::Result<SimStream> {
    from.spawn(SimRuntime::connect(SocketAddr::new(to, SERVER))).await.unwrap()
}

pub async fn passes(from: &mut SimStream, to: &mut SimStream, text: &[u8]) {
    from.write_all(text).await.unwrap();
    let mut read = vec![0; text.len()];
    to.read_exact(&mut read).await.unwrap();
    assert_eq!(read, text);
}
