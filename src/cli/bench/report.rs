//! What a run came to, for people and for programs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::load::{Outcome, Plan};

/// Max offset of each (group, queue).
pub(super) type MaxOffsets = BTreeMap<(String, u32), u64>;

/// A run's outcome with the check of its acknowledgements.
#[derive(Debug)]
pub(super) struct Report<'a> {
    pub plan: &'a Plan,
    pub queues: u32,
    pub outcome: &'a Outcome,
    /// How far the max offsets of all queues rose together.
    pub rise: u64,
}

/// How the acknowledgements compare with what the brokers stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As many as acknowledged, and of the unknown ones some, all or none.
    Match,
    /// Fewer than acknowledged: acknowledged messages are missing.
    Lost,
    /// More than acknowledged and unknown ones: someone else sends to the topic.
    Foreign,
}

/// How far the offsets rose in all.
pub(super) fn rise(before: &MaxOffsets, after: &MaxOffsets) -> u64 {
    let risen = |(queue, to): (&(String, u32), &u64)| to.saturating_sub(before.get(queue).copied().unwrap_or(0));
    after.iter().map(risen).sum()
}

impl Report<'_> {
    pub(super) fn verdict(&self) -> Verdict {
        let stats = &self.outcome.stats;
        match self.rise {
            rise if rise < stats.acked => Verdict::Lost,
            rise if rise > stats.acked + stats.unknown => Verdict::Foreign,
            _ => Verdict::Match,
        }
    }

    fn rate(&self) -> f64 {
        self.outcome.stats.measured as f64 / self.outcome.elapsed.as_secs_f64().max(0.001)
    }

    fn quantile(&self, q: f64) -> u64 {
        self.outcome.stats.latency.value_at_quantile(q)
    }

    fn us_per_message(&self, cpu: Duration) -> f64 {
        round(cpu.as_secs_f64() * 1e6 / self.outcome.stats.measured.max(1) as f64)
    }

    /// One object on one line.
    pub(super) fn json(&self) -> Value {
        let Outcome { stats, elapsed, own_cpu, server_cpu, load, by_group } = self.outcome;
        json!({
            "msgs_per_s": self.rate().round(),
            "p50_us": self.quantile(0.5),
            "p99_us": self.quantile(0.99),
            "p999_us": self.quantile(0.999),
            "max_us": stats.latency.max(),
            "size": self.plan.size,
            "in_flight": self.plan.in_flight,
            "connections": self.plan.connections,
            "queues": self.queues,
            "seconds": round(elapsed.as_secs_f64()),
            "measured": stats.measured,
            "measured_by_group": by_group,
            "acked": stats.acked,
            "unknown": stats.unknown,
            "refused": stats.refused.iter().map(|(code, count)| (code.to_string(), *count)).collect::<BTreeMap<_, _>>(),
            "reconnects": stats.reconnects,
            "longest_gap_ms": stats.longest_gap.as_millis() as u64,
            "max_offset_rise": self.rise,
            "acks_match": self.verdict() == Verdict::Match,
            "generator_cpu_s": round(own_cpu.as_secs_f64()),
            "generator_cpu_us_per_msg": self.us_per_message(*own_cpu),
            "server_cpu_s": server_cpu.map(|cpu| round(cpu.as_secs_f64())),
            "server_cpu_us_per_msg": server_cpu.map(|cpu| self.us_per_message(cpu)),
            "load_before": round(load.0),
            "load_after": round(load.1),
        })
    }

    /// Some lines to read.
    pub(super) fn text(&self) -> String {
        let Outcome { stats, elapsed, own_cpu, server_cpu, load, by_group } = self.outcome;
        let ms = |us: u64| us as f64 / 1000.0;
        let mut lines = vec![
            format!(
                "{:.0} messages/s of {} bytes, {} in flight over {} connections, {} queues, {:.1} s",
                self.rate(),
                self.plan.size,
                self.plan.in_flight,
                self.plan.connections,
                self.queues,
                elapsed.as_secs_f64()
            ),
            format!(
                "latency ms  p50 {:.2}  p99 {:.2}  p99.9 {:.2}  max {:.2}",
                ms(self.quantile(0.5)),
                ms(self.quantile(0.99)),
                ms(self.quantile(0.999)),
                ms(stats.latency.max())
            ),
            format!(
                "CPU µs a message  generator {:.1}{}  load average {:.1} before, {:.1} after",
                self.us_per_message(*own_cpu),
                server_cpu.map(|cpu| format!("  servers {:.1}", self.us_per_message(cpu))).unwrap_or_default(),
                load.0,
                load.1
            ),
        ];
        if by_group.len() > 1 {
            let shares: Vec<_> = by_group.iter().map(|(group, count)| format!("{group} {count}")).collect();
            lines.push(format!("by group  {}", shares.join("  ")));
        }
        if stats.unknown > 0 || !stats.refused.is_empty() || stats.reconnects > 0 {
            lines.push(self.trouble());
        }
        lines.push(self.check());
        lines.join("\n")
    }

    fn trouble(&self) -> String {
        let stats = &self.outcome.stats;
        let refused: Vec<_> = stats.refused.iter().map(|(code, count)| format!("{count} with code {code}")).collect();
        let refused = if refused.is_empty() { "none".to_owned() } else { refused.join(", ") };
        let remark = stats.remark.as_ref().map(|remark| format!("; first {remark}")).unwrap_or_default();
        let (unknown, reconnects, gap) = (stats.unknown, stats.reconnects, stats.longest_gap.as_millis());
        format!("refused {refused}, outcome unknown {unknown}, reconnects {reconnects}, longest gap {gap} ms{remark}")
    }

    /// The comparison of acknowledgements with max offsets, in words.
    pub(super) fn check(&self) -> String {
        let (acked, unknown, rise) = (self.outcome.stats.acked, self.outcome.stats.unknown, self.rise);
        let counts = format!("{acked} acknowledged, {unknown} of unknown outcome, max offsets rose by {rise}");
        match self.verdict() {
            Verdict::Match => format!("check ok: {counts}"),
            Verdict::Lost => format!("check FAILED: {counts}: {} acknowledged messages are missing", acked - rise),
            Verdict::Foreign => format!("check inconclusive: {counts}: someone else sends to {}", self.plan.topic),
        }
    }
}

/// To two digits after the point.
fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::super::lane::Stats;
    use super::*;

    fn outcome(acked: u64, unknown: u64) -> Outcome {
        let mut stats = Stats::new();
        stats.latency.saturating_record_n(500, 99);
        stats.latency.saturating_record(9000);
        (stats.measured, stats.acked, stats.unknown) = (100, acked, unknown);
        Outcome {
            stats,
            elapsed: Duration::from_secs(2),
            own_cpu: Duration::from_millis(1),
            server_cpu: None,
            load: (0.5, 1.25),
            by_group: BTreeMap::from([("g".to_owned(), 100)]),
        }
    }

    fn plan() -> Plan {
        Plan {
            topic: "bench".to_owned(),
            producer_group: "g".to_owned(),
            size: 1024,
            in_flight: 64,
            connections: 4,
            warm_up: Duration::ZERO,
            duration: Duration::from_secs(2),
            print_acks: false,
            server_pids: Vec::new(),
        }
    }

    #[test]
    fn json_has_the_numbers_a_program_wants_on_one_line() {
        let (outcome, plan) = (outcome(120, 0), plan());
        let json = Report { plan: &plan, queues: 8, outcome: &outcome, rise: 120 }.json();
        assert_eq!(json["msgs_per_s"], 50.0);
        assert_eq!(json["p50_us"], 500);
        assert!((9000..9010).contains(&json["p999_us"].as_u64().unwrap()), "{json}");
        assert_eq!((json["generator_cpu_us_per_msg"].as_f64(), json["acks_match"].as_bool()), (Some(10.0), Some(true)));
        assert!(!json.to_string().contains('\n'));
    }

    #[test]
    fn acknowledgements_are_held_against_the_offsets() {
        let plan = plan();
        for (acked, unknown, rise, verdict) in [
            (100, 0, 100, Verdict::Match),
            (100, 5, 103, Verdict::Match),
            (100, 5, 99, Verdict::Lost),
            (100, 5, 106, Verdict::Foreign),
        ] {
            let outcome = outcome(acked, unknown);
            let report = Report { plan: &plan, queues: 8, outcome: &outcome, rise };
            assert_eq!(report.verdict(), verdict, "{}", report.check());
        }
    }

    #[test]
    fn a_queue_that_was_not_there_rose_from_zero() {
        let at = |queue, offset| ((String::from("g"), queue), offset);
        let (before, after) = (MaxOffsets::from([at(0, 10)]), MaxOffsets::from([at(0, 15), at(1, 7)]));
        assert_eq!(rise(&before, &after), 12);
    }
}
