//! Durable quorum: what is committed lies on the media of a majority of voters, such that a loss of power at this moment
//! would leave it there, whatever the nodes say.
//!
//! Groups that flush asynchronously promise less and are left out. While the membership changes, any membership in force
//! between two looks may be the one that decided.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use quorumq_raft::types::NodeId;
use quorumq_store::PhysicalOffset;
use quorumq_store::commit_log::segment_path;
use quorumq_store::disk::MemoryDisk;
use quorumq_store::frame::{HEADER_LEN, Header};
use quorumq_store::log_store::FlushMode;

use super::committed_log::{CommittedLogs, Known};
use super::{GroupView, Invariant, SeatView, View};
use crate::scenario::seat::DIR;

/// Sets of voters, a majority of each of which decides.
type VoterSets = Vec<BTreeSet<NodeId>>;

/// See the module.
#[derive(Debug)]
pub struct DurableQuorum {
    committed: CommittedLogs,
    groups: BTreeMap<usize, Group>,
}

/// What is known of a group.
#[derive(Debug, Default)]
struct Group {
    /// The first index not looked for yet.
    next: u64,
    /// The seat of each member that ever ran, whether it does now or not: its medium counts.
    seats: BTreeMap<NodeId, usize>,
    /// Memberships in force at the last look.
    before: BTreeSet<VoterSets>,
}

impl DurableQuorum {
    /// Looks for what is written down in `committed`.
    pub(super) fn new(committed: CommittedLogs) -> Self {
        Self { committed, groups: BTreeMap::new() }
    }
}

/// Whether a majority of each set is among `holders`.
fn decides(sets: &VoterSets, holders: &BTreeSet<NodeId>) -> bool {
    sets.iter().all(|voters| voters.intersection(holders).count() * 2 > voters.len())
}

/// Whether a medium holds an entry's frame durably.
fn holds(disk: &MemoryDisk, segment_size: u64, index: u64, known: &Known) -> bool {
    let start = PhysicalOffset(known.position.0 - known.position.0 % segment_size);
    let from = known.position.0 - start.0;
    let path = segment_path(Path::new(DIR), start);
    // What was durable and has a flipped bit since is for repair; other rules see to it.
    if disk.rotten().iter().any(|(rotten, at)| *rotten == path && (from..from + known.frame_len).contains(at)) {
        return true;
    }
    // An error means that the file, or this part of it, is not durable.
    let Ok(frame) = disk.durable_range(&path, from..from + known.frame_len) else { return false };
    let Some((header, body)) = frame.split_first_chunk::<{ HEADER_LEN as usize }>() else { return false };
    Header::decode(header, known.position)
        .is_ok_and(|(header, _)| header.id.index.0 == index && header.id.term.0 == known.term && header.matches(body))
}

impl Group {
    fn look(&mut self, at: usize, view: &GroupView, committed: &CommittedLogs) -> Result<(), String> {
        let mut now = BTreeSet::new();
        for (seat, member) in view.seats.iter().enumerate().filter_map(|(n, seat)| Some((n, seat.member.as_ref()?))) {
            self.seats.insert(member.id(), seat);
            now.insert(member.voter_sets());
        }
        let memberships: BTreeSet<_> = self.before.union(&now).cloned().collect();
        let committed = committed.lock();
        let next = self.next;
        for (index, known) in committed.get(&at).into_iter().flat_map(|log| log.range(next..)) {
            // A disk that was lost may have held it: that is what the others are for.
            let on = |seat: &usize| {
                let SeatView { wiped, disk, .. } = &view.seats[*seat];
                *wiped || holds(disk, view.segment_size, *index, known)
            };
            let holders: BTreeSet<_> = self.seats.iter().filter(|(_, seat)| on(seat)).map(|(id, _)| *id).collect();
            if !memberships.iter().any(|sets| decides(sets, &holders)) {
                return Err(format!(
                    "entry {index} is committed ({known:?}); it is durable on nodes {holders:?} of {memberships:?}"
                ));
            }
            self.next = index + 1;
        }
        // Nobody runs: what was in force stays so.
        if !now.is_empty() {
            self.before = now;
        }
        Ok(())
    }
}

impl Invariant for DurableQuorum {
    fn name(&self) -> &'static str {
        "durable-quorum"
    }

    fn looks_at_applies(&self) -> bool {
        true
    }

    fn step(&mut self, view: &View) -> Result<(), String> {
        for (at, group) in view.groups.iter().enumerate().filter(|(_, group)| group.flush == FlushMode::Sync) {
            let looked = self.groups.entry(at).or_default().look(at, group, &self.committed);
            looked.map_err(|what| format!("{}: {what}", group.name))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use quorumq_store::frame::Kind;
    use quorumq_store::{LogId, LogIndex, Term};

    use super::*;

    #[test]
    fn a_majority_of_each_set_decides() {
        let set = |ids: &[NodeId]| ids.iter().copied().collect::<BTreeSet<_>>();
        assert!(decides(&vec![set(&[1, 2, 3])], &set(&[1, 3])));
        assert!(!decides(&vec![set(&[1, 2, 3])], &set(&[1, 4, 5])));
        assert!(!decides(&vec![set(&[1, 2, 3, 4])], &set(&[1, 3])));
        assert!(!decides(&vec![set(&[1, 2, 3]), set(&[4, 5, 6])], &set(&[1, 2, 4])));
        assert!(decides(&vec![set(&[1, 2, 3]), set(&[3, 4, 5])], &set(&[1, 3, 4])));
    }

    #[test]
    fn a_frame_counts_once_it_is_synced_with_its_directory_entry() {
        let (medium, body) = (MemoryDisk::new(), b"records");
        let position = PhysicalOffset(4096 + 8);
        let id = LogId { term: Term(3), index: LogIndex(7) };
        let body_crc = crc32(body);
        let header = Header { kind: Kind::Records, body_len: 7, id, position, chain: 0, body_crc };
        let known = Known { term: 3, position, frame_len: HEADER_LEN + 7, content: 0 };
        let held = || holds(&medium, 4096, 7, &known);
        let (disk, path) = (medium.mount(), segment_path(Path::new(DIR), PhysicalOffset(4096)));
        disk.create_dir_all(path.parent().unwrap()).unwrap();
        let file = disk.create(&path, 4096).unwrap();
        file.write_at(8, &[&header.encode().0, body]).unwrap();
        assert!(!held(), "nothing is synced");
        file.sync_data().unwrap();
        assert!(!held(), "a power loss takes the file away");
        disk.sync_dir(path.parent().unwrap()).unwrap();
        assert!(held());
        assert!(!holds(&medium, 4096, 8, &known), "another entry");
        file.write_at(8, &[b"new"]).unwrap();
        assert!(held(), "what was written over it is not durable yet");
        file.sync_data().unwrap();
        assert!(!held());
    }

    /// CRC-32 of "records", as frames carry it.
    fn crc32(body: &[u8]) -> u32 {
        let mut crc = u32::MAX;
        for byte in body {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
            }
        }
        !crc
    }
}
