//! How far the work is: a bar on a terminal, now and then a line elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::output;

/// Between two lines where there is no terminal.
const PAUSE: Duration = Duration::from_secs(30);

/// On standard error.
pub struct Progress {
    bar: ProgressBar,
    said: Duration,
}

impl Progress {
    /// For so many `units`; `None`: nobody knows.
    pub fn new(total: Option<u64>, units: &str) -> Self {
        let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
        let how = match total {
            Some(_) => format!("{{bar:30}} {{pos}}/{{len}} {units}  {{msg}}  {{elapsed}}, {{eta}} left"),
            None => format!("{{spinner}} {{pos}} {units}  {{msg}}  {{elapsed}}"),
        };
        let style = ProgressStyle::with_template(&how);
        let bar = bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.tick();
        Self { bar, said: Duration::ZERO }
    }

    /// One unit more is done.
    pub fn step(&mut self, message: String) {
        self.bar.inc(1);
        if self.bar.is_hidden() && self.bar.elapsed() >= self.said + PAUSE {
            self.said = self.bar.elapsed();
            output::aside(&format!("{} done, {message}, {} s", self.bar.position(), self.said.as_secs()));
        }
        self.bar.set_message(message);
    }

    /// Something that stays to be read.
    pub fn line(&self, text: &str) {
        self.bar.suspend(|| output::aside(text));
    }

    /// Wall time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.bar.elapsed()
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
