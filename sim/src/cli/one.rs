//! `run --seed`: one seed, in this process.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use quorumq_sim::report::Report;
use quorumq_sim::system;

use super::log::Log;
use super::setting::Setting;
use super::sum::Sum;
use super::{Done, VIOLATED, failure, output, page};

#[derive(Args, Debug)]
pub struct OneArgs {
    /// Prints every event of the trace to stderr, to compare two runs.
    #[arg(long, conflicts_with = "seeds")]
    pub trace: bool,
    /// Writes a page with a timeline for each node.
    #[arg(long, value_name = "FILE.html", conflicts_with_all = ["seeds", "scenario"])]
    report: Option<PathBuf>,
    /// Prints the result as one JSON object and nothing else.
    #[arg(long, conflicts_with_all = ["seeds", "scenario"])]
    json: bool,
}

impl OneArgs {
    /// Runs the seed. The last line is `seed N OK|FAILED hash H`, or the JSON object.
    ///
    /// # Errors
    /// The page cannot be written.
    pub fn run(&self, seed: u64, setting: &Setting) -> Done {
        let log = Log::keep();
        let mut report = system::run(seed, &setting.options(self.trace));
        if let Some(violation) = &report.violation {
            report.log = log.until(violation.at_ms);
        }
        if let Some(path) = &self.report {
            page::write(path, &report, setting)?;
        }
        if self.json {
            let failed = report.violation.is_some();
            report.moments.retain(|_| failed);
            let json = serde_json::to_string(&report).map_err(|e| format!("no JSON: {e}"))?;
            output::line(&json);
        } else {
            tell(&report, setting);
        }
        Ok(if report.violation.is_none() { ExitCode::SUCCESS } else { ExitCode::from(VIOLATED) })
    }
}

fn tell(report: &Report, setting: &Setting) {
    let mut sum = Sum::default();
    sum.add(report);
    output::line(&sum.text(Duration::from_millis(report.wall_ms)));
    let verdict = if report.violation.is_none() {
        output::line(&format!("\nplan\n{}\n", report.plan));
        "OK"
    } else {
        output::line(&format!("\n{}\n", failure::text(report, setting)));
        "FAILED"
    };
    output::line(&format!("seed {} {verdict} hash {}", report.seed, report.hash));
}
