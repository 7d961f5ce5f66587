//! Damaged or missing files of ConsumeQueues and key index are made again from the log while the broker runs. Until then
//! reads of what they lack are answered by an error, so that clients ask again.

use std::sync::Arc;
use std::time::Duration;

use quorumq_raft::runtime::Runtime;
use quorumq_store::mutant::{Mutant, planted};

use super::Broker;

mod index;
mod queues;

/// Pause between looks for damage.
const LOOK: Duration = Duration::from_secs(1);
/// Longest pause after a rebuild that came to nothing.
const LONGEST: Duration = Duration::from_secs(60);
/// Bytes of entries read at a time.
const STEP: u64 = 4 << 20;

/// What came of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// Nothing is damaged, or all of it was made again.
    Good,
    /// Some is damaged still.
    Left,
}

/// Looks for damage as long as the broker runs.
pub(super) async fn run<R: Runtime>(broker: Arc<Broker<R>>) {
    // What the log still has to say of what was committed before this start can do away with what seems to be lost.
    let committed = broker.node.positions().committed;
    while broker.node.machine().applied() < committed {
        R::sleep(LOOK).await;
    }
    let (mut queues, mut index) = (Pause::default(), Pause::default());
    loop {
        R::sleep(LOOK).await;
        if planted(Mutant::RebuildForgotten) {
            continue;
        }
        if queues.is_over() {
            let came = broker.rebuild_queues().await;
            queues.after(came);
        }
        if index.is_over() {
            let came = broker.rebuild_index().await;
            index.after(came);
        }
    }
}

/// Looks to be left out, twice as many after each that came to nothing.
#[derive(Debug, Default)]
struct Pause {
    left: u32,
    last: u32,
}

impl Pause {
    fn is_over(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left == 0
    }

    fn after(&mut self, came: Came) {
        let most = (LONGEST.as_secs() / LOOK.as_secs()) as u32;
        self.last = if came == Came::Good { 0 } else { (self.last * 2).clamp(1, most) };
        self.left = self.last + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_become_rarer_as_long_as_they_come_to_nothing() {
        let mut pause = Pause::default();
        let looks_until_next = |pause: &mut Pause| (1..).find(|_| pause.is_over());
        assert_eq!(looks_until_next(&mut pause), Some(1));
        for expected in [2, 3, 5, 9, 17, 33, 61, 61] {
            pause.after(Came::Left);
            assert_eq!(looks_until_next(&mut pause), Some(expected));
        }
        pause.after(Came::Good);
        assert_eq!(looks_until_next(&mut pause), Some(1));
    }
}
