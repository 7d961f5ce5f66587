//! `quorumq-sim determinism`: a seed is one run, in whatever process.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use quorumq_sim::report::Report;

use super::child::{Job, Lost, wall_limit};
use super::crew::{self, End, Work};
use super::progress::Progress;
use super::range::Seeds;
use super::setting::{self, Setting};
use super::{Done, INTERRUPTED, VIOLATED, output};

#[derive(Args, Debug)]
pub struct DeterminismArgs {
    /// Seeds, each of which runs twice.
    #[arg(long, value_name = "A..B", default_value = "1..101")]
    seeds: Seeds,
    /// Simulated minutes of each run.
    #[arg(long, value_name = "M", default_value_t = 1.0, value_parser = setting::minutes)]
    minutes: f64,
    /// The run of bytes of which a bit is flipped, in one more run of the first seed: the hash must change.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    flip_bit_of: u64,
    /// Runs side by side; as many as there are cores by default.
    #[arg(long, value_name = "J")]
    jobs: Option<usize>,
}

impl DeterminismArgs {
    /// # Errors
    /// The command cannot do its work.
    pub fn run(self) -> Done {
        let Some(count) = self.seeds.len() else {
            return Err("the range needs an end".to_owned());
        };
        let plain = Setting::plain(self.minutes);
        let flipped = Setting { flip_bit_of: Some(self.flip_bit_of), ..plain.clone() };
        let first = self.seeds.clone().next().unwrap_or_default();
        let twice = self.seeds.flat_map(|seed| [seed, seed]).map(|seed| Job { seed, setting: plain.clone() });
        let jobs: Vec<Job> = twice.chain([Job { seed: first, setting: flipped }]).collect();
        let mut pairs = Pairs {
            progress: Progress::new(Some(jobs.len() as u64), "runs"),
            jobs: jobs.into_iter(),
            ends: BTreeMap::new(),
            flipped: None,
            lost: Vec::new(),
        };
        let end = crew::work(crew::size(self.jobs), wall_limit(self.minutes).max(Duration::from_secs(60)), &mut pairs);
        pairs.progress.finish();
        let told = pairs.verdict(count, first);
        output::line(&told.lines.join("\n"));
        Ok(match (told.good, end?) {
            (true, End::Done) => ExitCode::SUCCESS,
            (_, End::Interrupted) => ExitCode::from(INTERRUPTED),
            (false, End::Done) => ExitCode::from(VIOLATED),
        })
    }
}

/// What a run is compared by: everything it left that does not depend on the machine.
fn end_of(report: Report) -> Report {
    Report { wall_ms: 0, ..report }
}

struct Pairs {
    jobs: std::vec::IntoIter<Job>,
    progress: Progress,
    /// What the runs of a seed left.
    ends: BTreeMap<u64, Vec<Report>>,
    /// The hash of the run with a flipped bit.
    flipped: Option<String>,
    lost: Vec<String>,
}

struct Told {
    lines: Vec<String>,
    good: bool,
}

impl Work for Pairs {
    fn next(&mut self) -> Option<Job> {
        self.jobs.next()
    }

    fn done(&mut self, job: &Job, outcome: Result<Report, Lost>) {
        match outcome {
            Ok(report) if job.setting.flip_bit_of.is_some() => self.flipped = Some(report.hash),
            Ok(report) => self.ends.entry(job.seed).or_default().push(end_of(report)),
            Err(lost) => self.lost.push(format!("seed {} lost: {}", job.seed, lost.what)),
        }
        self.progress.step(format!("{} lost", self.lost.len()));
    }
}

impl Pairs {
    fn verdict(&self, count: u64, first: u64) -> Told {
        let (mut lines, mut equal) = (self.lost.clone(), 0);
        let mut hashes = BTreeMap::<&str, u64>::new();
        for (seed, ends) in &self.ends {
            match ends.as_slice() {
                [one, other] if one == other => equal += 1,
                [one, other] => lines.push(difference(*seed, one, other)),
                _ => {}
            }
            if let Some(twin) = ends.first().and_then(|end| hashes.insert(&end.hash, *seed)) {
                lines.push(format!("seeds {twin} and {seed} have one hash"));
            }
        }
        let distinct = hashes.len() as u64;
        let original = self.ends.get(&first).and_then(|ends| ends.first()).map(|end| &end.hash);
        let shows = self.flipped.is_some() && self.flipped.as_ref() != original;
        lines.push(format!("{equal} of {count} equal"));
        lines.push(format!("{distinct} of {count} unlike all others"));
        lines.push(format!("a flipped bit {} the hash", if shows { "changes" } else { "DOES NOT change" }));
        Told { lines, good: equal == count && distinct == count && shows && self.lost.is_empty() }
    }
}

fn difference(seed: u64, one: &Report, other: &Report) -> String {
    if one.hash == other.hash {
        format!("seed {seed} differs in its report, though not in its hash {}", one.hash)
    } else {
        format!(
            "seed {seed} differs: hash {} after {} events, {} after {}",
            one.hash, one.events, other.hash, other.events
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(ends: &[(u64, &str)], flipped: Option<&str>) -> Told {
        let mut pairs = Pairs {
            jobs: Vec::new().into_iter(),
            progress: Progress::new(None, "runs"),
            ends: BTreeMap::new(),
            flipped: None,
            lost: Vec::new(),
        };
        let run = |seed: u64, hash: &str| Ok(Report { seed, hash: hash.into(), wall_ms: seed, ..Report::default() });
        let job = |seed, flip_bit_of| Job { seed, setting: Setting { flip_bit_of, ..Setting::plain(1.0) } };
        ends.iter().for_each(|(seed, hash)| pairs.done(&job(*seed, None), run(*seed, hash)));
        flipped.iter().for_each(|hash| pairs.done(&job(1, Some(9)), run(1, hash)));
        pairs.verdict(2, 1)
    }

    #[test]
    fn two_equal_runs_of_each_seed_are_good() {
        let told = pairs(&[(1, "a"), (2, "b"), (2, "b"), (1, "a")], Some("c"));
        assert_eq!(told.lines, ["2 of 2 equal", "2 of 2 unlike all others", "a flipped bit changes the hash"]);
        assert!(told.good);
    }

    #[test]
    fn whatever_differs_or_does_not_is_told() {
        let told = pairs(&[(1, "a"), (1, "x"), (2, "b"), (2, "b")], Some("c"));
        assert!(!told.good && told.lines[0].starts_with("seed 1 differs: hash a") && told.lines[1] == "1 of 2 equal");
        let told = pairs(&[(1, "a"), (1, "a"), (2, "a"), (2, "a")], Some("c"));
        assert!(!told.good && told.lines[0] == "seeds 1 and 2 have one hash");
        let told = pairs(&[(1, "a"), (1, "a"), (2, "b"), (2, "b")], Some("a"));
        assert!(!told.good && told.lines[2] == "a flipped bit DOES NOT change the hash");
        assert!(!pairs(&[(1, "a"), (1, "a"), (2, "b"), (2, "b")], None).good, "the flipped run is missing");
        let told = pairs(&[(1, "a"), (2, "b"), (2, "b")], Some("c"));
        assert!(!told.good && told.lines[0] == "1 of 2 equal", "a run is missing");
    }
}
