//! The tables of a page: everything that the drawings show and more, for whoever reads rather than looks.

use std::fmt::Write;

use quorumq_sim::report::{Report, What};
use quorumq_sim::tally::{Effect, Fault};

use super::super::output::seconds;
use super::escape::escaped;

/// All tables.
pub fn text(report: &Report) -> String {
    let mut text = "<section class=\"tables\">\n<h2>Counts</h2>\n".to_owned();
    let operations = report.outcomes.iter().map(|(name, [ok, refused, unknown])| {
        (name.as_str(), vec![ok.to_string(), refused.to_string(), unknown.to_string()])
    });
    table(&mut text, "Operations", &["operation", "ok", "refused", "unknown"], operations);
    let effects = Effect::ALL.iter().map(|effect| (effect.name(), vec![report.counts.effect(*effect).to_string()]));
    table(&mut text, "Effects", &["effect", "times"], effects);
    let faults = Fault::ALL.iter().map(|fault| {
        let struck = report.counts.fault(*fault);
        (fault.name(), vec![struck.begun.to_string(), struck.felt.to_string()])
    });
    table(&mut text, "Faults", &["fault", "begun", "felt"], faults);
    text.push_str("</section>\n");
    log(&mut text, report);
    moments(&mut text, report);
    text
}

fn table<'a>(text: &mut String, caption: &str, header: &[&str], rows: impl Iterator<Item = (&'a str, Vec<String>)>) {
    let heads: String = header.iter().map(|head| format!("<th scope=\"col\">{head}</th>")).collect();
    let _ = writeln!(text, "<table>\n<caption>{caption}</caption>\n<thead><tr>{heads}</tr></thead>\n<tbody>");
    for (name, numbers) in rows {
        let class = if numbers.iter().all(|number| number == "0") { " class=\"never\"" } else { "" };
        let cells: String = numbers.iter().map(|number| format!("<td>{number}</td>")).collect();
        let _ = writeln!(text, "<tr{class}><th scope=\"row\">{}</th>{cells}</tr>", escaped(name));
    }
    text.push_str("</tbody>\n</table>\n");
}

fn log(text: &mut String, report: &Report) {
    if report.log.is_empty() {
        return;
    }
    text.push_str("<section>\n<h2>Log before the violation</h2>\n<pre>");
    for line in &report.log {
        let _ = writeln!(text, "{:>12}  {:<15}  {}", seconds(line.at_ms), escaped(&line.node), escaped(&line.text));
    }
    text.push_str("</pre>\n</section>\n");
}

fn moments(text: &mut String, report: &Report) {
    text.push_str(
        "<section>\n<h2>Moments</h2>\n<details>\n<summary>Every moment of the timeline, as a table</summary>\n<table>\n\
         <thead><tr><th scope=\"col\">when</th><th scope=\"col\">node</th><th scope=\"col\">what</th></tr></thead>\n<tbody>\n",
    );
    for moment in report.moments.iter().filter(|moment| moment.what != What::Acks(0)) {
        let (when, what) = (seconds(moment.at_ms), moment.what.to_string());
        let _ = writeln!(
            text,
            "<tr><td>{when}</td><td class=\"text\">{}</td><td class=\"text\">{}</td></tr>",
            escaped(&moment.node),
            escaped(&what)
        );
    }
    text.push_str("</tbody>\n</table>\n</details>\n</section>\n");
}
