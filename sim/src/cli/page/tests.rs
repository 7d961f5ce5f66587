//! A page as a whole, of a made-up report.

use std::collections::BTreeMap;

use quorumq_sim::report::{LogLine, Moment, Violation, What};
use quorumq_sim::tally::{Effect, Fault, Tally};

use super::*;

fn moment(at_ms: u64, node: &str, what: What) -> Moment {
    Moment { at_ms, node: node.to_owned(), what }
}

fn stretch(from: u64, to: u64, node: &str, fault: &str) -> [Moment; 2] {
    let fault = fault.to_owned();
    [moment(from, node, What::FaultBegins(fault.clone())), moment(to, node, What::FaultEnds(fault))]
}

/// Two groups, a few faults on top of each other, and a violation.
fn report() -> Report {
    let leads = |group: &str, term| What::Leads { group: group.to_owned(), term };
    let mut moments = vec![
        moment(700, "10.0.0.1", leads("broker-a", 1)),
        moment(900, "10.0.0.5", leads("broker-b", 1)),
        moment(21_000, "10.0.0.1", What::Down),
        moment(21_650, "10.0.0.2", leads("broker-a", 2)),
        moment(24_000, "10.0.0.1", What::Up),
        moment(24_100, "10.0.0.1", What::Note("recovered: 3 frames cut".into())),
        moment(47_000, "10.0.0.2", What::LeadsNoMore),
        moment(47_300, "10.0.0.3", leads("broker-a", 3)),
        moment(48_000, "10.0.0.3", What::LeadsNoMore),
        moment(48_200, "10.0.0.1", leads("broker-a", 4)),
        moment(66_000, "10.0.0.12", What::Down),
        moment(66_100, "10.0.0.5", What::Down),
        moment(66_900, "10.0.0.6", leads("broker-b", 2)),
        moment(69_000, "10.0.0.5", What::Up),
        moment(71_000, "10.0.0.12", What::Up),
        moment(75_000, "", What::Note("all faults over".into())),
        moment(83_500, "10.0.0.2", What::Note("<snapshot> & 1.2 MiB".into())),
    ];
    for (from, to, node, fault) in [
        (5_000, 9_000, "10.0.0.3", "slow-disk"),
        (6_000, 18_000, "10.0.0.3", "clock-skew -1200 ms"),
        (8_000, 14_000, "10.0.0.2", "isolation"),
        (21_000, 21_000, "10.0.0.1", "kill"),
        (23_000, 23_000, "10.0.0.1", "crash-point"),
        (30_000, 50_000, "", "loss 1 in 40"),
        (33_000, 36_000, "10.0.0.1", "hanging-connect"),
        (34_000, 41_000, "10.0.0.1", "bit-rot"),
        (40_000, 61_000, "10.0.0.2", "one-way to 10.0.0.3"),
        (44_000, 58_500, "10.0.0.3", "stalled-disk"),
        (52_000, 53_000, "10.0.0.1", "transfer"),
        (55_000, 59_900, "10.0.0.6", "remove"),
        (59_800, 59_900, "10.0.0.7", "truncated-stream"),
        (62_000, 73_000, "10.0.0.7", "pause"),
        (66_000, 71_000, "10.0.0.12", "client-crash"),
        (66_100, 69_000, "10.0.0.5", "power-loss"),
        (70_000, 72_000, "10.0.0.11", "nameserver-loss"),
    ] {
        moments.extend(stretch(from, to, node, fault));
    }
    let acks = |second: u64| if (21..24).contains(&second) { 3 * (second - 21) } else { 60 + second * 37 % 45 };
    moments.extend((1..90).map(|second| moment(second * 1000, "", What::Acks(acks(second)))));
    moments.sort_by_key(|moment| moment.at_ms);
    let tally = Tally::default();
    tally.begun(Fault::Kill);
    tally.felt(Fault::Kill, 4);
    tally.effect(Effect::Election, 6);
    Report {
        seed: 17,
        hash: "00c0ffee00c0ffee".into(),
        violation: Some(Violation {
            rule: "lost-write".into(),
            what: "k-7 <acknowledged> at orders@broker-a/3 offset 120 was never read".into(),
            at_ms: 84_200,
        }),
        virtual_ms: 90_000,
        wall_ms: 700,
        events: 812_345,
        outcomes: BTreeMap::from([("send".to_owned(), [5_400, 12, 31]), ("pull".to_owned(), [900, 0, 4])]),
        acknowledged: 5_400,
        sending_ms: 75_000,
        counts: tally.counts(),
        plan: "2 groups of 3, 2 NameServers, 8 clients\n21.000 s  kill 10.0.0.1".into(),
        moments,
        log: vec![LogLine { at_ms: 84_100, node: "10.0.0.2".into(), text: " WARN quorumq::broker: <late>".into() }],
    }
}

#[test]
fn a_page_has_everything_in_it_and_asks_for_nothing_else() {
    let page = text(&report(), &Setting::plain(1.5));
    for part in [
        "<h1>Seed 17 FAILED</h1>",
        "00c0ffee00c0ffee",
        "cargo sim run --seed 17 --minutes 1.5",
        "k-7 &lt;acknowledged&gt; at orders@broker-a/3",
        "broker-a term 4",
        "10.0.0.3: stalled-disk, 44.000 s to 58.500 s",
        "&lt;snapshot&gt; &amp; 1.2 MiB",
        "1:00 to 2:00",
        "21.000 s  kill 10.0.0.1",
        "&lt;late&gt;",
    ] {
        assert!(page.contains(part), "no {part}");
    }
    for other in ["http:", "https:", "<script", "@import", "src=", "<link"] {
        assert!(!page.contains(other), "a page that is not alone: {other}");
    }
    // To look at: QUORUMQ_SIM_PAGE=FILE.html
    if let Some(path) = std::env::var_os("QUORUMQ_SIM_PAGE") {
        write(Path::new(&path), &report(), &Setting::plain(1.5)).unwrap();
    }
}

#[test]
fn every_element_is_closed() {
    let page = text(&report(), &Setting::plain(1.5));
    let mut open = Vec::new();
    for tag in page.split('<').skip(1).filter_map(|rest| rest.split_once('>')).map(|(tag, _)| tag) {
        let name = tag.split([' ', '\n']).next().unwrap_or_default();
        if let Some(name) = name.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "<{tag}>");
        } else if !tag.ends_with('/') && !["!DOCTYPE", "meta", "br"].contains(&name) {
            open.push(name.to_owned());
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn an_empty_report_makes_a_page_too() {
    let page = text(&Report::default(), &Setting::plain(5.0));
    assert!(page.contains("<h1>Seed 0 OK</h1>") && page.contains("0:00 to 0:01"), "{page}");
}
