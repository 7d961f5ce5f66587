//! What a failure says: the seed, its plan, the rule, what came before, and how to see it again.

use std::fmt::Write;

use quorumq_sim::report::{LogLine, Moment, Report, What};

use super::child::{Job, Lost};
use super::output::seconds;
use super::setting::Setting;

/// How many moments and how many lines of the log are shown.
const LAST: usize = 40;

/// The failure that a report tells of; empty if it tells of none.
pub fn text(report: &Report, setting: &Setting) -> String {
    let Some(violation) = &report.violation else {
        return String::new();
    };
    let mut text = String::new();
    let _ = writeln!(text, "rule  {}", violation.rule);
    let _ = writeln!(text, "what  {}", violation.what);
    let _ = writeln!(text, "when  {} of virtual time\n", seconds(violation.at_ms));
    let _ = writeln!(text, "plan\n{}\n", indented(&report.plan));
    let moments =
        last(&report.moments, |moment| moment.at_ms <= violation.at_ms && !matches!(moment.what, What::Acks(_)));
    let moments = moments.map(|Moment { at_ms, node, what }| (*at_ms, node, what.to_string()));
    section(&mut text, "moments before it", moments);
    let lines = report.log.iter().map(|LogLine { at_ms, node, text }| (*at_ms, node, text.clone()));
    section(&mut text, "log before it", lines);
    let _ = writeln!(text, "again  {}", setting.again(report.seed));
    let _ = write!(text, "page   {} --report seed-{}.html", setting.again(report.seed), report.seed);
    text
}

/// The failure of a child that left no report.
pub fn lost(job: &Job, lost: &Lost) -> String {
    let (stderr, again) = (indented(lost.stderr.trim_end()), job.setting.again(job.seed));
    format!("lost   {}\n\nstderr\n{stderr}\n\nagain  {again}", lost.what)
}

/// The last few of those that fit.
fn last<T>(all: &[T], fits: impl Fn(&T) -> bool) -> impl Iterator<Item = &T> {
    let fitting: Vec<&T> = all.iter().filter(|one| fits(one)).collect();
    let skip = fitting.len().saturating_sub(LAST);
    fitting.into_iter().skip(skip)
}

fn section<'a>(text: &mut String, title: &str, lines: impl Iterator<Item = (u64, &'a String, String)>) {
    let _ = writeln!(text, "{title}");
    for (at_ms, node, what) in lines {
        let _ = writeln!(text, "  {:>12}  {node:<15}  {what}", seconds(at_ms));
    }
    text.push('\n');
}

fn indented(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use quorumq_sim::report::{Violation, What};

    use super::*;

    fn report() -> Report {
        let moment = |at_ms, what| Moment { at_ms, node: "10.0.0.2".into(), what };
        Report {
            seed: 17,
            violation: Some(Violation { rule: "lost-write".into(), what: "key k of t@a/0".into(), at_ms: 61_500 }),
            plan: "3 members\nkill at 60 s".into(),
            moments: vec![
                moment(1_000, What::Leads { group: "broker-a".into(), term: 3 }),
                moment(60_000, What::FaultBegins("kill".into())),
                moment(70_000, What::Note("healed".into())),
            ],
            log: vec![LogLine { at_ms: 60_001, node: "10.0.0.2".into(), text: " WARN no peer answers".into() }],
            ..Report::default()
        }
    }

    #[test]
    fn a_failure_says_seed_plan_rule_what_came_before_and_how_to_repeat_it() {
        let text = text(&report(), &Setting::plain(5.0));
        let expected = "\
rule  lost-write
what  key k of t@a/0
when  61.500 s of virtual time

plan
  3 members
  kill at 60 s

moments before it
       1.000 s  10.0.0.2         leads broker-a in term 3
      60.000 s  10.0.0.2         kill begins

log before it
      60.001 s  10.0.0.2          WARN no peer answers

again  cargo sim run --seed 17 --minutes 5
page   cargo sim run --seed 17 --minutes 5 --report seed-17.html";
        assert_eq!(text, expected);
    }

    #[test]
    fn only_the_last_moments_before_the_violation_are_shown() {
        let mut report = report();
        let note = |n: u64| Moment { at_ms: n, node: String::new(), what: What::Note(format!("note {n}.")) };
        report.moments = (0..100).map(note).collect();
        let text = text(&report, &Setting::plain(5.0));
        assert!(!text.contains("note 59.") && text.contains("note 60.") && text.contains("note 99."), "{text}");
    }

    #[test]
    fn a_lost_child_shows_its_stderr() {
        let job = Job { seed: 4, setting: Setting::plain(1.0) };
        let told = lost(&job, &Lost { what: "it ended without a report: signal: 6".into(), stderr: "a\nb\n".into() });
        let expected = "lost   it ended without a report: signal: 6\n\nstderr\n  a\n  b\n\n\
                        again  cargo sim run --seed 4 --minutes 1";
        assert_eq!(told, expected);
    }

    #[test]
    fn a_seed_without_a_violation_has_no_failure_to_tell() {
        assert_eq!(text(&Report::default(), &Setting::plain(5.0)), "");
    }
}
