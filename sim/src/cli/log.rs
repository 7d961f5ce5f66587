//! What the product logs during a run: its last lines are kept in memory, for failures. Nothing else is written, unless
//! `RUST_LOG` asks for it.

use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorumq_sim::report::LogLine;
use quorumq_sim::runtime::net::{here, now};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt::layer};

/// Lines that are kept.
const KEPT: usize = 400;
/// Lines that a failure shows.
const SHOWN: usize = 60;

/// The last lines of the log.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<VecDeque<LogLine>>>);

impl Log {
    /// Starts to keep what this process logs, panics included. Once in a process.
    pub fn keep() -> Self {
        let log = Self::default();
        let ours = Targets::new().with_target("quorumq", LevelFilter::INFO).with_target("openraft", LevelFilter::WARN);
        let aloud = std::env::var_os(EnvFilter::DEFAULT_ENV)
            .map(|_| layer().with_writer(std::io::stderr).with_timer(Whereabouts).with_filter(asked_for()));
        tracing_subscriber::registry().with(log.clone().with_filter(ours)).with(aloud).init();
        let (kept, before) = (log.clone(), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |panic| {
            // A panic may come from outside of all tasks, and must not panic here.
            kept.push(None, panic.to_string().replace('\n', " "));
            before(panic);
        }));
        log
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<LogLine>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, node: Option<IpAddr>, text: String) {
        let at = now().unwrap_or_default();
        let node = node.map_or_else(String::new, |ip| ip.to_string());
        let mut lines = self.lock();
        if lines.len() == KEPT {
            lines.pop_front();
        }
        lines.push_back(LogLine { at_ms: u64::try_from(at.as_millis()).unwrap_or(u64::MAX), node, text });
    }

    /// The last lines up to a moment of the run.
    pub fn until(&self, at_ms: u64) -> Vec<LogLine> {
        let lines = self.lock();
        let mut last: Vec<LogLine> = lines.iter().filter(|line| line.at_ms <= at_ms).cloned().collect();
        last.drain(..last.len().saturating_sub(SHOWN));
        last
    }
}

/// What `RUST_LOG` asks for. Never madsim's own lines: they come from where a node cannot be asked for.
fn asked_for() -> EnvFilter {
    let filter = EnvFilter::from_default_env();
    match "madsim=off".parse() {
        Ok(off) => filter.add_directive(off),
        Err(_) => filter,
    }
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let about = event.metadata();
        let mut text = Text(format!("{:>5} {}:", about.level(), about.target()));
        event.record(&mut text);
        self.push(here(), text.0);
    }
}

/// An event's message and fields, as they come.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

/// Virtual time and node in front of a line.
struct Whereabouts;

impl FormatTime for Whereabouts {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        match (now(), here()) {
            (Some(at), Some(node)) => write!(w, "{:>12.6} {node}", at.as_secs_f64()),
            (Some(at), None) => write!(w, "{:>12.6} -", at.as_secs_f64()),
            (None, _) => write!(w, "{:>12} -", "-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use quorumq_sim::scenario::address;
    use quorumq_sim::world::{Config, run};

    use super::*;

    #[test]
    fn the_last_lines_are_kept_with_virtual_time_and_node() {
        let log = Log::default();
        let kept = log.clone();
        let collect = tracing_subscriber::registry().with(log.clone());
        let outcome = run(1, Config::default(), move |world| async move {
            let node = world.add_node(address(7));
            let told = node.spawn(async move {
                let _guard = tracing::subscriber::set_default(collect);
                madsim::time::sleep(std::time::Duration::from_millis(250)).await;
                tracing::warn!(peer = 3, "no answer");
                for n in 0..KEPT as u64 + 5 {
                    tracing::info!(n, "more");
                }
            });
            told.await.map_err(|e| e.to_string())
        });
        outcome.unwrap().value.unwrap();
        let lines = kept.until(u64::MAX);
        assert_eq!(lines.len(), SHOWN);
        let LogLine { at_ms, node, text } = lines.last().unwrap();
        assert!((250..=251).contains(at_ms), "{at_ms}");
        assert_eq!(node, "10.0.0.7");
        assert!(text.starts_with(" INFO quorumq_sim") && text.ends_with(": more n=404"), "{text}");
        assert_eq!(kept.lock().len(), KEPT, "a bounded ring");
        assert!(kept.until(200).is_empty());
    }

    #[test]
    fn a_line_outside_of_any_run_has_no_node() {
        let log = Log::default();
        let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(log.clone()));
        tracing::warn!("early");
        let text = " WARN quorumq_sim::cli::log::tests: early".to_owned();
        assert_eq!(log.until(0), [LogLine { at_ms: 0, node: String::new(), text }]);
    }
}
