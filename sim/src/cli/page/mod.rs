//! `--report FILE.html`: one seed on one page, with everything in it.

use std::fmt::Write;
use std::path::Path;

use quorumq_sim::report::Report;

use super::output::seconds;
use super::setting::Setting;
use escape::escaped;

mod band;
mod escape;
mod lane;
mod pattern;
mod tables;

/// Writes the page.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, report: &Report, setting: &Setting) -> Result<(), String> {
    std::fs::write(path, text(report, setting)).map_err(|e| format!("{} cannot be written: {e}", path.display()))
}

/// The page's text.
pub fn text(report: &Report, setting: &Setting) -> String {
    let title = format!("Seed {} {}", report.seed, if report.violation.is_some() { "FAILED" } else { "OK" });
    let mut page = String::new();
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>\n{}</style>\n</head>\n\
         <body>\n{}<main>\n<header>\n<h1>{title}</h1>\n",
        include_str!("style.css"),
        pattern::definitions(),
    );
    head(&mut page, report, setting);
    page.push_str("</header>\n");
    if !report.plan.is_empty() {
        let _ = writeln!(
            page,
            "<section class=\"plan\">\n<h2>Plan</h2>\n<pre tabindex=\"0\">{}</pre>\n</section>",
            escaped(&report.plan)
        );
    }
    page.push_str("<section>\n<h2>Timeline</h2>\n");
    page.push_str(&pattern::legend());
    page.push_str(&band::timeline(report));
    page.push_str("</section>\n");
    page.push_str(&tables::text(report));
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn head(page: &mut String, report: &Report, setting: &Setting) {
    if let Some(violation) = &report.violation {
        let _ = writeln!(
            page,
            "<p class=\"violation\"><strong>{}</strong> at {} of virtual time<br>{}</p>",
            escaped(&violation.rule),
            seconds(violation.at_ms),
            escaped(&violation.what)
        );
    }
    let rate = report.acknowledged as f64 * 1000.0 / report.sending_ms.max(1) as f64;
    let speed = report.virtual_ms as f64 / report.wall_ms.max(1) as f64;
    let facts = [
        ("Hash", format!("<code>{}</code>", escaped(&report.hash))),
        ("Again", format!("<code>{}</code>", escaped(&setting.again(report.seed)))),
        ("Virtual time", seconds(report.virtual_ms)),
        ("Wall time", format!("{}, {speed:.0} simulated s per s", seconds(report.wall_ms))),
        ("Events", report.events.to_string()),
        ("Acknowledged", format!("{} messages, {rate:.1} per simulated s of sending", report.acknowledged)),
    ];
    page.push_str("<dl>\n");
    for (name, value) in facts {
        let _ = writeln!(page, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    }
    page.push_str("</dl>\n");
}

#[cfg(test)]
mod tests;
