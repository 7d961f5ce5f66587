//! Consumer offsets: equal on all members that have applied the same entries, whatever leader or restart came between,
//! and never beyond a queue's end. So no offset goes back but by a command in the log.

use std::collections::BTreeMap;

use quorumq::machine::Machine;

use super::{Invariant, MemberKey, View};
use crate::trace::hash_of_bytes;

/// See the module.
#[derive(Debug, Default)]
pub struct ConsumerOffsets {
    /// By group and index of the last applied entry: a hash of all offsets.
    offsets: BTreeMap<(usize, u64), u64>,
    /// What each member had applied when it was last looked at.
    looked_at: BTreeMap<MemberKey, u64>,
}

/// A hash of all offsets, all of which lie within their queues.
fn offsets(machine: &Machine) -> Result<u64, String> {
    let mut bytes = Vec::new();
    for (group, topic, queue, offset) in machine.consumer_offsets() {
        // A topic that has fewer queues than before keeps the offsets of the others.
        if let Some(max) = machine.queue(topic, queue).map(|queue| queue.max_offset())
            && offset > max
        {
            return Err(format!("{group} has committed {offset} of {topic}/{queue}, which ends at {max}"));
        }
        for name in [group, topic] {
            bytes.extend_from_slice(name.as_bytes());
            bytes.push(0);
        }
        bytes.extend_from_slice(&queue.to_be_bytes());
        bytes.extend_from_slice(&offset.0.to_be_bytes());
    }
    Ok(hash_of_bytes(&bytes))
}

impl ConsumerOffsets {
    fn note(&mut self, group: usize, applied: u64, offsets: u64) -> Result<(), String> {
        let known = *self.offsets.entry((group, applied)).or_insert(offsets);
        if known == offsets {
            return Ok(());
        }
        Err(format!("after entry {applied} the consumer offsets are not those another member had"))
    }
}

impl Invariant for ConsumerOffsets {
    fn name(&self) -> &'static str {
        "consumer-offsets-equal"
    }

    fn step(&mut self, view: &View) -> Result<(), String> {
        for (at, group, seat, member) in view.running() {
            let machine = member.machine();
            let Some(applied) = machine.applied().map(|id| id.index.0) else { continue };
            if self.looked_at.insert((at, member.id()), applied) == Some(applied) {
                continue;
            }
            let noted = offsets(&machine).and_then(|offsets| self.note(at, applied, offsets));
            noted.map_err(|what| format!("{} at {}: {what}", group.name, seat.ip))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use quorumq::machine::{Command, OffsetCommit, TopicConfig};
    use quorumq_raft::machine::Machine as _;
    use quorumq_store::disk::MemoryDisk;
    use quorumq_store::frame::Kind;
    use quorumq_store::log_store::Entry;
    use quorumq_store::{LogId, LogIndex, PhysicalOffset, QueueOffset, Term};

    use super::*;

    fn machine(commit_to_queue: Option<u32>) -> Machine {
        let disk = MemoryDisk::new().mount();
        disk.create_dir_all(Path::new("/m")).unwrap();
        let mut machine = Machine::new(disk, Path::new("/m"), 4096).unwrap();
        let topic = Command::UpdateTopic { config: TopicConfig::new("t", 4, 4, 6), if_absent: false };
        let commit = commit_to_queue
            .map(|queue| Command::CommitOffsets { commits: vec![OffsetCommit::new("g", "t", queue, QueueOffset(0))] });
        for (index, command) in (0..).zip(std::iter::once(topic).chain(commit)) {
            let id = LogId { term: Term(1), index: LogIndex(index) };
            let body = command.at(0).encode().unwrap();
            let entry = Entry { id, kind: Kind::Command, position: PhysicalOffset(index * 500), body };
            machine.apply(&entry, &mut Vec::new()).unwrap();
        }
        machine
    }

    #[test]
    fn other_offsets_have_another_hash() {
        let of = |queue| offsets(&machine(queue)).unwrap();
        assert_eq!(of(Some(1)), of(Some(1)));
        assert_ne!(of(Some(1)), of(Some(2)));
        assert_ne!(of(Some(1)), of(None));
    }

    #[test]
    fn other_offsets_at_the_same_entry_are_noticed() {
        let mut rule = ConsumerOffsets::default();
        assert_eq!(rule.note(0, 5, 1), Ok(()));
        assert_eq!(rule.note(1, 5, 2), Ok(()));
        assert_eq!(rule.note(0, 6, 2), Ok(()));
        assert!(rule.note(0, 5, 2).unwrap_err().contains("after entry 5"));
    }
}
