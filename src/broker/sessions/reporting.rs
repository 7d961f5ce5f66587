//! What the leader has not been told of this node's clients, and the numbering of reports. A plain value.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::broker::call::{ClientSession, Report};

/// Bytes of clients after which a report ends: taking one holds up pulls on the leader, by about 2 ms.
pub const REPORT_BYTES: usize = 256 * 1024;

/// Client ids that changed, and how far the leader follows.
#[derive(Debug)]
pub struct Reporting {
    life: u64,
    number: u64,
    /// The next report begins a list of all clients.
    full: bool,
    changed: BTreeSet<Arc<str>>,
    /// Counts changes.
    changes: u64,
    /// The last change the report under way has.
    asked: u64,
    /// The last change the leader knows.
    told: u64,
}

impl Reporting {
    /// Nothing changed, nothing told.
    pub fn new(life: u64) -> Self {
        Self { life, number: 0, full: true, changed: BTreeSet::new(), changes: 0, asked: 0, told: 0 }
    }

    /// A client came, changed or went: the number of this change.
    pub fn changed(&mut self, client_id: &Arc<str>) -> u64 {
        self.changed.insert(Arc::clone(client_id));
        self.changes += 1;
        self.changes
    }

    /// The next report begins a list of all clients, which are these.
    pub fn begin_again<'a>(&mut self, ids: impl Iterator<Item = &'a Arc<str>>) {
        self.full = true;
        self.changed = ids.cloned().collect();
    }

    /// The next report; `session` tells what a client id stands for now.
    pub fn next(&mut self, mut session: impl FnMut(&Arc<str>) -> Option<ClientSession>) -> Report {
        self.number += 1;
        let full = std::mem::take(&mut self.full);
        let mut report = Report { life: self.life, number: self.number, full, ..Report::default() };
        let mut bytes = 0;
        while bytes < REPORT_BYTES
            && let Some(id) = self.changed.pop_first()
        {
            match session(&id) {
                Some(session) => {
                    bytes += weight(&session);
                    report.clients.push(session);
                }
                None => {
                    bytes += id.len();
                    report.gone.push(id.as_ref().to_owned());
                }
            }
        }
        report.more = !self.changed.is_empty();
        if !report.more {
            self.asked = self.changes;
        }
        report
    }

    /// The leader has taken the last report. Whether there is more to tell.
    pub fn taken(&mut self) -> bool {
        self.told = self.asked;
        !self.changed.is_empty()
    }

    /// The last change the leader knows.
    pub fn told(&self) -> u64 {
        self.told
    }
}

fn weight(session: &ClientSession) -> usize {
    let consumers: usize = session.consumers.iter().map(|(name, json)| name.len() + json.len()).sum();
    let producers: usize = session.producers.iter().map(String::len).sum();
    session.client_id.len() + consumers + producers
}
