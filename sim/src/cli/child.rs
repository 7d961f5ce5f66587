//! A seed in a process of its own: what one run leaves behind in statics cannot reach another, and what kills a run kills
//! nothing else.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures_util::future::join3;
use quorumq_sim::report::Report;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use super::setting::Setting;

/// What a child is to run.
#[derive(Clone, Debug)]
pub struct Job {
    pub seed: u64,
    pub setting: Setting,
}

/// A child that left no report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// How it ended.
    pub what: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// How long a run may take before it counts as hanging, unless the command line says otherwise: a hundred times what it
/// takes on a quiet machine.
pub fn wall_limit(minutes: f64) -> Duration {
    Duration::from_secs_f64(60.0 + minutes * 60.0)
}

/// Runs a child to its end, or to its `limit`.
pub async fn run(job: Job, limit: Duration) -> (Job, Result<Report, Lost>) {
    let outcome = match start(&job) {
        Ok(child) => finish(child, limit).await,
        Err(e) => Err(Lost { what: format!("its process was not started: {e}"), stderr: String::new() }),
    };
    (job, outcome)
}

/// Bytes of a GiB, as text.
const GIB: &str = "1073741824";

fn start(job: &Job) -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(job.setting.arguments(job.seed)).arg("--json");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Disks in memory are copied and dropped all the time: glibc would give each block back to the kernel and take it
    // anew, page by page, which is a quarter of a run's time.
    for limit in ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"] {
        command.env(limit, GIB);
    }
    // A group of its own: Ctrl-C is for us to hear. A child that we give up is killed.
    command.process_group(0).kill_on_drop(true);
    command.spawn()
}

async fn finish(mut child: Child, limit: Duration) -> Result<Report, Lost> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let ending = async {
        match tokio::time::timeout(limit, child.wait()).await {
            Ok(ended) => ended.map_err(|e| format!("it could not be waited for: {e}")),
            Err(_) => {
                let _ = child.kill().await;
                Err(format!("not over after {} s of wall time", limit.as_secs()))
            }
        }
    };
    let (ended, stdout, stderr) = join3(ending, read(stdout), read(stderr)).await;
    understand(ended, &stdout).map_err(|what| Lost { what, stderr })
}

async fn read(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // What was read before an error is still worth showing.
        let _ = pipe.read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The report of a process that ended as one that has made a report does.
fn understand(ended: Result<ExitStatus, String>, stdout: &str) -> Result<Report, String> {
    let status = ended?;
    let report = stdout.lines().last().map(serde_json::from_str::<Report>);
    match (status.code(), report) {
        (Some(0), Some(Ok(report))) if report.violation.is_none() => Ok(report),
        (Some(1), Some(Ok(report))) if report.violation.is_some() => Ok(report),
        (Some(0 | 1), Some(Err(e))) => Err(format!("its report cannot be read: {e}")),
        _ => Err(format!("it ended without a report: {status}")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use quorumq_sim::report::Violation;

    use super::*;

    fn text(report: &Report) -> String {
        format!("{}\n", serde_json::to_string(report).unwrap())
    }

    #[test]
    fn a_report_counts_only_with_the_exit_code_that_belongs_to_it() {
        let good = Report { seed: 7, ..Report::default() };
        let violation = Some(Violation { rule: "lost-write".into(), what: "k".into(), at_ms: 1 });
        let bad = Report { violation, ..good.clone() };
        let code = |code: i32| Ok(ExitStatus::from_raw(code << 8));
        assert_eq!(understand(code(0), &text(&good)), Ok(good.clone()));
        assert_eq!(understand(code(1), &text(&bad)), Ok(bad.clone()));
        for (ended, stdout, told) in [
            (code(0), text(&bad), "exit status: 0"),
            (code(1), text(&good), "exit status: 1"),
            (code(101), text(&good), "exit status: 101"),
            (Ok(ExitStatus::from_raw(9)), String::new(), "signal: 9"),
            (code(0), String::new(), "exit status: 0"),
            (code(0), "{}\n".to_owned(), "cannot be read"),
            (Err("late".to_owned()), text(&good), "late"),
        ] {
            let lost = understand(ended, &stdout).unwrap_err();
            assert!(lost.contains(told), "{lost}");
        }
    }
}
