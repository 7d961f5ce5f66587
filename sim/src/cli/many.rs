//! `run --seeds`: many seeds, each in a process of its own, and what they add up to.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use quorumq_sim::report::Report;

use super::child::{Job, Lost, wall_limit};
use super::crew::{self, End, Work};
use super::progress::Progress;
use super::range::Seeds;
use super::setting::Setting;
use super::sum::{ENOUGH_SEEDS, Sum};
use super::{Done, INTERRUPTED, VIOLATED, failure, output, page};

#[derive(Args, Debug)]
pub struct ManyArgs {
    /// Runs side by side; as many as there are cores by default.
    #[arg(long, value_name = "J", requires = "seeds")]
    jobs: Option<usize>,
    /// Starts no further seed after so many hours of wall time.
    #[arg(long, value_name = "H", requires = "seeds", value_parser = hours)]
    hours: Option<f64>,
    /// Wall seconds after which a run counts as hanging.
    #[arg(long, value_name = "S", requires = "seeds")]
    wall_limit_s: Option<u64>,
    /// Where failures are kept.
    #[arg(long, value_name = "DIR", requires = "seeds", default_value = "sim-failures")]
    failures: PathBuf,
}

fn hours(text: &str) -> Result<f64, String> {
    let hours: f64 = text.parse().map_err(|e| format!("{e}"))?;
    if hours > 0.0 && hours < 1e6 { Ok(hours) } else { Err("not a number of hours".to_owned()) }
}

impl ManyArgs {
    /// Runs the seeds. Exits with 1 on any violation, lost child, or zero in the table of a long run.
    ///
    /// # Errors
    /// The command cannot do its work.
    pub fn run(&self, seeds: Seeds, setting: &Setting) -> Done {
        if seeds.len().is_none() && self.hours.is_none() {
            return Err("a range without an end needs --hours".to_owned());
        }
        let limit = self.wall_limit_s.map_or_else(|| wall_limit(setting.minutes), Duration::from_secs);
        let mut many = Many {
            progress: Progress::new(seeds.len(), "seeds"),
            seeds,
            setting,
            until: self.hours.map(|hours| Duration::from_secs_f64(hours * 3600.0)),
            sum: Sum::default(),
            failures: Failures { folder: self.failures.clone(), told: Vec::new() },
        };
        let end = crew::work(crew::size(self.jobs), limit, &mut many);
        many.progress.finish();
        Ok(many.close(end?))
    }
}

struct Many<'a> {
    seeds: Seeds,
    setting: &'a Setting,
    /// Wall time after which no seed is started.
    until: Option<Duration>,
    progress: Progress,
    sum: Sum,
    failures: Failures,
}

impl Work for Many<'_> {
    fn next(&mut self) -> Option<Job> {
        if self.until.is_some_and(|until| self.progress.elapsed() >= until) {
            return None;
        }
        self.seeds.next().map(|seed| Job { seed, setting: self.setting.clone() })
    }

    fn done(&mut self, job: &Job, outcome: Result<Report, Lost>) {
        let told = match outcome {
            Ok(report) => {
                self.sum.add(&report);
                report.violation.is_some().then(|| self.failures.violated(job, &report))
            }
            Err(lost) => {
                self.sum.lost += 1;
                Some(self.failures.lost(job, &lost))
            }
        };
        if let Some(told) = told {
            self.progress.line(&told);
        }
        let (failed, hours, speed) = (self.sum.failed(), self.sum.hours(), self.sum.speed());
        self.progress
            .step(format!("{failed} failed, {hours:.2} simulated h, {speed:.0} simulated s per wall s per core"));
    }
}

impl Many<'_> {
    /// Prints the table and the verdict.
    fn close(&self, end: End) -> ExitCode {
        let sum = &self.sum;
        output::line(&sum.text(self.progress.elapsed()));
        let mut verdict = Vec::new();
        verdict.extend(self.failures.told.iter().cloned());
        let never = sum.never();
        if !never.is_empty() {
            verdict.push(format!("FAILED: never in {ENOUGH_SEEDS} seeds or more: {}", never.join(", ")));
        }
        let failed = sum.failed() > 0 || !never.is_empty();
        let total = sum.seeds + sum.lost;
        let (code, word) = match (failed, end) {
            (true, _) => (ExitCode::from(VIOLATED), "FAILED"),
            (false, End::Interrupted) => (ExitCode::from(INTERRUPTED), "OK so far, interrupted"),
            (false, End::Done) => (ExitCode::SUCCESS, "OK"),
        };
        verdict.push(format!("{total} seeds {word}"));
        output::line(&format!("\n{}", verdict.join("\n")));
        code
    }
}

/// Failures: a file each, and a line each.
struct Failures {
    folder: PathBuf,
    told: Vec<String>,
}

impl Failures {
    fn violated(&mut self, job: &Job, report: &Report) -> String {
        let violation = report.violation.as_ref().map_or_else(String::new, ToString::to_string);
        let told = failure::text(report, &job.setting);
        let last = format!("seed {} FAILED hash {}", job.seed, report.hash);
        let page = page::text(report, &job.setting);
        let kept = self.keep(job.seed, "txt", &format!("{told}\n\n{last}\n"));
        let kept = kept.and_then(|path| self.keep(job.seed, "html", &page).map(|_| path));
        self.tell(job.seed, &violation, kept)
    }

    fn lost(&mut self, job: &Job, lost: &Lost) -> String {
        let told = failure::lost(job, lost);
        let kept = self.keep(job.seed, "txt", &format!("{told}\n\nseed {} FAILED\n", job.seed));
        self.tell(job.seed, &lost.what, kept)
    }

    fn keep(&self, seed: u64, ending: &str, text: &str) -> std::io::Result<PathBuf> {
        fs::create_dir_all(&self.folder)?;
        let path = self.folder.join(format!("seed-{seed}.{ending}"));
        fs::write(&path, text)?;
        Ok(path)
    }

    /// The line of a failure: a message may have several, of which the first is the point.
    fn tell(&mut self, seed: u64, what: &str, kept: std::io::Result<PathBuf>) -> String {
        let what = what.lines().next().unwrap_or_default();
        let kept = kept.map_or_else(|e| format!("not kept: {e}"), |path| path.display().to_string());
        let line = format!("seed {seed} FAILED {what} -> {kept}");
        self.told.push(line.clone());
        line
    }
}

#[cfg(test)]
mod tests {
    use quorumq_sim::report::Violation;

    use super::*;

    #[test]
    fn failures_are_kept_in_files_and_told_in_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let mut failures = Failures { folder: folder.path().join("new"), told: Vec::new() };
        let job = Job { seed: 3, setting: Setting::plain(1.0) };
        let violation = Violation { rule: "lost-write".into(), what: "key k\nmore".into(), at_ms: 5 };
        let report = Report { seed: 3, hash: "ab".into(), violation: Some(violation), ..Report::default() };
        let line = failures.violated(&job, &report);
        let path = folder.path().join("new/seed-3.txt");
        assert_eq!(line, format!("seed 3 FAILED lost-write: key k -> {}", path.display()));
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.starts_with("rule  lost-write") && text.ends_with("\nseed 3 FAILED hash ab\n"), "{text}");
        assert!(std::fs::read_to_string(folder.path().join("new/seed-3.html")).unwrap().contains("lost-write"));

        let lost = Lost { what: "it ended without a report: signal: 9".into(), stderr: "last words".into() };
        failures.lost(&Job { seed: 4, ..job }, &lost);
        assert!(std::fs::read_to_string(folder.path().join("new/seed-4.txt")).unwrap().contains("last words"));
        assert_eq!(failures.told.len(), 2);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_told_with_the_failure() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut failures = Failures { folder: file.path().join("x"), told: Vec::new() };
        let job = Job { seed: 4, setting: Setting::plain(1.0) };
        let line = failures.lost(&job, &Lost { what: "killed".into(), stderr: String::new() });
        assert!(line.starts_with("seed 4 FAILED killed -> not kept: "), "{line}");
    }
}
