//! Disk threads of the simulator: tasks of the node that work off a queue and take their time.

use std::net::IpAddr;

use madsim::time::TimeHandle;
use quorumq_raft::runtime::{Job, Serial};
use tokio::sync::mpsc;

use super::net::Net;
use super::time::SimSleep;
use crate::tally::Fault;

/// A FIFO disk thread as a task of the node that started it: each job waits a drawn delay, then runs at one
/// moment of virtual time. Queued jobs die with the node.
#[derive(Debug)]
pub struct DiskTask {
    // Unbounded like a thread's queue: callers bound what they submit.
    jobs: mpsc::UnboundedSender<Job>,
}

impl DiskTask {
    pub(super) fn start() -> Self {
        let (jobs, mut queue) = mpsc::unbounded_channel::<Job>();
        let net = Net::current();
        let host = net.current_host();
        drop(madsim::task::spawn(async move {
            while let Some(job) = queue.recv().await {
                disk_delay(&net, host).await;
                job();
            }
        }));
        Self { jobs }
    }
}

impl Serial for DiskTask {
    fn submit(&self, job: Job) {
        // The task is gone only if its node was killed; then the job would never have run.
        let _ = self.jobs.send(job);
    }
}

/// The time that one job of the disk of `host` takes.
pub(super) async fn disk_delay(net: &Net, host: IpAddr) {
    let time = TimeHandle::current();
    let until = time.now_instant() + net.draw_disk_delay(host);
    SimSleep::exactly_until(&time, until).await;
    let mut stalled = false;
    while let Some(until) = net.disk_stalls_until(host) {
        stalled = true;
        SimSleep::exactly_until(&time, until).await;
    }
    net.tally().felt(Fault::StalledDisk, u64::from(stalled));
}
