//! Node ids: given out by a counter, never twice.

use serde::{Deserialize, Serialize};

/// Requests remembered, so that one that is repeated gets the same id.
const MAX_REQUESTS: usize = 1024;

/// The counter of node ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Members {
    /// The highest node id given out or reserved.
    last: u64,
    /// The newest requests and their ids, oldest first.
    requests: Vec<(u128, u64)>,
}

impl Members {
    /// A new id, or the one that `request` got before.
    pub fn alloc(&mut self, request: u128) -> u64 {
        if let Some((_, id)) = self.requests.iter().find(|(known, _)| *known == request) {
            return *id;
        }
        self.last += 1;
        if self.requests.len() == MAX_REQUESTS {
            self.requests.remove(0);
        }
        self.requests.push((request, self.last));
        self.last
    }

    /// Keeps ids up to `up_to` from being given out; whether that is news.
    pub fn reserve(&mut self, up_to: u64) -> bool {
        let is_new = up_to > self.last;
        self.last = self.last.max(up_to);
        is_new
    }

    /// The highest node id given out or reserved.
    pub fn last(&self) -> u64 {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_never_given_out_twice() {
        let mut members = Members::default();
        assert!(members.reserve(3));
        assert!(!members.reserve(2));
        assert_eq!((members.alloc(77), members.alloc(78)), (4, 5));
        assert_eq!(members.alloc(77), 4, "a repeated request gets the same id");
        for request in 1000..1000 + MAX_REQUESTS as u128 {
            members.alloc(request);
        }
        let last = members.last();
        assert_eq!(members.alloc(77), last + 1, "a forgotten request gets a new id, never a used one");
    }
}
