//! What a node did over the run, as bars: when it led, when it was down, what struck it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use quorumq_sim::report::{Moment, Report, What};

use super::super::output::seconds;
use super::pattern::Family;

/// The lane of what is about no single node.
pub const EVERYWHERE: &str = "all";

/// What a bar stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Leads,
    Fault(Family),
    Note,
}

/// A stretch of time with a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar {
    pub from_ms: u64,
    pub to_ms: u64,
    pub kind: Kind,
    pub label: String,
    /// The label in full, and when it was.
    pub title: String,
}

/// A node's lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lane {
    /// Its address, or [`EVERYWHERE`].
    pub node: String,
    pub bars: Vec<Bar>,
    /// When its process was gone.
    pub down: Vec<(u64, u64)>,
    /// What had begun and not ended at the moment taken last.
    pub(super) leads: Option<(u64, String)>,
    pub(super) open: Vec<(u64, String)>,
    pub(super) down_since: Option<u64>,
}

/// The lanes of a run, in the order of addresses.
pub fn lanes(report: &Report) -> Vec<Lane> {
    let mut lanes = BTreeMap::<(Option<IpAddr>, &str), Lane>::new();
    for moment in report.moments.iter().filter(|moment| !matches!(moment.what, What::Acks(_))) {
        let node = if moment.node.is_empty() { EVERYWHERE } else { &moment.node };
        let lane = lanes.entry((node.parse().ok(), node));
        lane.or_insert_with(|| Lane { node: node.to_owned(), ..Lane::default() }).take(moment);
    }
    let mut lanes: Vec<Lane> = lanes.into_values().collect();
    lanes.iter_mut().for_each(|lane| lane.end(end_of(report)));
    lanes
}

/// Where the time axis ends.
pub fn end_of(report: &Report) -> u64 {
    let seen = report.moments.iter().map(|moment| moment.at_ms).chain(report.violation.iter().map(|v| v.at_ms)).max();
    report.virtual_ms.max(seen.unwrap_or_default()).max(1)
}

impl Lane {
    fn take(&mut self, moment: &Moment) {
        let at = moment.at_ms;
        match &moment.what {
            What::Leads { group, term } => {
                self.leads_no_more(at);
                self.leads = Some((at, format!("{group} term {term}")));
            }
            What::LeadsNoMore => self.leads_no_more(at),
            What::FaultBegins(fault) => self.open.push((at, fault.clone())),
            What::FaultEnds(fault) => {
                if let Some(n) = self.open.iter().position(|(_, open)| open == fault) {
                    let (from, fault) = self.open.remove(n);
                    self.fault(from, at, &fault, "");
                }
            }
            What::Down => {
                self.leads_no_more(at);
                self.down_since.get_or_insert(at);
            }
            What::Up => self.down.extend(self.down_since.take().map(|since| (since, at))),
            What::Note(text) => self.bar((at, at), Kind::Note, text, ""),
            What::Acks(_) => {}
        }
    }

    /// The run is over: so is what had not ended.
    fn end(&mut self, at: u64) {
        self.leads_no_more(at);
        for (from, fault) in std::mem::take(&mut self.open) {
            self.fault(from, at, &fault, ", to the end");
        }
        self.down.extend(self.down_since.take().map(|since| (since, at)));
        self.bars.sort_by_key(|bar| (bar.kind != Kind::Leads, bar.from_ms));
    }

    fn leads_no_more(&mut self, at: u64) {
        if let Some((from, label)) = self.leads.take() {
            self.bar((from, at), Kind::Leads, &label, "");
        }
    }

    fn fault(&mut self, from: u64, to: u64, fault: &str, how: &str) {
        self.bar((from, to), Kind::Fault(Family::of(fault)), fault, how);
    }

    fn bar(&mut self, (from_ms, to_ms): (u64, u64), kind: Kind, label: &str, how: &str) {
        let node = &self.node;
        let what = if kind == Kind::Leads { format!("leads {label}") } else { label.to_owned() };
        let when = if from_ms == to_ms {
            format!("at {}", seconds(from_ms))
        } else {
            format!("{} to {}", seconds(from_ms), seconds(to_ms))
        };
        let title = format!("{node}: {what}, {when}{how}");
        self.bars.push(Bar { from_ms, to_ms, kind, label: label.to_owned(), title });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(moments: &[(u64, &str, What)]) -> Vec<Lane> {
        let moment = |(at_ms, node, what): &(u64, &str, What)| Moment {
            at_ms: *at_ms,
            node: (*node).to_owned(),
            what: what.clone(),
        };
        lanes(&Report { virtual_ms: 9_000, moments: moments.iter().map(moment).collect(), ..Report::default() })
    }

    fn leads(term: u64) -> What {
        What::Leads { group: "a".into(), term }
    }

    fn stretches(lane: &Lane) -> Vec<(u64, u64, &str)> {
        lane.bars.iter().map(|bar| (bar.from_ms, bar.to_ms, bar.label.as_str())).collect()
    }

    #[test]
    fn a_leader_leads_until_it_says_otherwise_dies_or_the_run_ends() {
        let lanes = run(&[
            (1_000, "10.0.0.1", leads(1)),
            (2_000, "10.0.0.1", leads(2)),
            (3_000, "10.0.0.1", What::LeadsNoMore),
            (4_000, "10.0.0.1", leads(5)),
            (5_000, "10.0.0.1", What::Down),
            (6_000, "10.0.0.1", What::Up),
            (7_000, "10.0.0.1", leads(8)),
            (8_000, "10.0.0.1", What::Down),
        ]);
        let terms = [(1_000, 2_000, "a term 1"), (2_000, 3_000, "a term 2"), (4_000, 5_000, "a term 5")];
        assert_eq!(stretches(&lanes[0])[..3], terms);
        assert_eq!(stretches(&lanes[0])[3..], [(7_000, 8_000, "a term 8")]);
        assert_eq!(lanes[0].down, [(5_000, 6_000), (8_000, 9_000)]);
    }

    #[test]
    fn faults_may_overlap_and_last_to_the_end() {
        let (begins, ends) = (|f: &str| What::FaultBegins(f.into()), |f: &str| What::FaultEnds(f.into()));
        let lanes = run(&[
            (1_000, "10.0.0.1", begins("pause")),
            (2_000, "10.0.0.1", begins("slow-disk")),
            (3_000, "10.0.0.1", ends("pause")),
            (4_000, "10.0.0.1", ends("pause")),
        ]);
        assert_eq!(stretches(&lanes[0]), [(1_000, 3_000, "pause"), (2_000, 9_000, "slow-disk")]);
        assert_eq!(lanes[0].bars[1].title, "10.0.0.1: slow-disk, 2.000 s to 9.000 s, to the end");
    }

    #[test]
    fn lanes_are_in_the_order_of_addresses_not_of_letters() {
        let note = || What::Note("n".into());
        let lanes = run(&[(1, "10.0.0.10", note()), (2, "10.0.0.2", note()), (3, "", note()), (4, "", What::Acks(3))]);
        assert_eq!(lanes.iter().map(|lane| lane.node.as_str()).collect::<Vec<_>>(), ["all", "10.0.0.2", "10.0.0.10"]);
    }
}
