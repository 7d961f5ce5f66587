//! What happened in a run, counted: faults that struck, times they changed the result of an operation, and what came
//! of them. A kind that stays at zero over many seeds is a fault that is never tested.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// Declares an enum of kinds with a name for each, as tables and reports print it.
macro_rules! kinds {
    ($(#[$outer:meta])* $kind:ident { $($(#[$inner:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $kind { $($(#[$inner])* $variant,)* }

        impl $kind {
            /// Every kind, in the order of the tables.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name in tables.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

kinds! {
    /// What can go wrong. Two numbers each: how often it was begun, and how often it changed an operation's result.
    Fault {
        /// A broker's process is killed. Felt: connections that ended with it.
        Kill = "kill",
        /// All brokers of a group are killed at once.
        KillAll = "kill-all",
        /// A broker's process ends between two operations of its disk. Felt: operations that were not done.
        CrashPoint = "crash-point",
        /// A host loses power. Felt: 4 KiB pages that were not synced, and silent connections.
        PowerLoss = "power-loss",
        /// All hosts of a group lose power at once.
        PowerLossAll = "power-loss-all",
        /// With ASYNC_FLUSH, of those that acknowledged from their page caches while others were away one loses power, and
        /// the rest end. Felt: connections that ended with them.
        PageCacheLoss = "page-cache-loss",
        /// A process is stopped where it is, and goes on later.
        Pause = "pause",
        /// One broker is killed again and again, while it recovers too.
        RestartStorm = "restart-storm",
        /// A broker is stopped in good order.
        Stop = "stop",
        /// A client's process is killed. Felt: operations that were under way.
        ClientCrash = "client-crash",
        /// A NameServer is gone for a while. Felt: connections refused or ended.
        NameServerLoss = "nameserver-loss",
        /// Nothing passes between one host and all others, both ways. Felt: runs of bytes held.
        Isolation = "isolation",
        /// Nothing passes from one host to another; the other way works.
        OneWay = "one-way",
        /// Two hosts do not reach each other; a third reaches both.
        Bridge = "bridge",
        /// A link that opens and closes.
        Flapping = "flapping",
        /// Packets are lost and sent again later. Felt: runs of bytes that waited for it.
        Loss = "loss",
        /// A run of bytes takes far longer than usual.
        LongDelay = "long-delay",
        /// New connections hang.
        HangingConnect = "hanging-connect",
        /// Connections are reset, what is under way is lost. Felt: runs of bytes lost.
        Reset = "reset",
        /// A connection ends in the middle of what was written: the reader gets the first part. Felt: parts cut off.
        Truncation = "truncated-stream",
        /// A write takes only some of its bytes.
        ShortWrite = "short-write",
        /// A host's wall clock is off. Felt: readings.
        ClockSkew = "clock-skew",
        /// A host's wall clock jumps. Felt: readings after it.
        ClockJump = "clock-jump",
        /// A host's wall clock stands still. Felt: readings.
        ClockFreeze = "clock-freeze",
        /// A write fails.
        WriteError = "write-error",
        /// A sync fails, and what it should have made durable is lost.
        SyncError = "sync-error",
        /// The volume is full.
        DiskFull = "disk-full",
        /// A bit flips in a synced page.
        BitRot = "bit-rot",
        /// A bit flips in the log of a leader whose only reachable follower lacks what it hits. Felt: flips.
        OnlyCopyRots = "only-copy-rots",
        /// Every job of a disk is slow.
        SlowDisk = "slow-disk",
        /// A job of a disk takes seconds.
        StalledDisk = "stalled-disk",
        /// The leader is asked to hand over.
        Transfer = "transfer",
        /// A member is added as a learner.
        AddLearner = "add-learner",
        /// A learner becomes a voter.
        Promote = "promote",
        /// A member is removed.
        Remove = "remove",
        /// A member that lost its disk is replaced by a new one.
        ReplaceWiped = "replace-wiped",
        /// A member that lost its disk comes back under its old id. Felt: refusals.
        WipedReturns = "wiped-returns",
        /// The log is purged while a member lags.
        Purge = "purge",
    }
}

kinds! {
    /// What came of it.
    Effect {
        /// A node became leader.
        Election = "elections",
        /// A member installed a snapshot.
        SnapshotInstalled = "snapshots installed",
        /// A member cut an uncommitted tail off its log.
        Truncation = "truncations",
        /// Proposals that were under way when their leader lost its term.
        ProposalCut = "proposals cut by an election",
        /// Operations whose outcome the client does not know.
        UnknownOutcome = "unknown outcomes",
        /// 4 KiB pages that a power loss took back.
        PageLost = "unsynced pages lost",
        /// 4 KiB pages of which a power loss left a part.
        PageTorn = "pages torn",
        /// Entry frames that a recovery found torn and cut off.
        FrameTorn = "frames torn",
        /// A member of an ASYNC_FLUSH group came back from a power loss unproven.
        Unproven = "unproven members",
        /// It holds again what its group had committed, and votes.
        Proven = "members proven again",
        /// Flipped bits that their member has found and made good.
        Healed = "flipped bits healed",
        /// Directory entries that a power loss took back.
        EntryLost = "directory entries undone",
    }
}

/// How often a fault was begun and how often it was felt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Struck {
    /// Begun.
    pub begun: u64,
    /// Changed the result of an operation.
    pub felt: u64,
}

/// The counts of one run or of many.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Faults that occurred.
    pub faults: BTreeMap<Fault, Struck>,
    /// Effects that occurred.
    pub effects: BTreeMap<Effect, u64>,
}

impl Counts {
    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        for (fault, Struck { begun, felt }) in &other.faults {
            let sum = self.faults.entry(*fault).or_default();
            (sum.begun, sum.felt) = (sum.begun + begun, sum.felt + felt);
        }
        for (effect, n) in &other.effects {
            *self.effects.entry(*effect).or_default() += n;
        }
    }

    /// A fault's numbers.
    #[must_use]
    pub fn fault(&self, fault: Fault) -> Struck {
        self.faults.get(&fault).copied().unwrap_or_default()
    }

    /// An effect's number.
    #[must_use]
    pub fn effect(&self, effect: Effect) -> u64 {
        self.effects.get(&effect).copied().unwrap_or_default()
    }

    /// Names of all faults that were never felt and of all effects that never came.
    #[must_use]
    pub fn zeroes(&self) -> Vec<&'static str> {
        let faults = Fault::ALL.iter().filter(|fault| self.fault(**fault).felt == 0).map(|fault| fault.name());
        let effects = Effect::ALL.iter().filter(|effect| self.effect(**effect) == 0).map(|effect| effect.name());
        faults.chain(effects).collect()
    }
}

/// Counts of the run under way; shared by all of its parts.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<Mutex<Counts>>);

impl Tally {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A fault begins.
    pub fn begun(&self, fault: Fault) {
        self.lock().faults.entry(fault).or_default().begun += 1;
    }

    /// A fault has changed the result of `times` operations.
    pub fn felt(&self, fault: Fault, times: u64) {
        if times > 0 {
            self.lock().faults.entry(fault).or_default().felt += times;
        }
    }

    /// Something came `times` times of what went wrong.
    pub fn effect(&self, effect: Effect, times: u64) {
        if times > 0 {
            *self.lock().effects.entry(effect).or_default() += times;
        }
    }

    /// The counts so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_many_runs_add_up_and_name_what_never_came() {
        let (one, two) = (Tally::default(), Tally::default());
        one.begun(Fault::Kill);
        one.felt(Fault::Kill, 3);
        two.begun(Fault::Kill);
        two.felt(Fault::Pause, 1);
        two.effect(Effect::PageTorn, 2);
        let mut sum = one.counts();
        sum.add(&two.counts());
        assert_eq!(sum.fault(Fault::Kill), Struck { begun: 2, felt: 3 });
        assert_eq!(sum.effect(Effect::PageTorn), 2);
        let zeroes = sum.zeroes();
        assert_eq!(zeroes.len(), Fault::ALL.len() + Effect::ALL.len() - 3);
        assert!(!zeroes.contains(&"kill") && zeroes.contains(&"disk-full") && zeroes.contains(&"elections"));
    }
}
