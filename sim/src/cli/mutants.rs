//! `quorumq-sim mutants`: plants one bug after the other and shows that a rule catches it.

use std::process::ExitCode;

use clap::Args;
use quorumq_sim::report::Report;
use quorumq_store::mutant::Mutant;

use super::child::{Job, Lost, wall_limit};
use super::crew::{self, End, Work};
use super::hunt::{Catch, Hunt, Sight, Try};
use super::planted;
use super::progress::Progress;
use super::range::Seeds;
use super::setting::{self, Setting};
use super::{Done, INTERRUPTED, VIOLATED, output};

#[derive(Args, Debug)]
pub struct MutantsArgs {
    /// The bugs to plant; all by default.
    #[arg(value_name = "NAME", value_parser = planted::named)]
    names: Vec<Mutant>,
    /// Seeds to try, in order, until one catches the bug.
    #[arg(long, value_name = "A..B", default_value = "1..201")]
    seeds: Seeds,
    /// Simulated minutes of each run.
    #[arg(long, value_name = "M", default_value_t = 5.0, value_parser = setting::minutes)]
    minutes: f64,
    /// Runs side by side; as many as there are cores by default.
    #[arg(long, value_name = "J")]
    jobs: Option<usize>,
    /// Only tells which bugs there are.
    #[arg(long)]
    list: bool,
}

impl MutantsArgs {
    /// # Errors
    /// The command cannot do its work.
    pub fn run(self) -> Done {
        let bugs = if self.names.is_empty() { Mutant::ALL.to_vec() } else { self.names };
        if self.list {
            bugs.iter().for_each(|bug| output::line(&format!("{:<32}  {}", bug.name(), bug.about())));
            return Ok(ExitCode::SUCCESS);
        }
        if self.seeds.len().is_none() {
            return Err("the range needs an end".to_owned());
        }
        let mut planting = Planting {
            hunt: Hunt::new(bugs.len(), self.seeds.collect()),
            minutes: self.minutes,
            progress: Progress::new(None, "runs"),
            told: vec![false; bugs.len()],
            crashes: vec![0; bugs.len()],
            bugs,
        };
        let end = crew::work(crew::size(self.jobs), wall_limit(self.minutes), &mut planting)?;
        planting.progress.finish();
        Ok(planting.close(end))
    }
}

struct Planting {
    bugs: Vec<Mutant>,
    hunt: Hunt,
    minutes: f64,
    progress: Progress,
    /// Bugs whose catch was told already.
    told: Vec<bool>,
    /// Runs of each bug that ended in a panic, a crash or a hang: they catch nothing, but are worth knowing.
    crashes: Vec<u64>,
}

impl Work for Planting {
    fn next(&mut self) -> Option<Job> {
        let (seed, mutant) = match self.hunt.next()? {
            Try::Planted { bug, seed } => (seed, Some(self.bugs[bug])),
            Try::Clean { seed } => (seed, None),
        };
        Some(Job { seed, setting: Setting { mutant, ..Setting::plain(self.minutes) } })
    }

    fn done(&mut self, job: &Job, outcome: Result<Report, Lost>) {
        match self.bugs.iter().position(|bug| job.setting.mutant == Some(*bug)) {
            Some(bug) => self.seen(bug, job.seed, outcome),
            None => self.hunt.cleared(job.seed, outcome.is_ok_and(|report| report.violation.is_none())),
        }
        let known: Vec<usize> = (0..self.bugs.len()).filter(|bug| self.hunt.catch(*bug).is_some()).collect();
        for bug in known.iter().copied().filter(|bug| !std::mem::replace(&mut self.told[*bug], true)) {
            if let Some(catch) = self.hunt.catch(bug) {
                self.progress.line(&format!("{}: {}", self.bugs[bug].name(), said(&catch)));
            }
        }
        self.progress.step(format!("{} of {} mutants settled", known.len(), self.bugs.len()));
    }
}

impl Planting {
    fn seen(&mut self, bug: usize, seed: u64, outcome: Result<Report, Lost>) {
        let (rule, virtual_ms) = match outcome {
            Ok(report) => (report.violation.map(|violation| violation.rule), report.virtual_ms),
            Err(_) => (Some("panic".to_owned()), 0),
        };
        let counts = rule.clone().filter(|rule| planted::catches(rule, self.bugs[bug]));
        self.crashes[bug] += u64::from(rule.is_some() && counts.is_none());
        self.hunt.seen(bug, seed, Sight { rule: counts, virtual_ms });
    }

    /// Prints the table and the verdict.
    fn close(&self, end: End) -> ExitCode {
        let catches: Vec<Option<Catch>> = (0..self.bugs.len()).map(|bug| self.hunt.catch(bug)).collect();
        let rows = self.bugs.iter().zip(&catches).zip(&self.crashes).map(|((bug, catch), crashes)| {
            let Some(catch) = catch else {
                return [bug.name(), "-", "-", "-", "-", "-"].map(str::to_owned);
            };
            let (rule, seed) = match &catch.caught {
                Some((rule, seed)) => (rule.clone(), seed.to_string()),
                None => ("NOT CAUGHT".to_owned(), "-".to_owned()),
            };
            let minutes = catch.virtual_ms as f64 / 60_000.0;
            [bug.name().to_owned(), rule, seed, catch.tried.to_string(), format!("{minutes:.1}"), crashes.to_string()]
        });
        let header = ["MUTANT", "CAUGHT BY", "SEED", "SEEDS TRIED", "SIMULATED MIN", "OTHER FAILURES"];
        output::line(&output::table(header, rows));
        let caught = catches.iter().flatten().filter(|catch| catch.caught.is_some()).count();
        let unclean = self.hunt.unclean();
        if !unclean.is_empty() {
            output::line(&format!("\nthe clean build fails on seeds {unclean:?}, where nothing counts as caught"));
        }
        output::line(&format!("\n{caught} of {} mutants caught", self.bugs.len()));
        match end {
            End::Interrupted => ExitCode::from(INTERRUPTED),
            End::Done if caught == self.bugs.len() => ExitCode::SUCCESS,
            End::Done => ExitCode::from(VIOLATED),
        }
    }
}

fn said(catch: &Catch) -> String {
    match &catch.caught {
        Some((rule, seed)) => format!("caught by {rule} on seed {seed}"),
        None => format!("NOT CAUGHT on {} seeds", catch.tried),
    }
}

#[cfg(test)]
mod tests {
    use quorumq_sim::report::Violation;

    use super::*;

    const BUGS: [Mutant; 2] = [Mutant::VoteNotSynced, Mutant::TornTailKept];

    fn planting() -> Planting {
        Planting {
            bugs: BUGS.to_vec(),
            hunt: Hunt::new(2, vec![1, 2, 3]),
            minutes: 1.0,
            progress: Progress::new(None, "runs"),
            told: vec![false; 2],
            crashes: vec![0; 2],
        }
    }

    fn report(seed: u64, rule: Option<&str>) -> Report {
        let violation = rule.map(|rule| Violation { rule: rule.into(), what: "k".into(), at_ms: 1 });
        Report { seed, violation, virtual_ms: 60_000, ..Report::default() }
    }

    #[test]
    fn a_bug_is_caught_by_a_rule_and_not_by_a_crash() {
        let mut planting = planting();
        while let Some(job) = planting.next() {
            let outcome = match (job.setting.mutant, job.seed) {
                (Some(Mutant::VoteNotSynced), 1) => Err(Lost { what: "killed".into(), stderr: String::new() }),
                (Some(Mutant::VoteNotSynced), 2) => Ok(report(2, Some("liveness"))),
                (Some(Mutant::VoteNotSynced), 3) => Ok(report(3, Some("lost-write"))),
                (Some(_), 1) => Ok(report(1, Some("panic"))),
                (Some(_), 2) => Ok(report(2, Some("restart"))),
                (Some(bug), seed) => panic!("{bug:?} is caught before seed {seed}"),
                (None, seed) => Ok(report(seed, None)),
            };
            planting.done(&job, outcome);
        }
        let caught = |bug| planting.hunt.catch(bug).unwrap().caught.unwrap();
        assert_eq!((caught(0), caught(1)), (("lost-write".to_owned(), 3), ("restart".to_owned(), 2)));
        assert_eq!(planting.crashes, [2, 1]);
        assert_eq!(planting.close(End::Done), ExitCode::SUCCESS);
    }

    #[test]
    fn one_that_is_not_caught_is_a_failure() {
        let mut planting = planting();
        while let Some(job) = planting.next() {
            let rule = job.setting.mutant.filter(|bug| *bug == BUGS[1]).map(|_| "lost-write");
            planting.done(&job, Ok(report(job.seed, rule)));
        }
        assert_eq!(said(&planting.hunt.catch(0).unwrap()), "NOT CAUGHT on 3 seeds");
        assert_eq!(planting.close(End::Done), ExitCode::from(VIOLATED));
    }
}
