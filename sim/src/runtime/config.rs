//! How slow and how lossy a run's networks and disks are.

use std::time::Duration;

use super::rng::Delay;

/// How slow and how lossy the network and the disks are.
#[derive(Clone, Debug)]
pub struct NetConfig {
    /// One way between two hosts, of each run of bytes.
    pub latency: Delay,
    /// One way from a host to itself.
    pub loopback: Delay,
    /// One job of a disk thread, or one cold read.
    pub disk: Delay,
    /// Bytes that may be under way or unread in one direction of a connection.
    pub window_bytes: usize,
    /// One write in this many takes only a part of its bytes. 0: none.
    pub short_write_one_in: u32,
    /// One run of bytes in this many is lost between two hosts and sent again, 200 ms later, then 400 ms, and so on.
    /// 0: none.
    pub loss_one_in: u32,
    /// One run of bytes in this many takes far longer between two hosts: from 10 ms on, twice as long half as often.
    /// 0: none.
    pub long_delay_one_in: u32,
}

impl Default for NetConfig {
    fn default() -> Self {
        let (us, ms) = (Duration::from_micros, Duration::from_millis);
        Self {
            latency: Delay { usual: us(50)..us(400), slow: ms(1)..ms(8), slow_one_in: 200 },
            loopback: Delay { usual: us(5)..us(30), slow: us(30)..us(300), slow_one_in: 200 },
            disk: Delay { usual: us(30)..us(300), slow: ms(1)..ms(20), slow_one_in: 100 },
            window_bytes: 64 << 10,
            short_write_one_in: 16,
            loss_one_in: 0,
            long_delay_one_in: 0,
        }
    }
}
