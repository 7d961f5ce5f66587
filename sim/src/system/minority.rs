//! What a group that flushes asynchronously can bear: that one member at a time has lost what it held.
//!
//! With ASYNC_FLUSH an acknowledged message is in the page caches of a majority, so the promise is about a minority: of
//! three members, the least that a group here has, one. A member that lost power counts until it is proven again: it does
//! not vote till then, and the others have to elect without it. A member whose disk is lost counts until another one is in
//! its place. Processes may end as they like: the page cache stays. So may members be added and removed: what a change is
//! committed with lies, as all before it, on a majority, and one of those is left in every majority that votes.

use quorumq_store::log_store::FlushMode;

use super::System;
use crate::world::Death;

impl System {
    /// Whether the group can bear that this member loses its disk, or a part of it: nobody else has lost one. What is
    /// committed may be on no more than a majority.
    pub(super) fn may_lose_disk(&self, group: usize, at: usize) -> bool {
        let members = &self.groups[group];
        let lacks = members.seats().any(|(other, seat)| other != at && seat.is_lacking());
        let condemned = self.condemned.iter().any(|lost| lost.0 == group && lost.1 != at);
        let is_held = members.flush == FlushMode::Sync || !lacks;
        is_held && !condemned && !self.errands.is_replacing(group)
    }

    /// Whether the group can bear that this member loses power.
    pub(super) fn may_lose_power(&self, group: usize, at: usize) -> bool {
        let members = &self.groups[group];
        // What is damaged elsewhere may be sound here alone.
        let is_sound = || self.atlases[group].is_sound_beside(members.seat(at).ip());
        members.flush == FlushMode::Sync || is_sound() && self.may_lose_disk(group, at)
    }

    /// The death asked for, or a crash where the group cannot bear that the member loses power.
    pub(super) fn bearable(&self, group: usize, at: usize, death: Death) -> Death {
        if self.may_lose_power(group, at) { death } else { Death::Crash }
    }
}
